"""The last door of the data part: the documents as the model will meet them, each in one split for good.

A document's split is a function of its id (the hash of its text) and the salt, so it stays where it is when other
documents come or go, and equal texts are never on both sides. (Only in a corpus of a few dozen documents, where a split
would stay empty, do the bounds move: :func:`_bounds`.) Memory is bounded by a row group.

Weights, budgets and ``rehydrate`` (``data_tools.mixture``) say how often the documents of the train split come; those
of validation and test come once. The first time a document comes it stands where it stood; all second times follow as
a pass over the corpus in files of their own (``repetition-001-...``), then all third ones, so that no two copies are
near each other, and whoever reads ``text`` front to back trains on the mixture.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_tools.atomic_file import delete_folder
from data_tools.config import DataRuntime, MixConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

Counters = dict[str, int | float | str]

SPLITS = ("train", "validation", "test")


def run(config: MixConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``documents/``: the same rows with their ``split`` and ``repetition``.

    In the counters, documents and bytes are counted once however often they come; ``rows_train``, ``mixed_bytes`` and
    ``estimated_tokens`` have the repetitions in them.

    Raises:
        DataError: there are no documents, or too few for the splits or the mixture that are asked for.
    """

    from data_tools.mixture import plan_epochs
    from data_tools.parallel import map_shards
    from data_tools.parquet import count_rows, shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    temporary = out / "finished.tmp"
    (out / "documents").mkdir(parents=True, exist_ok=True)
    bounds = _bounds(config, [position for path in paths for position in _lowest_positions(config, path)])
    supply: Counter[str] = Counter()
    most_copies = 1
    for found, copies in map_shards(partial(_measure_shard, config, bounds), paths, runtime=runtime, sizes=sizes):
        supply.update(found)
        most_copies = max(most_copies, copies)
    if not supply:
        raise DataError(
            f"{sum(map(count_rows, paths)):,} document(s) all fell into validation and test; none is left for training",
            where="mix",
            fix="Bring more documents (or cut a long one into several), or lower mix.test_fraction and "
            "mix.validation_fraction (0 turns a split off).",
        )
    epochs = plan_epochs(config, supply)
    passes = max([1, *(math.ceil(times * most_copies) for times in epochs.values())])
    results = map_shards(
        partial(_mix_shard, config, bounds, epochs, out / "documents"),
        [(path, repetition) for repetition in range(passes) for path in paths],
        runtime=runtime,
        sizes=sizes * passes,
        progress=progress,
        message="splitting" if passes == 1 else "mixing",
        ledger=temporary / "mixed",
    )
    total: Counter[str] = Counter(removed=0)
    for result in results:
        total.update(result)
    for split in SPLITS:
        total[f"documents_{split}"] += 0
        total[f"bytes_{split}"] += 0
    delete_folder(temporary)
    if not total["mixed_bytes"]:
        raise DataError(
            "the mixture asks for so little that no document was drawn",
            where="mix",
            fix="Ask for more bytes than a document has.",
        )
    return dict(sorted(_with_shares(config, total, epochs).items()))


def _with_shares(config: MixConfig, total: Counter[str], epochs: dict[str, float]) -> Counters:
    """The counts, and what they say of the mixture."""
    counters: Counters = {**total, "estimated_tokens": int(total["mixed_bytes"] / config.bytes_per_token)}
    for source, times in epochs.items():
        n_bytes = total[f"source.{source}.mixed_bytes"]
        counters[f"source.{source}.epochs"] = round(times, 6)
        counters[f"source.{source}.share"] = round(n_bytes / total["mixed_bytes"], 6)
        counters[f"source.{source}.estimated_tokens"] = int(n_bytes / config.bytes_per_token)
    return counters


def split_position(doc_id: str, salt: str) -> float:
    """Where a document stands between 0 and 1, by the hash of its id: uniform, and the same in every process."""
    import xxhash

    return xxhash.xxh3_64_intdigest(f"{salt}/{doc_id}".encode()) / 2**64


@dataclass(frozen=True)
class Bounds:
    """A position below ``test`` is test, below ``validation`` it is validation, else train."""

    test: float
    validation: float

    def split(self, position: float) -> str:
        if position < self.test:
            return "test"
        return "validation" if position < self.validation else "train"


def _bounds(config: MixConfig, lowest: list[float]) -> Bounds:
    """The bounds that the fractions ask for. In a corpus so small that a wanted split would stay empty, the bound moves
    up to take in the one document that stands next.

    Args:
        lowest: positions of the corpus, at least the lowest few of every split.
    """
    positions = sorted(set(lowest))
    if not positions:
        raise DataError("no documents came in", where="mix", fix="Look at what the stages before removed, and why.")
    test, validation = config.test_fraction, config.test_fraction + config.validation_fraction
    if config.test_fraction > 0:
        test = _take_one(positions, 0.0, test)
    validation = max(test, validation)
    if config.validation_fraction > 0:
        validation = _take_one(positions, test, validation)
    return Bounds(test, validation)


def _take_one(positions: list[float], low: float, high: float) -> float:
    """``high``, or where no position lies in [low, high) the bound that lets the first one above in."""
    above = [position for position in positions if position >= low]
    if not above or above[0] < high:
        return high
    return above[1] if len(above) > 1 else 1.0


def _lowest_positions(config: MixConfig, path: Path) -> list[float]:
    """The lowest few positions of every split in one file: enough to see whether one is empty, and who stands next."""
    from data_tools.parquet import read_row_groups

    lowest: list[float] = []
    for table in read_row_groups(path, ["doc_id"]):
        lowest += [split_position(doc_id, config.split_salt) for doc_id in table["doc_id"].to_pylist()]
        lowest = _thin(lowest, config)
    return lowest


def _thin(positions: list[float], config: MixConfig) -> list[float]:
    bounds = Bounds(config.test_fraction, config.test_fraction + config.validation_fraction)
    kept: list[float] = []
    for name in SPLITS:
        kept += sorted({position for position in positions if bounds.split(position) == name})[:4]
    return kept


def _measure_shard(config: MixConfig, bounds: Bounds, path: Path) -> tuple[dict[str, int], int]:
    """Source to the bytes that it has for training, and the most copies that a document has in them."""
    from data_tools.mixture import copies_of_cluster
    from data_tools.parquet import read_row_groups

    supply: Counter[str] = Counter()
    most = 1
    for table in read_row_groups(path, ["doc_id", "source", "n_bytes", "cluster_size"]):
        for doc_id, source, n_bytes, cluster_size in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            if bounds.split(split_position(doc_id, config.split_salt)) == "train":
                copies = copies_of_cluster(config, cluster_size)
                supply[source] += copies * n_bytes
                most = max(most, copies)
    return dict(supply), most


def _mix_shard(
    config: MixConfig, bounds: Bounds, epochs: dict[str, float], folder: Path, task: tuple[Path, int]
) -> Counter[str]:
    """Write those rows of a file that come a ``repetition``-th time (0 is the first)."""
    import pyarrow as pa

    from data_tools.mixture import copies_of_cluster, repetitions
    from data_tools.parquet import KEPT_LEVEL, ShardFile, open_shard
    from data_tools.schema import MIXED_DOCUMENTS

    path, repetition = task
    tally: dict[tuple[str, str, int], list[int]] = {}  # (source, split, times): documents, bytes
    name = f"repetition-{repetition:03d}-{path.name}" if repetition else path.name
    with (
        open_shard(path) as shard,
        ShardFile(folder / name, MIXED_DOCUMENTS, keep_empty=False, compression_level=KEPT_LEVEL) as file,
    ):
        for group in range(shard.num_row_groups):
            light = shard.read_row_group(group, columns=["doc_id", "source", "n_bytes", "cluster_size"])
            rows: list[int] = []
            splits: list[str] = []
            columns = (column.to_pylist() for column in light.columns)
            for row, (doc_id, source, n_bytes, cluster_size) in enumerate(zip(*columns, strict=True)):
                split = bounds.split(split_position(doc_id, config.split_salt))
                times = 1
                if split == "train":
                    copies = copies_of_cluster(config, cluster_size)
                    times = repetitions(doc_id, config.split_salt, copies * epochs[source])
                if repetition == 0:
                    counted = tally.setdefault((source, split, times), [0, 0])
                    counted[0] += 1
                    counted[1] += n_bytes
                if times > repetition:
                    rows.append(row)
                    splits.append(split)
            if rows:
                table = shard.read_row_group(group)
                if len(rows) < table.num_rows:
                    table = table.take(pa.array(rows))
                number = pa.array([repetition] * len(rows), pa.int64())
                table = table.append_column("split", pa.array(splits, pa.string()))
                file.write(table.append_column("repetition", number))
    return _counts(tally)


def _counts(tally: dict[tuple[str, str, int], list[int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (source, split, times), (documents, n_bytes) in tally.items():
        counts["documents_in"] += documents
        counts["bytes_in"] += n_bytes
        if times:
            for name in (f"{{}}_{split}", "{}_out", f"source.{source}.{{}}_out"):
                counts[name.format("documents")] += documents
                counts[name.format("bytes")] += n_bytes
        else:
            for name in ("removed", "removed.mixture/not-drawn", f"source.{source}.removed.mixture/not-drawn"):
                counts[name] += documents
        if split == "train":
            counts["rows_train"] += times * documents
            counts["mixed_bytes"] += times * n_bytes
            counts[f"source.{source}.mixed_bytes"] += times * n_bytes
    return counts
