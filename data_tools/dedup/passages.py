"""Passages that stand in many documents (menus, footers, licence texts) are cut out of all but the first.

Two passes over the corpus. The first counts the passages of every file by a hash of 128 bits; DuckDB, which spills to
disk, then finds those that stand too often, and how many of them each file may keep, in corpus order. The second cuts.
So the outcome is that of reading the corpus from front to back, whatever the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer
from data_tools.config import DataRuntime, LineDedupConfig
from data_tools.edited_documents import count_documents, replace_texts
from data_tools.parallel import map_shards
from data_tools.parquet import ShardFile, read_row_groups
from data_tools.progress import Progress
from data_tools.schema import DOCUMENTS, EDITS
from data_tools.text import document_id

Counters = dict[str, int | float | str]

_HASH = [("high", pa.uint64()), ("low", pa.uint64())]
_COUNTS = pa.schema([("shard", pa.int32()), *_HASH, ("occurrences", pa.int64())])
_ALLOWED = pa.schema([("shard", pa.int32()), *_HASH, ("allowed", pa.int64())])

# Of the passages that stand too often in all, how many each file may keep: what the files before it left over.
_FIND_REPEATED = """
WITH counts AS (FROM read_parquet($paths)),
     repeated AS (SELECT high, low FROM counts GROUP BY high, low HAVING sum(occurrences) > $most)
SELECT shard, high, low,
       greatest(0, $most - coalesce(sum(occurrences) OVER earlier, 0))::BIGINT AS allowed
FROM counts JOIN repeated USING (high, low)
WINDOW earlier AS (PARTITION BY high, low ORDER BY shard ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
ORDER BY shard, high, low
"""


def remove_passages(
    config: LineDedupConfig, paths: Sequence[Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``documents/`` without the passages that stand more than ``max_occurrences`` times before, and ``edits/``.

    Lines are compared without the blanks around them. A document of which nothing is left goes.

    Args:
        paths: Parquet files of documents, in corpus order.
        out: folder of the stage. Unfinished work stands in ``out/finished.tmp``, which the stage deletes at its end.
    """
    temporary = out / "finished.tmp"
    for folder in (out / "documents", out / "edits", temporary):
        folder.mkdir(parents=True, exist_ok=True)
    numbered = list(enumerate(paths))
    sizes = [path.stat().st_size for path in paths]
    map_shards(
        partial(_count_shard, config, temporary / "passages"),
        numbered,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="counting passages",
        ledger=temporary / "passages-counted",
    )
    allowed = temporary / "passages" / "allowed"
    counted = [str(_counts_path(temporary / "passages", index)) for index, _ in numbered]
    _find_repeated(counted, config.max_occurrences, allowed, temporary, runtime)
    total: Counter[str] = Counter()
    for counts in map_shards(
        partial(_cut_shard, config, allowed, out),
        numbered,
        runtime=runtime,
        sizes=sizes,
        progress=progress,
        message="cutting passages",
        ledger=temporary / "passages-cut",
    ):
        total.update(counts)
    return {name: total[name] for name in sorted(total)}


def _counts_path(folder: Path, index: int) -> Path:
    return folder / f"counts-{index:06d}.parquet"


Passages = tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]
]


def passages_of(column: pa.ChunkedArray, config: LineDedupConfig) -> Passages:
    """(texts, first bytes, where the next begins, upper and lower half of the hashes) of every passage that counts,
    all (passages,). Bytes are counted in the column's buffer."""
    from data_tools.kernels.buffers import text_buffers
    from data_tools.kernels.passages import find_passages

    data, offsets = text_buffers(column)
    places = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 10)) + len(offsets)
    texts, starts, followings = (np.empty(places, dtype=np.int64) for _ in range(3))
    high, low = np.empty(places, dtype=np.uint64), np.empty(places, dtype=np.uint64)
    paragraphs = config.unit == "paragraph"
    count = find_passages(data, offsets, paragraphs, config.min_chars, texts, starts, followings, high, low)
    return texts[:count], starts[:count], followings[:count], high[:count], low[:count]


def _count_shard(config: LineDedupConfig, folder: Path, shard: tuple[int, Path]) -> int:
    index, path = shard
    parts = [passages_of(table["text"], config)[3:] for table in read_row_groups(path, ["text"])]
    high = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.uint64)])
    low = np.concatenate([part[1] for part in parts] or [np.zeros(0, np.uint64)])
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    first = np.flatnonzero(np.concatenate([[True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])])[: len(high)])
    occurrences = np.diff(np.append(first, len(high)))
    with ShardFile(_counts_path(folder, index), _COUNTS) as file:
        number = np.full(len(first), index, dtype=np.int32)
        file.write(pa.table([number, high[first], low[first], occurrences], names=_COUNTS.names))
    return len(high)


def _find_repeated(counted: list[str], most: int, result: Path, temporary: Path, runtime: DataRuntime) -> None:
    import duckdb

    options = {
        "memory_limit": f"{runtime.memory_mb}MB",
        "temp_directory": str(temporary / "duckdb"),
        "threads": runtime.workers or None,
    }
    with duckdb.connect(config={name: value for name, value in options.items() if value is not None}) as connection:
        found = connection.sql(_FIND_REPEATED, params={"paths": counted, "most": most}).to_arrow_reader(65_536)
        with atomic_writer(result) as handle, pq.ParquetWriter(handle, _ALLOWED, compression="zstd") as writer:
            for batch in found:
                writer.write_table(pa.Table.from_batches([batch]).cast(_ALLOWED))


def _cut_shard(config: LineDedupConfig, allowed: Path, out: Path, shard: tuple[int, Path]) -> Counter[str]:
    from data_tools.kernels.passages import count_over

    index, path = shard
    known = pq.read_table(allowed, columns=_ALLOWED.names[1:], filters=[("shard", "=", index)])
    known_high, known_low = known["high"].to_numpy(), known["low"].to_numpy()
    left = known["allowed"].to_numpy().copy()
    counts: Counter[str] = Counter()
    with (
        ShardFile(out / "documents" / path.name, DOCUMENTS, keep_empty=False) as documents,
        ShardFile(out / "edits" / path.name, EDITS) as edits,
    ):
        for table in read_row_groups(path):
            texts, starts, followings, high, low = passages_of(table["text"], config)
            over = np.empty(len(texts), dtype=np.bool_)
            count_over(high, low, known_high, known_low, left, over)
            kept, changes = _cut(table, texts[over], starts[over], followings[over], f"passage/{config.unit}")
            documents.write(kept)
            edits.write(pa.Table.from_pylist(changes, schema=EDITS))
            counts.update(_count(table, kept, changes, config))
    return counts


def _cut(
    table: pa.Table,
    texts: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    followings: npt.NDArray[np.int64],
    change: str,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The documents without the given passages, and a row of ``edits`` for each that changed."""
    from data_tools.kernels.buffers import text_buffers

    if not len(texts):
        return table, []
    data, offsets = text_buffers(table["text"])
    rows, first = np.unique(texts, return_index=True)
    new_texts: dict[int, str] = {}
    for row, begin, end in zip(rows.tolist(), first.tolist(), [*first.tolist()[1:], len(texts)], strict=True):
        pieces, position = [], int(offsets[row])
        for start, following in zip(starts[begin:end].tolist(), followings[begin:end].tolist(), strict=True):
            pieces.append(data[position:start].tobytes())
            position = following
        pieces.append(data[position : offsets[row + 1]].tobytes())
        text = b"".join(pieces).decode().strip("\n")
        new_texts[row] = text if text.strip() else ""
    changed = table.take(pa.array(rows)).select(["doc_id", "source", "source_id", "n_bytes"]).to_pylist()
    passages = np.diff(np.append(first, len(texts))).tolist()
    changes = [
        {
            "doc_id": document["doc_id"],
            "new_doc_id": document_id(text) if text else None,
            "source": document["source"],
            "source_id": document["source_id"],
            "changes": [(change, count)],
            "bytes_before": document["n_bytes"],
            "bytes_after": len(text.encode()),
        }
        for document, text, count in zip(changed, new_texts.values(), passages, strict=True)
    ]
    return replace_texts(table, new_texts), changes


def _count(before: pa.Table, after: pa.Table, changes: list[dict[str, Any]], config: LineDedupConfig) -> Counter[str]:
    counts = count_documents(before, after)
    counts["edited"] = sum(row["new_doc_id"] is not None for row in changes)
    counts[f"{config.unit}s_cut"] = sum(count for row in changes for _, count in row["changes"])
    for row in changes:
        if row["new_doc_id"] is None:
            for name in ("removed", "removed.passage/empty", f"source.{row['source']}.removed.passage/empty"):
                counts[name] += 1
    return counts
