"""Reading what fine-tuning learns from: Parquet folders of labelled texts and of conversations."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.errors import LlmCoreError
from llm_core.shards.documents import SPLITS

LABELS_FILE = "labels.json"
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class LabelledText:
    text: str
    label: str


def read_labels(folder: Path) -> list[str]:
    """The names of all classes, in the order of their numbers.

    Raises:
        LlmCoreError: labels.json is missing, damaged, or names fewer than two classes.
    """
    path = Path(folder) / LABELS_FILE
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LlmCoreError(f"the list of classes can't be read ({error}).", where=str(path)) from error
    if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(label, str) for label in labels):
        raise LlmCoreError(
            "a classifier needs a list of at least two classes.",
            where=str(path),
            fix="Check classification_set.label_field and classification_set.exclude.",
        )
    return labels


def read_labelled(folder: Path) -> dict[str, list[LabelledText]]:
    """Labelled texts by split, in the order of the files.

    Raises:
        LlmCoreError: a file or column is missing, or there is nothing to train on.
    """
    labels = set(read_labels(folder))
    by_split: dict[str, list[LabelledText]] = defaultdict(list)
    for path, row in _rows(folder, ("text", "label", "split")):
        if row["label"] not in labels:
            raise LlmCoreError(f"the label {row['label']!r} is not in {LABELS_FILE}.", where=str(path))
        by_split[row["split"]].append(LabelledText(row["text"], row["label"]))
    return _with_train(by_split, folder)


def read_conversations(folder: Path) -> dict[str, list[Messages]]:
    """Conversations by split, in the order of the files.

    Raises:
        LlmCoreError: a file or column is missing, a conversation isn't one, or there is nothing to train on.
    """
    by_split: dict[str, list[Messages]] = defaultdict(list)
    for path, row in _rows(folder, ("messages", "split")):
        try:
            messages = json.loads(row["messages"])
        except ValueError as error:
            raise LlmCoreError(f"a conversation is not valid JSON ({error}).", where=str(path)) from error
        if not isinstance(messages, list) or not messages:
            raise LlmCoreError("a conversation must be a list of messages.", where=str(path))
        by_split[row["split"]].append(messages)
    return _with_train(by_split, folder)


def _rows(folder: Path, columns: tuple[str, ...]) -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = Path(folder)
    inside = folder / "examples"
    files = sorted((inside if inside.is_dir() else folder).glob("*.parquet"))
    if not files:
        raise LlmCoreError("there are no examples here.", where=str(folder), fix="Run the data stages first.")
    for path in files:
        try:
            table = pq.read_table(path, columns=list(columns))
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise LlmCoreError(f"the examples can't be read ({error}).", where=str(path)) from error
        if missing := set(columns) - set(table.column_names):
            raise LlmCoreError(f"the column {sorted(missing)[0]!r} is missing.", where=str(path))
        for row in table.to_pylist():
            if row["split"] not in SPLITS:
                raise LlmCoreError(f"unknown split {row['split']!r}.", where=str(path))
            yield path, row


def _with_train(by_split: dict[str, list[Any]], folder: Path) -> dict[str, list[Any]]:
    if not by_split["train"]:
        raise LlmCoreError(
            "there are no examples in the train split.",
            where=str(folder),
            fix="Add documents, or loosen what the set is made from.",
        )
    return {split: by_split[split] for split in SPLITS}
