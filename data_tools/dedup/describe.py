"""What deduplication has to know of each document: read once, a row group at a time, kept as arrays beside the shards.

For a shard ``part-00000.parquet`` there are, in a folder of the stage's unfinished work: ``described/part-00000.npy``
(`keep.DOCUMENT`, 30 bytes a document), ``bands/part-00000.parquet`` (`bands.write_band_keys`, 8 bytes for each band),
where parts of longer documents are looked for ``sketches/part-00000.parquet`` (`sketches.write_sketches`, 8 bytes
for one shingle of 32), and where there are earlier indexes ``earlier/part-00000.parquet`` (the documents that are known
to one).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer
from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.dedup.bands import write_band_keys
from data_tools.dedup.keep import DOCUMENT, source_priorities
from data_tools.parquet import read_row_groups

if TYPE_CHECKING:
    from data_tools.dedup.index import EarlierDocuments

#: Documents known to an earlier index, by their rows in the shard.
EARLIER = pa.schema(
    [
        ("row", pa.int64()),
        ("representative", pa.string()),
        ("estimated_similarity", pa.float64()),
        ("exact_similarity", pa.float64()),
        ("reason", pa.string()),
    ]
)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a whole file."""
    with atomic_writer(path) as handle:
        np.save(handle, array, allow_pickle=False)


def open_array(path: Path) -> npt.NDArray[Any]:
    """An array on disk, of which only what is used is read."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def id_halves(doc_ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """(documents, 2): ids of 32 hex digits as two integers."""
    digits = "".join(doc_ids.to_pylist())
    return np.frombuffer(bytes.fromhex(digits), dtype=">u8").reshape(-1, 2).astype(np.uint64)


def id_of(high: int, low: int) -> str:
    """The id that `id_halves` took apart."""
    return f"{high:016x}{low:016x}"


def describe_shard(
    config: DeduplicateConfig, runtime: DataRuntime, folder: Path, batch: str, shard: tuple[Path, int]
) -> int:
    """Describe one shard: a path and the position in the corpus of its first document.

    Args:
        folder: of the unfinished work.
        batch: this run's name in a shared index.

    Returns:
        How many documents it has.
    """
    from data_tools.dedup.minhash import MinHasher, band_keys
    from data_tools.dedup.sketches import sketch_bound, sketch_scale, write_sketches

    path, first = shard
    described = [np.zeros(0, dtype=DOCUMENT)]
    earlier = [EARLIER.empty_table()]
    hasher = MinHasher(config.bands * config.rows, config.seed, config.shingle_words)
    positions, keys = [np.zeros(0, np.int64)], [np.zeros((0, config.bands), np.uint64)]
    bound = sketch_bound(sketch_scale(config)) if config.min_containment is not None else 0
    holders, sketches = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    indexes = _open_indexes(config, runtime, batch)
    try:
        row = 0
        for table in read_row_groups(path, ["doc_id", "source", "n_bytes", *(["text"] if config.minhash else [])]):
            part = np.zeros(table.num_rows, dtype=DOCUMENT)
            part["id_high"], part["id_low"] = id_halves(table["doc_id"]).T
            part["n_bytes"] = table["n_bytes"].to_numpy()
            if "source" in config.keep:
                part["priority"] = source_priorities(table["source"].to_pylist(), config.source_priority)
            if config.minhash:
                signatures, counts, sketched, ends = hasher.signatures_and_sketches(table["text"], bound)
                part["comparable"] = counts > 0
                if indexes is not None:
                    known = _known_before(config, indexes, table, signatures)
                    part["known"][known["row"].to_numpy()] = True
                    earlier.append(known.set_column(0, "row", pa.array(known["row"].to_numpy() + row)))
                rows = np.flatnonzero(part["comparable"] & ~part["known"])
                positions.append(first + row + rows)
                keys.append(band_keys(signatures[rows], config.bands, config.rows))
                long = (counts >= config.containment_min_shingles) & ~part["known"]
                of = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
                sketches.append(sketched[long[of]])
                holders.append(row + of[long[of]])
            described.append(part)
            row += table.num_rows
    finally:
        if indexes is not None:
            indexes.close()
    whole_shard = np.concatenate(described)
    save_array(folder / "described" / f"{path.stem}.npy", whole_shard)
    if config.minhash:
        write_band_keys(folder / "bands" / path.name, np.concatenate(positions), np.concatenate(keys))
    if config.minhash and config.min_containment is not None:
        of = np.concatenate(holders)
        write_sketches(
            folder / "sketches" / path.name, first + of, whole_shard["n_bytes"][of], np.concatenate(sketches)
        )
    if indexes is not None:
        with atomic_writer(folder / "earlier" / path.name) as handle:
            pq.write_table(pa.concat_tables(earlier), handle)
    return row


def _open_indexes(config: DeduplicateConfig, runtime: DataRuntime, batch: str) -> EarlierDocuments | None:
    if not config.against and config.redis is None:
        return None
    from data_tools.dedup.index import open_indexes

    return open_indexes(config, runtime, batch)


def _known_before(
    config: DeduplicateConfig, indexes: EarlierDocuments, table: pa.Table, signatures: npt.NDArray[np.uint32]
) -> pa.Table:
    from data_tools.dedup.shingles import shingle_sets

    matches = indexes.match(table["doc_id"].to_pylist(), signatures, shingle_sets(table["text"], config.shingle_words))
    return pa.Table.from_pylist(
        [
            {
                "row": row,
                "representative": match.representative,
                "estimated_similarity": match.estimated_similarity,
                "exact_similarity": match.exact_similarity,
                "reason": match.reason,
            }
            for row, match in enumerate(matches)
            if match is not None
        ],
        schema=EARLIER,
    )
