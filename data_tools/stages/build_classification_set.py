"""Labelled texts for fine-tuning a classifier, out of the documents' metadata. Splits stay as mix decided them.

Memory is bounded by a row group.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from data_tools.config import ClassificationSetConfig, DataRuntime
from data_tools.errors import DataError
from data_tools.progress import Progress, no_progress

Counters = dict[str, int | float | str]


def run(
    config: ClassificationSetConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``examples/`` (doc_id, text, label, split) and ``labels.json`` (the sorted labels).

    Raises:
        DataError: fewer than two labels have enough training examples.
    """
    from data_tools.atomic_file import write_json
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    in_train: Counter[str] = Counter()
    for counts in map_shards(partial(_count_labels, config), paths, progress=no_progress):
        in_train.update(counts)
    candidates = {label: count for label, count in in_train.items() if label not in config.exclude}
    labels = sorted(label for label, count in candidates.items() if count >= config.min_examples)
    if len(labels) < 2:
        raise _too_few_labels(config, candidates)

    (out / "examples").mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter()
    for result in map_shards(
        partial(_label_shard, config, labels, out / "examples"),
        paths,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="labelling",
    ):
        total.update(result)
    write_json(out / "labels.json", labels)
    counters: Counters = {name: total[name] for name in sorted(total)}
    counters["labels"] = len(labels)
    # A rare label is left out, and said so.
    rare = sorted(f"{label} ({count})" for label, count in candidates.items() if count < config.min_examples)
    counters["labels_too_rare"] = ", ".join(rare)
    return counters


def _label(config: ClassificationSetConfig, metadata: list[tuple[str, str]] | None) -> str | None:
    return dict(metadata or []).get(config.label_field) or None


def _count_labels(config: ClassificationSetConfig, path: Path) -> Counter[str]:
    from data_tools.mixture import once
    from data_tools.parquet import read_row_groups

    counts: Counter[str] = Counter()
    for table in read_row_groups(path, ["metadata", "split", "repetition"]):
        table = once(table)
        for metadata, split in zip(table["metadata"].to_pylist(), table["split"].to_pylist(), strict=True):
            label = _label(config, metadata)
            if label is not None:
                counts[label] += split == "train"
    return counts


def _label_shard(config: ClassificationSetConfig, labels: list[str], folder: Path, path: Path) -> Counter[str]:
    import pyarrow as pa

    from data_tools.mixture import once
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import CLASSIFICATION_EXAMPLES

    known = set(labels)
    counts: Counter[str] = Counter()
    with ShardFile(folder / path.name, CLASSIFICATION_EXAMPLES, keep_empty=False) as file:
        for table in read_row_groups(path, ["doc_id", "text", "metadata", "split", "repetition"]):
            table = once(table)
            rows: list[dict[str, Any]] = []
            for row in table.to_pylist():
                label = _label(config, row["metadata"])
                counts["documents_in"] += 1
                if label in known:
                    counts["examples"] += 1
                    counts[f"examples_{row['split']}"] += 1
                    counts[f"label.{label}"] += 1
                    rows.append({"doc_id": row["doc_id"], "text": row["text"], "label": label, "split": row["split"]})
                elif label is None:
                    counts["removed.no-label"] += 1
                else:
                    counts["removed.excluded-label" if label in config.exclude else "removed.rare-label"] += 1
            file.write(pa.Table.from_pylist(rows, schema=CLASSIFICATION_EXAMPLES))
    return counts


def _too_few_labels(config: ClassificationSetConfig, candidates: dict[str, int]) -> DataError:
    found = ", ".join(f"{label} ({count})" for label, count in sorted(candidates.items())[:20]) or "none"
    return DataError(
        f"a classifier needs two labels with at least {config.min_examples} training examples each; found: {found}",
        where=f"classification_set.label_field {config.label_field!r}",
        fix="Check that the field is among the source's metadata_fields, or lower classification_set.min_examples.",
    )
