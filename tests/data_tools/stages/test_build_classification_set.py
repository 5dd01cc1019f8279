from __future__ import annotations

import json
from typing import Any

import pytest

from data_tools.errors import DataError


def prepare(chain: Any) -> None:
    topics = ["arts"] * 40 + ["science"] * 40 + ["rare"] * 2 + ["skip"] * 30 + [""] * 3
    metadata = [{"topic": topic} if topic else {} for topic in topics]
    chain.ingest_texts([f"text {i} about {topic}" for i, topic in enumerate(topics)], metadata)
    chain.run("mix", documents="ingest")


def test_labels_come_from_metadata_and_splits_stay(chain: Any) -> None:
    prepare(chain)
    counters = chain.run("classification_set", {"label_field": "topic", "exclude": ["skip"], "min_examples": 10})
    rows = chain.rows("classification_set", "examples")
    assert len(rows) == 80 == counters["examples"]
    assert all(row["text"].endswith(row["label"]) for row in rows)
    assert json.loads((chain.folder / "classification_set" / "labels.json").read_text()) == ["arts", "science"]
    split = {row["doc_id"]: row["split"] for row in chain.rows("mix", "documents")}
    assert all(split[row["doc_id"]] == row["split"] for row in rows)
    assert counters["removed.excluded-label"] == 30 and counters["removed.no-label"] == 3
    assert counters["removed.rare-label"] == 2 and counters["labels_too_rare"].startswith("rare (")


def test_too_few_labels(chain: Any) -> None:
    prepare(chain)
    with pytest.raises(DataError, match=r"arts \(\d+\)"):
        chain.run("classification_set", {"label_field": "topic", "min_examples": 1_000})
    with pytest.raises(DataError, match="found: none"):
        chain.run("classification_set", {"label_field": "gone"})
