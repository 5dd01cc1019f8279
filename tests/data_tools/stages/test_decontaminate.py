from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from data_tools.config import DataRuntime, DecontaminateConfig
from data_tools.errors import DataError
from data_tools.progress import no_progress
from data_tools.stages import decontaminate
from data_tools.text import document_id
from tests.data_tools.made_documents import digests, document, read_rows, write_documents

GENERATOR = random.Random(7)
VOCABULARY = [
    f"{a}{b}" for a in ("ba", "lo", "mi", "tu", "ske", "ran", "fol") for b in ("dor", "na", "pes", "kil", "ru")
]
TABLES = ("documents", "contamination", "edits")


def prose(words: int) -> str:
    return " ".join(GENERATOR.choice(VOCABULARY) for _ in range(words))


QUESTIONS = [prose(30) for _ in range(4)] + ["What is the capital of the kingdom of Ruritania?", "Too short"]


class Bench:
    """Documents, an evaluation set, and the stage's output."""

    def __init__(self, folder: Path, shards: list[list[Any]]) -> None:
        self.folder = folder
        write_documents(folder / "in" / "documents", shards)
        self.benchmark = folder / "bench.jsonl"
        rows = [{"id": f"q{i}", "question": question} for i, question in enumerate(QUESTIONS)]
        self.benchmark.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def config(self, **settings: Any) -> DecontaminateConfig:
        benchmark = {"name": "quiz", "path": str(self.benchmark), "id_field": "id"}
        return DecontaminateConfig(**{"benchmarks": [benchmark], **settings})

    def run(self, out: str = "out", workers: int = 1, **settings: Any) -> dict[str, Any]:
        return decontaminate.run(
            self.config(**settings),
            {"documents": self.folder / "in"},
            self.folder / out,
            no_progress,
            DataRuntime(workers=workers),
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        return read_rows(self.folder / "out" / table)


def test_any_removes_what_shares_thirteen_words(tmp_path: Path) -> None:
    first = " ".join(QUESTIONS[0].split()[4:17]).upper().replace(" ", ",\n")
    twelve = " ".join(QUESTIONS[0].split()[:12])
    bench = Bench(
        tmp_path, [[prose(50), f"{prose(20)} and {first}, and {prose(9)}"], [f"{prose(9)} {twelve} and {prose(9)}"]]
    )
    counters = bench.run()
    kept = [row["text"] for row in bench.rows("documents")]
    assert len(kept) == 2 and not any(first in text for text in kept)
    (row,) = bench.rows("contamination")
    assert (row["benchmark"], row["example"], row["ngrams"], row["action"]) == ("quiz", "q0", 1, "removed")
    assert row["matched_text"] == first and row["coverage"] == pytest.approx(1 / 18)
    assert row["source_id"] == "0-1"
    assert counters["documents_in"] == 3 and counters["documents_out"] == 2
    assert counters["removed"] == counters["removed.contamination/quiz"] == 1
    assert counters["source.made.removed.contamination/quiz"] == counters["benchmark.quiz.documents"] == 1
    assert counters["benchmark.quiz.examples"] == 6 and counters["benchmark.quiz.examples_met"] == 1
    assert counters["benchmark.quiz.examples_too_short"] == 1
    assert counters["bytes_in"] - counters["bytes_out"] > 100
    assert not (tmp_path / "out" / "finished.tmp").exists()


def test_a_short_example_counts_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        [
            [
                f"{prose(9)}. what is the CAPITAL of the kingdom of Ruritania {prose(5)}",
                "What is the capital of the kingdom of Rome?",
            ]
        ],
    )
    bench.run()
    (row,) = bench.rows("contamination")
    assert row["example"] == "q4" and row["coverage"] == 1.0
    assert row["matched_text"] == "what is the CAPITAL of the kingdom of Ruritania"
    counters = bench.run(short_examples="skip")
    assert not bench.rows("contamination") and counters["benchmark.quiz.examples_too_short"] == 2


def test_coverage_removes_from_its_threshold_on_and_reports_the_rest(tmp_path: Path) -> None:
    words = QUESTIONS[1].split()
    shares = {count: " ".join(words[: 12 + count]) for count in (8, 9)}  # of 18 n-grams
    bench = Bench(tmp_path, [[f"{prose(9)} {text} and {prose(9)}" for text in shares.values()]])
    counters = bench.run(rule="coverage", min_coverage=0.5)
    assert [(row["ngrams"], row["action"]) for row in bench.rows("contamination")] == [(8, "kept"), (9, "removed")]
    assert [row["source_id"] for row in bench.rows("documents")] == ["0-0"] and counters["removed"] == 1


def gpt3_reference(text: str, places: list[str]) -> str:
    """Appendix C of Brown et al. 2020, for matches that don't overlap."""
    removed = set()
    for place in places:
        for match in re.finditer(re.escape(place), text):
            removed |= set(range(match.start() - 200, match.end() + 200))
    pieces = re.findall("[^\0]+", "".join("\0" if i in removed else c for i, c in enumerate(text)))
    if len(pieces) > 10:
        return ""
    return "\n\n".join(piece.strip() for piece in pieces if len(piece.strip()) >= 200)


def test_gpt3_cuts_the_match_and_what_is_around_it(tmp_path: Path) -> None:
    match = " ".join(QUESTIONS[2].split()[:13])
    texts = [
        f"{prose(200)} {match} é日本 {prose(200)}",
        f"{match} and {prose(200)}",
        f"{prose(40)} {match} and {prose(40)}",
        " ".join(f"{prose(130)} {match} and" for _ in range(9)),
        " ".join(f"{prose(130)} {match} and" for _ in range(10)) + prose(130),
        prose(100),
    ]
    bench = Bench(tmp_path, [texts[:2], texts[2:]])
    counters = bench.run(rule="gpt3")
    expected = [gpt3_reference(text, [match]) for text in texts]
    assert expected[2] == expected[4] == "" and expected[0].count("\n\n") == 1 and expected[3].count("\n\n") == 8
    assert [row["text"] for row in bench.rows("documents")] == [text for text in expected if text]
    assert [row["doc_id"] for row in bench.rows("documents")] == [document_id(text) for text in expected if text]
    edits = {row["doc_id"]: row for row in bench.rows("edits")}
    assert sorted(edits) == sorted(document_id(texts[i]) for i in (0, 1, 3))
    assert edits[document_id(texts[3])]["changes"] == [("contamination/cut", 9)]
    assert edits[document_id(texts[0])]["new_doc_id"] == document_id(expected[0])
    actions = {row["doc_id"]: row["action"] for row in bench.rows("contamination")}
    assert [actions.get(document_id(text)) for text in texts] == ["cut", "cut", "removed", "cut", "removed", None]
    assert counters["edited"] == 3 and counters["removed"] == 2
    assert [row["cluster_size"] for row in bench.rows("documents")] == [1, 2, 2, 4]


def test_gpt3_leaves_alone_what_stands_in_many_documents(tmp_path: Path) -> None:
    common, rare = (" ".join(QUESTIONS[i].split()[:13]) for i in (0, 3))
    texts = [f"{prose(80)} {common} and {prose(80)}" for _ in range(11)]
    texts[5] += f" {prose(60)} {rare} and {prose(60)}"
    bench = Bench(tmp_path, [texts[:6], texts[6:]])
    counters = bench.run(rule="gpt3")
    assert counters["ngrams_too_common"] == 1 and counters["edited"] == 1
    changed = [row["text"] for row in bench.rows("documents") if row["text"] not in texts]
    assert changed == [gpt3_reference(texts[5], [rare])]
    actions = [(row["example"], row["action"]) for row in bench.rows("contamination")]
    assert actions.count(("q0", "kept")) == 11 and actions.count(("q3", "cut")) == 1
    assert bench.run("again", rule="gpt3", max_document_matches=11)["ngrams_too_common"] == 0


@pytest.mark.slow
def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [[f"{prose(80)} {QUESTIONS[i % 4]} {prose(80)}", prose(30)] for i in range(4)]
    bench = Bench(tmp_path, shards)
    counters = bench.run(rule="gpt3")
    # Killed in the second pass: what is finished stays, what was begun is done again.
    whole, done = decontaminate._judge_shard, []

    def dies(*arguments: Any) -> Any:
        done.append(arguments)
        if len(done) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(decontaminate, "_judge_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        bench.run("resumed", rule="gpt3")
    monkeypatch.undo()
    assert bench.run("resumed", rule="gpt3") == counters
    assert bench.run("two", rule="gpt3", workers=2) == counters
    first = digests(tmp_path / "out", TABLES)
    assert first == digests(tmp_path / "resumed", TABLES) == digests(tmp_path / "two", TABLES)
    assert not (tmp_path / "resumed" / "finished.tmp").exists()


def test_digests_follow_the_content_and_not_the_place(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [["x"]])
    before = decontaminate.source_digests(bench.config(), DataRuntime())
    assert list(before) == ["quiz/0/bench.jsonl"]
    moved = tmp_path / "elsewhere" / "bench.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(bench.benchmark.read_bytes())
    benchmark = {"name": "quiz", "path": str(moved)}
    assert decontaminate.source_digests(bench.config(benchmarks=[benchmark]), DataRuntime()) == before
    moved.write_text('{"question": "another"}')
    assert decontaminate.source_digests(bench.config(benchmarks=[benchmark]), DataRuntime()) != before


def test_what_can_not_work_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path, [[document("some text")]])
    one = {"name": "quiz", "path": str(bench.benchmark)}
    with pytest.raises(DataError, match="two benchmarks are called 'quiz'"):
        bench.run(benchmarks=[one, one])
    with pytest.raises(DataError, match="not one of its 6 examples has enough words"):
        bench.run(ngram_words=99, short_examples="skip")
    with pytest.raises(DataError, match="no such file"):
        bench.run(benchmarks=[{**one, "path": "nowhere.jsonl"}])
    assert bench.run()["documents_out"] == 1
    bench = Bench(tmp_path / "all", [QUESTIONS[:3]])
    with pytest.raises(DataError, match="not one of 3 documents is left"):
        bench.run()
