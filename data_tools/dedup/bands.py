"""Documents that share a band key, found by sorting: candidates for comparison.

Keys lie in Parquet files, one for each shard, one column for each band, and are read a band at a time. Where a band's
keys fit into memory they are sorted there, as integers that hold the key's upper bits and the row's number: a fifth of
a second for a million documents. Beyond that DuckDB groups them, within its memory limit, and spills to disk.
Either way a bucket of k documents is a star of k - 1 edges, never k².
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer
from data_tools.dedup.components import Parents, join_buckets, join_edges, separate, settle

if TYPE_CHECKING:
    import duckdb

# Sorting in memory takes this much for each row: key, document, parent, and a piece of file.
_BYTES_A_ROW = 40
_ROWS_AT_A_TIME = 1_000_000
_FETCHED_EDGES = 100_000
# What DuckDB needs for each thread, however much it spills.
_BYTES_A_THREAD = 64_000_000


def _columns(bands: int) -> list[str]:
    return [f"band_{band:03d}" for band in range(bands)]


def write_band_keys(path: Path, documents: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64]) -> None:
    """Write one shard's keys.

    Args:
        documents: (rows,) positions in the corpus, only of documents that have shingles.
        keys: (rows, bands).
    """
    table = pa.table(
        {"document": documents}
        | {name: np.ascontiguousarray(keys[:, band]) for band, name in enumerate(_columns(keys.shape[1]))}
    )
    with atomic_writer(path) as handle:
        # Hashes don't compress.
        pq.write_table(table, handle, compression="none", use_dictionary=False, write_statistics=False)


def connected(
    paths: Sequence[Path],
    documents: int,
    bands: int,
    *,
    memory_bytes: int,
    threads: int,
    spill: Path,
) -> Parents:
    """Connect all documents that share a key in some band.

    Args:
        paths: what `write_band_keys` wrote.
        documents: in the corpus.
        memory_bytes: for sorting or grouping.
        spill: a folder for what doesn't fit, made where needed.

    Returns:
        (documents,) int64, settled: the first document of each one's component. With keys sorted in memory, two
        components may count as one because keys of theirs agree in their upper bits; see `components`.
    """
    parents = separate(documents)
    rows = sum(pq.read_metadata(path).num_rows for path in paths)
    if rows * _BYTES_A_ROW <= memory_bytes:
        _sort(paths, rows, bands, parents)
    else:
        for first, second in grouped_edges(paths, bands, memory_bytes=memory_bytes, threads=threads, spill=spill):
            join_edges(parents, first, second)
    settle(parents)
    return parents


def _sort(paths: Sequence[Path], rows: int, bands: int, parents: Parents) -> None:
    documents = np.empty(rows, dtype=np.int64)
    _read(paths, "document", documents)
    packed = np.empty(rows, dtype=np.uint64)
    row_bits = max(1, (rows - 1).bit_length())
    for name in _columns(bands):
        _read(paths, name, packed)
        for start in range(0, rows, _ROWS_AT_A_TIME):
            part = packed[start : start + _ROWS_AT_A_TIME]
            part >>= np.uint64(row_bits)
            part <<= np.uint64(row_bits)
            part |= np.arange(start, start + len(part), dtype=np.uint64)
        packed.sort()
        join_buckets(parents, packed, row_bits, documents)


def _read(paths: Sequence[Path], column: str, into: npt.NDArray[np.generic]) -> None:
    start = 0
    for path in paths:
        values = pq.read_table(path, columns=[column], use_threads=False)[column].to_numpy()
        into[start : start + len(values)] = values
        start += len(values)


def grouping_within(memory_bytes: int, threads: int, spill: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB that groups within this memory and spills to the folder ``spill``, made where needed."""
    import duckdb

    spill.mkdir(parents=True, exist_ok=True)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory_bytes // 1_000_000}MB",
        "temp_directory": str(spill),
        "threads": max(1, min(threads, memory_bytes // _BYTES_A_THREAD)),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    return duckdb.connect(config=settings)


def grouped_edges(
    paths: Sequence[Path], bands: int, *, memory_bytes: int, threads: int, spill: Path
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Edges from the first document of each bucket to each other one, by DuckDB, some at a time."""
    files = [str(path) for path in paths]
    with grouping_within(memory_bytes, threads, spill) as connection:
        for name in _columns(bands):
            # Not a window function, which takes half as long again and more memory.
            query = f"""
                WITH buckets AS (
                    SELECT {name} AS key, min(document) AS first
                    FROM read_parquet($files) GROUP BY {name} HAVING count(*) > 1
                )
                SELECT first, document
                FROM read_parquet($files) JOIN buckets ON {name} = key
                WHERE first <> document
            """
            reader = connection.sql(query, params={"files": files}).to_arrow_reader(_FETCHED_EDGES)
            for batch in reader:
                yield batch["first"].to_numpy(), batch["document"].to_numpy()
