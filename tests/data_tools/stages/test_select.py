from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_tools import config as configs
from data_tools.errors import DataError
from data_tools.stages import select
from tests.data_tools.stages.judged_corpus import write_corpus

GOOD = {"words": 100, "mean_word_length": 5.0, "alpha_words": 1.0, "stop_words": 4}
GROUPS = ("language", "gopher_quality")


def good(number: int, **changes: Any) -> dict[str, Any]:
    return {"text": f"document {number}", **GOOD, **changes}


def reasons(chain: Any) -> list[list[str]]:
    return [row["reasons"] for row in chain.rows("select", "verdicts")]


def test_every_reason_is_kept(chain: Any) -> None:
    rows = [good(0), good(1, language="fr", words=3, source="other"), good(2, stop_words=0), good(3, language="fr")]
    write_corpus(chain.folder, rows, GROUPS)
    counters = chain.run("select")
    verdicts = chain.rows("select", "verdicts")
    assert reasons(chain) == [[], ["language/other", "gopher/short"], ["gopher/stop-words"], ["language/other"]]
    assert [v["keep"] for v in verdicts] == [True, False, False, False]
    assert {v["rule_version"] for v in verdicts} == {"select-2"}
    assert [v["doc_id"] for v in verdicts] == [d["doc_id"] for d in chain.rows("ingest", "documents")]
    assert [(d["text"], d["language"]) for d in chain.rows("select", "documents")] == [("document 0", "en")]
    assert (counters["documents_in"], counters["documents_out"], counters["removed"]) == (4, 1, 3)
    assert (counters["bytes_in"], counters["bytes_out"]) == (40, 10)
    assert (counters["removed.language/other"], counters["source.other.removed.language/other"]) == (2, 1)
    assert (counters["source.made.documents_out"], counters["source.made.bytes_out"]) == (1, 10)
    assert not (chain.folder / "select" / "finished.tmp").exists()


def test_other_thresholds_for_single_languages(chain: Any) -> None:
    rows = [
        good(number, language=language, language_confidence=confidence, alpha_words=alpha)
        for number, (language, confidence, alpha) in enumerate(
            [("en", 0.7, 0.75), ("fr", 0.7, 0.75), ("fr", 0.9, 0.75), ("de", 0.9, 0.75), ("de", 0.9, 0.1)]
        )
    ]
    write_corpus(chain.folder, rows, GROUPS)
    chain.run(
        "select",
        {
            "language": {"keep": [], "min_confidence_by_language": {"fr": 0.8}},
            "by_language": {
                "fr": {"gopher_quality": {"min_alpha_words": 0.7}},
                "de": {"gopher_quality": {"min_alpha_words": None}},
            },
        },
    )
    assert reasons(chain) == [["gopher/alphabetic-words"], ["language/low-confidence"], [], [], []]


def test_source_code_is_judged_by_the_rules_for_code_alone(chain: Any) -> None:
    python = {"programming_language": "python"}
    long_lines = {"max_line_length": 5_000, "mean_line_length": 10.0, "alphanumeric": 0.5}
    fine = {**long_lines, "max_line_length": 80}
    rows = [
        {"text": "x = 1", "language": "lb", "metadata": python, **fine},
        {"text": "y = 1", "language": "lb", "metadata": python, **long_lines},
        good(2, **long_lines),
        good(3, language="lb", **fine),
    ]
    write_corpus(chain.folder, rows, (*GROUPS, "code"))
    chain.run("select", {"code": {}})
    assert [len(found) for found in reasons(chain)] == [0, 1, 0, 1]
    assert reasons(chain)[3] == ["language/other"]
    chain.run("select")
    assert "language/other" in reasons(chain)[0] and "gopher/short" in reasons(chain)[0]


def test_urls_and_personal_data(chain: Any, tmp_path: Path) -> None:
    blocklist = tmp_path / "blocked.txt"
    blocklist.write_text("bad.example\n")
    rows = [
        good(0),
        good(1, url="https://www.bad.example/x", emails=5),
        good(2, url="https://fine.example/casino-poker"),
        good(3, emails=4),
    ]
    write_corpus(chain.folder, rows, (*GROUPS, "personal_data"))
    config = {
        "url": {"blocklists": [str(blocklist)], "soft_banned_words": ["casino", "poker"]},
        "personal_data": {"max_emails": 3},
    }
    chain.run("select", config)
    assert reasons(chain) == [
        [],
        ["personal-data/emails", "url/blocklist"],
        ["url/soft-banned-words"],
        ["personal-data/emails"],
    ]


def test_blocklists_enter_the_fingerprint_by_their_content(tmp_path: Path) -> None:
    def digests(name: str) -> dict[str, str]:
        rule = {"url": {"blocklists": [str(tmp_path / name)]}}
        return select.source_digests(configs.SelectConfig.model_validate(rule), configs.DataRuntime())

    (tmp_path / "a.txt").write_text("bad.example\n")
    before = digests("a.txt")
    (tmp_path / "a.txt").write_text("worse.example\n")
    assert len(before) == 1 and digests("a.txt") != before
    with pytest.raises(DataError, match="blocklist"):
        digests("missing.txt")
    assert select.source_digests(configs.SelectConfig(), configs.DataRuntime()) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_best_part_of_those_that_pass(make_chain: Callable[..., Any], tmp_path: Path, workers: int) -> None:
    chain = make_chain(tmp_path, workers)
    # 40 documents pass the other rules, with scores 0.00, 0.01 ... 0.39; the better ones are French.
    rows = [good(n, quality=n / 100, language="en" if n < 40 else "fr") for n in range(60)]
    write_corpus(tmp_path, rows, (*GROUPS, "quality"), part_rows=25)
    counters = chain.run("select", {"quality": {"keep_fraction": 0.25}})
    assert counters["documents_out"] == 10
    assert counters["quality_threshold"] == 0.30
    assert [row["text"] for row in chain.rows("select", "documents")] == [f"document {n}" for n in range(30, 40)]
    assert counters["removed.quality/low-score"] == 30
    assert chain.run("select", {"quality": {"min_score": 0.35}})["documents_out"] == 5


def test_equal_scores_stay_together(chain: Any) -> None:
    write_corpus(chain.folder, [good(n, quality=0.5) for n in range(10)], (*GROUPS, "quality"))
    assert chain.run("select", {"quality": {"keep_fraction": 0.1}})["documents_out"] == 10


def test_all_filtered_away_names_the_knob_and_leaves_the_verdicts(chain: Any) -> None:
    write_corpus(chain.folder, [good(n) for n in range(5)], GROUPS)
    with pytest.raises(DataError) as caught:
        chain.run("select", {"language": None, "gopher_quality": {"min_words": 10_000}})
    assert "all 5 documents" in str(caught.value)
    assert "5 by gopher/short" in str(caught.value)
    assert "select.gopher_quality.min_words" in caught.value.fix
    assert len(chain.rows("select", "verdicts")) == 5


@pytest.mark.parametrize(
    ("rule", "fix"),
    [
        ({}, "annotate.gopher_quality"),
        ({"gopher_quality": None, "c4": {}}, "annotate.c4"),
        ({"gopher_quality": None, "quality": {}}, "quality_classifier"),
        ({"gopher_quality": None, "quality": {"keep_fraction": 0.5}}, "quality_classifier"),
    ],
)
def test_a_rule_without_its_signals(chain: Any, rule: dict[str, Any], fix: str) -> None:
    write_corpus(chain.folder, [good(0)])
    with pytest.raises(DataError, match=fix):
        chain.run("select", rule)


def test_no_rules_keep_all(chain: Any) -> None:
    write_corpus(chain.folder, [good(n, language="und", language_confidence=0.0) for n in range(5)])
    assert chain.run("select", {"language": None, "gopher_quality": None})["documents_out"] == 5


def test_signals_of_other_documents_are_refused(chain: Any) -> None:
    write_corpus(chain.folder, [good(n) for n in range(3)], GROUPS)
    chain.folder.joinpath("annotate").rename(chain.folder / "kept")
    write_corpus(chain.folder, [good(n) for n in (2, 1, 0)], GROUPS)
    with pytest.raises(DataError, match="other documents"):
        chain.run("select", signals="kept")


def test_a_killed_stage_goes_on_and_gives_the_same_bytes(
    make_chain: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [good(n, quality=n / 100, words=n * 10) for n in range(30)]
    config = {"quality": {"keep_fraction": 0.5}}
    write_corpus(tmp_path, rows, (*GROUPS, "quality"), part_rows=10, row_group_rows=3)
    chain = make_chain(tmp_path)
    counters = chain.run("select", config)
    whole = {
        path.relative_to(tmp_path / "select"): path.read_bytes() for path in (tmp_path / "select").rglob("*.parquet")
    }
    (tmp_path / "select").rename(tmp_path / "first")

    class Killed(BaseException):
        pass

    done: list[str] = []
    judge = select._select_shard

    def once_then_killed(*arguments: Any) -> dict[str, int]:
        if done:
            raise Killed
        done.append(arguments[-1].name)
        return judge(*arguments)

    monkeypatch.setattr(select, "_select_shard", once_then_killed)
    with pytest.raises(Killed):
        chain.run("select", config)
    monkeypatch.setattr(
        select, "_select_shard", lambda *arguments: done.append(arguments[-1].name) or judge(*arguments)
    )
    assert chain.run("select", config) == counters
    assert done == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    again = {path.relative_to(tmp_path / "select"): path.read_bytes() for path in (tmp_path / "select").rglob("*")
             if path.is_file()}  # fmt: skip
    assert again == whole


def test_real_signals(chain: Any) -> None:
    english = "The history of the town is long, and it is said that the people have to be proud of it. "
    french = "La ville est connue pour son histoire, et les habitants sont fiers de leurs traditions anciennes. "
    chain.ingest_texts([english * 3, french * 3, "The cat of the house.", "# " * 60])
    chain.run("annotate")
    chain.run("select", {"gopher_quality": {"min_words": 10}})
    found = reasons(chain)
    assert found[0] == []
    assert "language/other" in found[1] and "gopher/stop-words" in found[1]
    assert "gopher/short" in found[2]
    assert {"gopher/hash-symbols", "gopher/alphabetic-words", "gopher/stop-words"} <= set(found[3])


def test_progress_is_told(chain: Any) -> None:
    write_corpus(chain.folder, [good(n) for n in range(4)], GROUPS, part_rows=2)
    told: list[float] = []
    inputs = {"documents": chain.folder / "ingest", "signals": chain.folder / "annotate"}
    select.run(configs.SelectConfig(), inputs, chain.folder / "out", lambda done, *_: told.append(done), chain.runtime)
    assert told == sorted(told) and len(set(told)) == 3


def test_a_part_without_documents(chain: Any) -> None:
    write_corpus(chain.folder, [good(n, quality=n / 10) for n in range(4)], (*GROUPS, "quality"), part_rows=2)
    for stage, table in (("ingest", "documents"), ("annotate", "signals")):
        path = chain.folder / stage / table / "part-00001.parquet"
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    counters = chain.run("select", {"quality": {"keep_fraction": 0.5}})
    assert (counters["documents_in"], counters["documents_out"]) == (2, 1)
    assert len(chain.rows("select", "verdicts")) == 2
