"""A chain of tables written by hand, in which something of every kind has happened to a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data_tools import schema
from data_tools.answers.tables import Tables
from data_tools.parquet import ShardFile
from data_tools.text import document_id

BODY = "the harbour master kept a ledger of every ship that came in with the tide and of what it carried. "

TEXTS = {
    "plain": BODY * 3 + "nothing ever happened to this one.",
    "near": BODY * 3 + "nothing ever happened to that one.",
    "short": "too short",
    "mail": "write to someone@example.com. " + BODY,
    "mail-cleaned": "write to email@example.com. " + BODY,
    "menu": "home\nabout\ncontact",
    "quiz": "what is the boiling point of water at sea level in degrees " + BODY,
    "cut": "a page " + BODY + " with an answer in it",
    "cut-after": "a page " + BODY,
    "left-out": "this source has no weight. " + BODY,
    "twice": "this one is repeated. " + BODY,
}
IDS = {name: document_id(text) for name, text in TEXTS.items()}


def document(name: str, source: str = "web", source_id: str = "", **other: Any) -> dict[str, Any]:
    text = TEXTS[name]
    row = {
        "doc_id": IDS[name],
        "text": text,
        "source": source,
        "source_id": source_id or f"{name}.txt",
        "url": f"https://www.example.org/{name}",
        "language": "en",
        "license": "CC0" if source == "web" else None,
        "n_bytes": len(text.encode()),
        "metadata": [("title", name)],
        "cluster_size": None,
    }
    return row | other


def write(folder: Path, table: str, arrow: pa.Schema, parts: list[list[dict[str, Any]]]) -> None:
    for number, rows in enumerate(parts):
        with ShardFile(folder / table / f"part-{number:05d}.parquet", arrow) as file:
            file.write(pa.Table.from_pylist(rows, schema=arrow))


def edit(before: str, after: str | None, changes: dict[str, int]) -> dict[str, Any]:
    sizes = len(TEXTS[before].encode()), len(TEXTS[after].encode()) if after else 0
    return {
        "doc_id": IDS[before],
        "new_doc_id": IDS[after] if after else None,
        "source": "web",
        "source_id": f"{before}.txt",
        "changes": list(changes.items()),
        "bytes_before": sizes[0],
        "bytes_after": sizes[1],
    }


def duplicate(name: str, source: str, source_id: str, reason: str, exact: float) -> dict[str, Any]:
    return {
        "doc_id": IDS[name],
        "source": source,
        "source_id": source_id,
        "representative": IDS["plain"],
        "cluster": IDS["plain"],
        "cluster_size": 3,
        "estimated_similarity": 0.8,
        "exact_similarity": exact,
        "reason": reason,
    }


def met(name: str, action: str) -> dict[str, Any]:
    return {
        "doc_id": IDS[name],
        "source": "web",
        "source_id": f"{name}.txt",
        "benchmark": "science-quiz",
        "example": f"quiz.jsonl:{len(name)}",
        "ngrams": 2,
        "coverage": 0.75,
        "matched_text": "the boiling point of water",
        "action": action,
    }


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("a [folder] of it's own")
    where = {
        name: base / name for name in ("ingest", "annotate", "select", "clean", "deduplicate", "decontaminate", "mix")
    }
    copy = document("plain", "books", "copy-1")
    first = [document(name) for name in ("plain", "short", "mail", "menu")]
    second = [document(name) for name in ("near", "quiz", "cut", "twice")]
    read = [first, [*second, copy, document("left-out", "books", "left-out")]]
    broken = {"source": "web", "file": "bad.jsonl", "position": "line 12", "reason": "bad-json", "detail": "no comma"}
    write(where["ingest"], "documents", schema.DOCUMENTS, read)
    write(where["ingest"], "quarantine", schema.QUARANTINE, [[broken | {"excerpt": '{"text" "x"}'}]])

    signals = schema.signals_schema(["language", "gopher_quality"])
    measured = {name: 0.0 for name in signals.names if name not in ("doc_id", "language")}
    write(
        where["annotate"],
        "signals",
        signals,
        [
            [
                {**measured, "doc_id": row["doc_id"], "language": "en", "language_confidence": 0.9}
                | {"words": len(row["text"].split()), "stop_words": 4, "mean_word_length": 4.5, "alpha_words": 1.0}
                for row in part
            ]
            for part in read
        ],
    )

    def verdict(row: dict[str, Any]) -> dict[str, Any]:
        reasons = ["gopher/short", "gopher/stop-words"] if row["doc_id"] == IDS["short"] else []
        return {"doc_id": row["doc_id"], "keep": not reasons, "reasons": reasons, "rule_version": "select-2"}

    write(where["select"], "verdicts", schema.VERDICTS, [[verdict(row) for row in part] for part in read])
    good = [[row for row in part if row["doc_id"] != IDS["short"]] for part in read]
    write(where["select"], "documents", schema.DOCUMENTS, good)

    edits = [edit("mail", "mail-cleaned", {"personal-data/emails": 1}), edit("menu", None, {"c4/few-words-in-line": 3})]
    write(where["clean"], "edits", schema.EDITS, [edits])
    cleaned = [[document("plain"), document("mail-cleaned", source_id="mail.txt")], good[1]]
    write(where["clean"], "documents", schema.DOCUMENTS, cleaned)

    gone = [duplicate("near", "web", "near.txt", "near", 0.8), duplicate("plain", "books", "copy-1", "exact", 1.0)]
    write(where["deduplicate"], "duplicates", schema.DUPLICATES, [gone])
    left = [row for row in good[1] if row["source_id"] not in ("near.txt", "copy-1")]
    write(where["deduplicate"], "documents", schema.DOCUMENTS, [cleaned[0], left])

    write(where["decontaminate"], "contamination", schema.CONTAMINATION, [[met("quiz", "removed"), met("cut", "cut")]])
    write(where["decontaminate"], "edits", schema.EDITS, [[edit("cut", "cut-after", {"contamination/cut": 1})]])
    twice, left_out = document("twice"), left[-1]
    unseen = [cleaned[0], [document("cut-after", source_id="cut.txt"), twice, left_out]]
    write(where["decontaminate"], "documents", schema.DOCUMENTS, unseen)

    def mixed(row: dict[str, Any], repetition: int = 0) -> dict[str, Any]:
        return row | {"split": "test" if row["doc_id"] == IDS["plain"] else "train", "repetition": repetition}

    rows = [[mixed(row) for row in unseen[0]], [mixed(unseen[1][0]), mixed(twice), mixed(twice, 1)]]
    write(where["mix"], "documents", schema.MIXED_DOCUMENTS, rows)
    return where


@pytest.fixture
def tables(folders: dict[str, Path]) -> Iterator[Tables]:
    with Tables(folders) as opened:
        yield opened
