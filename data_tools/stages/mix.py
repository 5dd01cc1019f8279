"""The last door of the data part: the documents as the model will meet them, each in one split for good.

A document's split is a function of its id (the hash of its text) and the salt, so it stays where it is when other
documents come or go, and equal texts are never on both sides. (Only in a corpus of a few dozen documents, where a split
would stay empty, do the bounds move: :func:`_bounds`.) Memory is bounded by a row group.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_tools.config import DataRuntime, MixConfig
from data_tools.errors import DataError
from data_tools.progress import Progress

Counters = dict[str, int | float | str]

SPLITS = ("train", "validation", "test")


def run(config: MixConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime) -> Counters:
    """Write ``documents/``: the same rows with a ``split`` column.

    Raises:
        DataError: there are no documents, or too few for the splits that are asked for.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    sizes = [path.stat().st_size for path in paths]
    (out / "documents").mkdir(parents=True, exist_ok=True)
    bounds = _bounds(config, [position for path in paths for position in _lowest_positions(config, path)])
    results = map_shards(
        partial(_mix_shard, config, bounds, out / "documents"),
        paths,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="splitting",
    )
    total: Counter[str] = Counter()
    for result in results:
        total.update(result)
    for split in SPLITS:
        total[f"documents_{split}"] += 0
        total[f"bytes_{split}"] += 0
    if total["documents_train"] == 0:
        raise DataError(
            f"{total['documents_in']:,} document(s) all fell into validation and test; none is left for training",
            where="mix",
            fix="Bring more documents (or cut a long one into several), or lower mix.test_fraction and "
            "mix.validation_fraction (0 turns a split off).",
        )
    return {name: total[name] for name in sorted(total)}


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


def _mix_shard(config: MixConfig, bounds: Bounds, folder: Path, path: Path) -> Counter[str]:
    import pyarrow as pa

    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import MIXED_DOCUMENTS

    counts: Counter[str] = Counter()
    with ShardFile(folder / path.name, MIXED_DOCUMENTS, keep_empty=False) as file:
        for table in read_row_groups(path):
            ids = table["doc_id"].to_pylist()
            splits = [bounds.split(split_position(doc_id, config.split_salt)) for doc_id in ids]
            repetition = pa.array([0] * table.num_rows, pa.int64())
            file.write(
                table.append_column("split", pa.array(splits, pa.string())).append_column("repetition", repetition)
            )
            for split, n_bytes, source in zip(
                splits, table["n_bytes"].to_pylist(), table["source"].to_pylist(), strict=True
            ):
                counts[f"documents_{split}"] += 1
                counts[f"bytes_{split}"] += n_bytes
                counts[f"source.{source}.documents_out"] += 1
                counts["documents_in"] += 1
                counts["documents_out"] += 1
                counts["bytes_in"] += n_bytes
                counts["bytes_out"] += n_bytes
    return counts
