from __future__ import annotations

from typing import Any

from data_tools.funnel import SourceCounts, by_source, funnel

TEXT = "The history of the town is long, and it is said that the people who live there have to be proud of it."


def test_the_funnel_of_a_small_corpus_adds_up(chain: Any) -> None:
    texts = [f"{TEXT} Number {i} of many that have been written." for i in range(10)] + [TEXT, TEXT, "too short", ""]
    chain.ingest_texts(texts)
    chain.run("annotate")
    chain.run("select", {"gopher_quality": {"min_words": 10}})
    chain.run("deduplicate", {"min_similarity": 1.0})
    chain.run("mix")
    rows = funnel(chain.counters)
    assert [row["stage"] for row in rows] == ["ingest", "annotate", "select", "deduplicate", "mix"]
    assert [row["documents"] for row in rows] == [13, 13, 12, 11, 11]
    assert [row["removed"] for row in rows] == [1, 0, 1, 1, 0]
    assert rows[0]["reasons"] == "empty-text 1"
    assert "gopher/short 1" in str(rows[2]["reasons"])
    assert rows[3]["reasons"] == "exact-duplicate 1"
    assert rows[4]["bytes"] == sum(row["n_bytes"] for row in chain.rows("mix", "documents"))


def test_stages_that_did_not_run_have_no_row() -> None:
    assert funnel({"mix": {"documents_in": 3, "documents_out": 3, "bytes_out": 9}})[0]["documents"] == 3
    assert funnel({}) == []


def test_sources_are_told_apart_whatever_their_names_hold() -> None:
    counters = {
        "ingest": {
            "source.a.b.documents_out": 3,
            "source.a.b.bytes_out": 30,
            "source.c.removed.bad-json": 1,
            "files": 2,
        },
        "annotate": {"documents_out": 3},
        "select": {"source.a.b.documents_out": 2, "source.a.b.removed.gopher/short": 1, "source.a.b.removed.x": 0},
    }
    assert by_source(counters) == {
        "a.b": {"ingest": SourceCounts(3, 30), "select": SourceCounts(2, 0, {"gopher/short": 1})},
        "c": {"ingest": SourceCounts(0, 0, {"bad-json": 1}), "select": SourceCounts()},
    }
