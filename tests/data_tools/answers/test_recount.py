"""The card counts the tables again; what comes out must be what the stages said themselves."""

from __future__ import annotations

import json
import re
from typing import Any

from data_tools.answers.recount import recount
from data_tools.answers.tables import Tables

TEXT = "The history of the town is long, and it is said that the people who live there have to be proud of it."


COUNTED = re.compile(r"documents_(in|out)|bytes_out|removed\..+|source\..+\.(documents_out|bytes_out|removed\..+)")


def nonzero(counters: dict[str, Any]) -> dict[str, Any]:
    return {name: n for name, n in counters.items() if COUNTED.fullmatch(name) and n}


def test_tables_and_counters_agree(chain: Any) -> None:
    texts = [f"{TEXT} Number {i} of many that have been written down by hand {i * 7}." for i in range(30)]
    texts[7] += " Write to somebody@mail.example.net about it."
    texts += [
        texts[3],
        TEXT,
        TEXT,
        "too short",
        "",
        "Ein kurzer deutscher Satz, der nicht bleiben soll, und das ist gut.",
    ]
    raw = chain.folder / "raw"
    raw.mkdir()
    for name, some in (("a", texts[::2]), ("b.c", [*texts[1::2], "\x00"])):
        (raw / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in some) + "{broken\n")
    sources = [{"kind": "jsonl", "name": name, "path": str(raw / f"{name}.jsonl")} for name in ("a", "b.c")]
    chain.run("ingest", {"sources": sources})
    chain.run("annotate")
    chain.run("select", {"gopher_quality": {"min_words": 10}})
    chain.run("clean", {"personal_data": {}})
    chain.run("deduplicate", {"min_similarity": 0.9}, documents="clean")
    (raw / "quiz.jsonl").write_text(json.dumps({"question": f"{TEXT} Number 5 of many that have been written"}))
    benchmark = {"name": "quiz", "path": str(raw / "quiz.jsonl")}
    chain.run("decontaminate", {"benchmarks": [benchmark], "rule": "coverage", "min_coverage": 0.9})
    chain.run("mix", {"weights": {"a": 1}}, documents="decontaminate")
    stages = ("ingest", "select", "clean", "deduplicate", "decontaminate", "mix")
    with Tables({stage: chain.folder / stage for stage in stages}) as tables:
        counted = recount(tables)
    assert list(counted) == list(stages)
    for stage in stages:
        said, found = nonzero(chain.counters[stage]), nonzero(counted[stage])
        assert said and said == {name: found[name] for name in said if name in found}, stage
    assert counted["ingest"]["removed.empty-text"] == 1 and counted["deduplicate"]["removed.exact-duplicate"] == 2
    assert counted["decontaminate"]["removed.contamination/quiz"] == 1 and counted["mix"]["removed.mixture/not-drawn"]


def test_everything_that_came_stays_or_has_a_reason(tables: Tables) -> None:
    """Ten documents were read, one record was not; each later stage takes what the one before it left."""
    counted = recount(tables)
    assert [counts["documents_out"] for counts in counted.values()] == [10, 9, 8, 6, 5, 4]
    assert counted["ingest"]["documents_in"] == 11
    for stage, counts in counted.items():
        removed = counts["documents_in"] - counts["documents_out"]
        assert removed >= 1 and sum(n for name, n in counts.items() if name.startswith("removed.")) >= removed, stage
    assert counted["mix"]["removed.mixture/not-drawn"] == 1
    assert counted["decontaminate"]["source.web.removed.contamination/science-quiz"] == 1
