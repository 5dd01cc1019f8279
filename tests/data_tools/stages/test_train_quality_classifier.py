from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_tools.config import DataRuntime, QualityClassifierConfig
from data_tools.errors import DataError
from data_tools.stages import train_quality_classifier
from tests.data_tools.stages.judged_corpus import write_corpus

GOOD = [f"the kettle sang softly on its hob while chapter {n} was read" for n in range(40)]
BAD = [f"buy cheap pills now offer {n} click click" for n in range(40)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    """Good examples in a folder of three formats, bad ones in one packed file."""
    folder = tmp_path / "good"
    (folder / "more").mkdir(parents=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in GOOD[:20]) + "{broken\n")
    (folder / "more" / "c.txt").write_text(GOOD[20])
    pq.write_table(pa.table({"text": GOOD[21:]}), folder / "b.parquet")
    import gzip

    bad = tmp_path / "bad.jsonl.gz"
    bad.write_bytes(gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in BAD).encode()))
    return {"positive": [str(folder)], "negative": [str(bad)]}


def test_files_of_examples_to_a_model_that_annotate_applies(chain: Any, files: dict[str, list[str]]) -> None:
    write_corpus(chain.folder, [{"text": "the kettle was read softly"}, {"text": "cheap pills click"}])
    counters = chain.run("quality_classifier", {**files, "buckets": 4096})
    assert (counters["examples_good"], counters["examples_bad"]) == (40, 40)
    assert (counters["holdout_good"], counters["holdout_bad"], counters["broken_examples"]) == (4, 4, 1)
    assert counters["holdout_auc"] == counters["holdout_accuracy"] == 1.0
    report = json.loads((chain.folder / "quality_classifier" / "report.json").read_text())
    assert report["auc"] == 1.0 and len(report["losses"]) == 5 and report["thresholds"]
    rows = chain.rows("quality_classifier", "examples")
    assert len(rows) == 80 and sum(row["split"] == "holdout" for row in rows) == 8
    assert {row["origin"] for row in rows} >= {"a.jsonl, line 1", "b.parquet, row 1", "bad.jsonl.gz, line 40"}
    assert all((row["score"] > 0.5) == (row["label"] == "good") for row in rows)
    chain.run("annotate", {"gopher_quality": False, "language": False}, quality_classifier="quality_classifier")
    good, bad = (row["quality"] for row in chain.rows("annotate", "signals"))
    assert good > 0.5 > bad


def test_sources_of_ingest_are_examples_too(chain: Any) -> None:
    rows = [{"text": text, "source": "books"} for text in GOOD] + [{"text": text, "source": "mail"} for text in BAD]
    write_corpus(chain.folder, [*rows, {"text": "neither", "source": "web"}], part_rows=30)
    config = {"positive_sources": ["books"], "negative_sources": ["mail"], "buckets": 4096}
    counters = chain.run("quality_classifier", config)
    assert (counters["examples_good"], counters["examples_bad"]) == (40, 40)
    assert {row["origin"] for row in chain.rows("quality_classifier", "examples")} == {"source books", "source mail"}
    with pytest.raises(DataError, match=r"no documents of source 'boks'; there are some of books, mail, web"):
        chain.run("quality_classifier", {**config, "positive_sources": ["boks"]})


def test_repeated_and_contradictory_examples(chain: Any) -> None:
    rows = [{"text": text, "source": "books"} for text in [*GOOD, GOOD[0], BAD[0]]]
    rows += [{"text": text, "source": "mail"} for text in BAD]
    write_corpus(chain.folder, rows)
    config = {"positive_sources": ["books"], "negative_sources": ["mail"], "buckets": 4096}
    counters = chain.run("quality_classifier", config)
    assert (counters["examples_good"], counters["examples_bad"]) == (40, 39)
    assert (counters["contradictory_examples"], counters["repeated_examples"]) == (1, 2)


def test_the_order_of_the_documents_does_not_matter(chain: Any) -> None:
    rows = [{"text": text, "source": "books"} for text in GOOD] + [{"text": text, "source": "mail"} for text in BAD]
    config = {"positive_sources": ["books"], "negative_sources": ["mail"], "buckets": 4096}
    weights = []
    for order in (rows, rows[::-1]):
        write_corpus(chain.folder, order)
        chain.run("quality_classifier", config)
        weights.append((chain.folder / "quality_classifier" / "weights.npy").read_bytes())
    assert weights[0] == weights[1]


def test_too_few_examples(chain: Any, tmp_path: Path) -> None:
    write_corpus(chain.folder, [{"text": "x"}])
    (tmp_path / "one.txt").write_text("just one")
    (tmp_path / "none.jsonl").write_text("")
    config = {"positive": [str(tmp_path / "one.txt")], "negative": [str(tmp_path / "none.jsonl")]}
    with pytest.raises(DataError, match="1 good examples"):
        chain.run("quality_classifier", config)
    with pytest.raises(DataError, match=r"quality_classifier.negative, .*nowhere.*no such file"):
        chain.run("quality_classifier", {**config, "negative": [str(tmp_path / "nowhere")]})


def test_the_digests_follow_the_content(files: dict[str, list[str]]) -> None:
    config = QualityClassifierConfig.model_validate(files)
    before = train_quality_classifier.source_digests(config, DataRuntime())
    assert set(before) == {f"positive 0/{name}" for name in ("a.jsonl", "b.parquet", "more/c.txt")} | {
        "negative 0/bad.jsonl.gz"
    }
    Path(files["positive"][0], "more", "c.txt").write_text("changed")
    after = train_quality_classifier.source_digests(config, DataRuntime())
    assert {name for name in before if before[name] != after[name]} == {"positive 0/more/c.txt"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"positive": ["a"]}, "needs negative examples"),
        ({"negative": ["a"]}, "needs positive examples"),
        ({"positive_sources": ["a", "b"], "negative_sources": ["b"]}, "'b' can't be both good and bad"),
    ],
)
def test_both_sides_are_needed(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        QualityClassifierConfig.model_validate(config)
