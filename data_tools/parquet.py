"""Parquet folders: read a row group at a time, written as whole files or not at all.

No file holds a time, a host name or a path, so the same rows are the same bytes wherever and whenever they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer
from data_tools.errors import DataError
from data_tools.schema import SCHEMA_VERSION

#: Bytes (before compression) that a row group is collected to: what a reader holds in memory at a time.
ROW_GROUP_BYTES = 8_000_000
#: Of zstd. Most tables are read once or twice and deleted one day: level 1 is written and read a third faster than
#: level 3, for an eighth more bytes. What people keep is written at ``KEPT_LEVEL``.
INTERMEDIATE_LEVEL = 1
KEPT_LEVEL = 3

# Rows that are collected before they are made a table.
_MOST_ROWS = 4096

# A dictionary pays for columns of few values; for texts and ids it costs a quarter of the reading time.
_FEW_VALUES = frozenset({"source", "language", "license", "split", "label", "reason", "rule_version", "benchmark"})
_FEW_VALUES |= {"reasons.list.element", "metadata.key_value.key"}


def shard_paths(folder: Path) -> list[Path]:
    """The Parquet files of ``folder`` in order.

    Raises:
        DataError: there are none.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise DataError("no Parquet files here", where=str(folder), fix="Run the stage that makes them again.")
    return paths


def open_shard(path: Path) -> pq.ParquetFile:
    """Open a Parquet file that one of our stages wrote.

    Raises:
        DataError: it is truncated, or of a schema version that this code doesn't read.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        raise DataError(
            f"this Parquet file can't be read ({error})",
            where=str(path),
            fix="Delete the artifact folder that it lies in; the stage will make it again.",
        ) from error
    version = (file.schema_arrow.metadata or {}).get(b"groundup.schema_version")
    if version is not None and int(version) != SCHEMA_VERSION:
        file.close()
        raise DataError(
            f"written with schema version {int(version)}, this code reads version {SCHEMA_VERSION}",
            where=str(path),
            fix="Run the stage that made it again.",
        )
    return file


def read_row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of ``path`` one at a time (in ``columns`` only, where given).

    Raises:
        DataError: the file or a row group can't be read.
    """
    with open_shard(path) as file:
        for index in range(file.num_row_groups):
            try:
                yield file.read_row_group(index, columns=list(columns) if columns is not None else None)
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(
                    f"row group {index} can't be read ({error})",
                    where=str(path),
                    fix="Delete the artifact folder that it lies in; the stage will make it again.",
                ) from error


def count_rows(path: Path) -> int:
    """Rows of a file, from its footer."""
    with open_shard(path) as file:
        return int(file.metadata.num_rows)


class ShardFile:
    """One Parquet file. Tables are collected to row groups of about ``ROW_GROUP_BYTES``.

    A context manager: the file appears under its name when the block ends well. With ``keep_empty=False`` a file
    with no rows doesn't appear.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        row_group_bytes: int = ROW_GROUP_BYTES,
        keep_empty: bool = True,
        compression_level: int = INTERMEDIATE_LEVEL,
    ) -> None:
        self.path, self.schema, self.rows = path, schema, 0
        self._compression_level = compression_level
        self._row_group_bytes, self._keep_empty = row_group_bytes, keep_empty
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._stack = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Add rows. Columns are put into the schema's order and types."""
        if not table.num_rows:
            return
        self._pending.append(table.select(self.schema.names).cast(self.schema))
        self._pending_bytes += table.nbytes
        self.rows += table.num_rows
        if self._pending_bytes >= self._row_group_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            handle = self._stack.enter_context(atomic_writer(self.path))
            self._writer = self._stack.enter_context(
                pq.ParquetWriter(
                    handle,
                    self.schema,
                    compression="zstd",
                    compression_level=self._compression_level,
                    use_dictionary=sorted(_FEW_VALUES),
                    write_statistics=[name for name in self.schema.names if name != "text"],
                )
            )
        table = pa.concat_tables(self._pending) if self._pending else self.schema.empty_table()
        if table.num_rows:
            self._writer.write_table(table.combine_chunks(), row_group_size=table.num_rows)
        self._pending, self._pending_bytes = [], 0

    def close(self) -> None:
        if self._pending or (self._writer is None and self._keep_empty):
            self._flush()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self.close()
            except BaseException as failure:
                # Unwinding with the error removes the unfinished file.
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        else:
            self._stack.__exit__(kind, error, trace)


class ShardWriter:
    """Rows in, ``part-00000.parquet``, ``part-00001.parquet``... out, each of about ``shard_bytes``.

    A context manager. ``paths`` are the files that are finished.
    """

    def __init__(self, folder: Path, schema: pa.Schema, *, shard_bytes: int = 64_000_000) -> None:
        self.folder, self.schema, self.paths = folder, schema, list[Path]()
        self._shard_bytes = shard_bytes
        self._row_group_bytes = min(ROW_GROUP_BYTES, shard_bytes)
        self._rows: list[Mapping[str, Any]] = []
        self._tables: list[tuple[int, pa.Table]] = []  # each behind how many of those rows
        self._waiting = self._waiting_bytes = 0  # rows of both
        self._file: ShardFile | None = None
        self._file_bytes = 0

    def add(self, row: Mapping[str, Any], n_bytes: int) -> None:
        """Add one row that counts ``n_bytes`` towards the shard's size. Texts may be given in UTF-8, checked by the
        caller: that saves encoding them again."""
        self._rows.append(row)
        self._count(1, n_bytes)

    def add_table(self, table: pa.Table, n_bytes: npt.NDArray[np.int64]) -> None:
        """Add the rows of a table of the schema, which count so much each: as ``add`` of one after the other."""
        ends = np.cumsum(n_bytes)
        start = before = 0
        while start < len(ends):
            # The row that fills a row group or the shard is the last of its table.
            room = min(self._row_group_bytes - self._waiting_bytes, self._shard_bytes - self._file_bytes)
            full = int(np.searchsorted(ends, before + room)) + 1
            stop = min(full, start + _MOST_ROWS - self._waiting, len(ends))
            self._tables.append((len(self._rows), table.slice(start, stop - start)))
            self._count(stop - start, int(ends[stop - 1]) - before)
            start, before = stop, int(ends[stop - 1])

    def _count(self, rows: int, n_bytes: int) -> None:
        self._waiting += rows
        self._waiting_bytes += n_bytes
        self._file_bytes += n_bytes
        if self._waiting_bytes >= self._row_group_bytes or self._waiting >= _MOST_ROWS:
            self._hand_over()
        if self._file_bytes >= self._shard_bytes:
            self._finish_file()

    def _hand_over(self) -> None:
        if not self._waiting:
            return
        if self._file is None:
            path = self.folder / f"part-{len(self.paths):05d}.parquet"
            self._file = ShardFile(path, self.schema, row_group_bytes=self._row_group_bytes)
        self._file.write(self._collected())
        self._rows, self._tables, self._waiting, self._waiting_bytes = [], [], 0, 0

    def _collected(self) -> pa.Table:
        """What waits as one table, of the same buffers whatever the rows came with: a row group is full by these."""
        rows = pa.Table.from_arrays([self._column(field) for field in self.schema], schema=self.schema)
        if not self._tables:
            return rows
        pieces: list[pa.Table] = []
        start = 0
        for stop, table in self._tables:
            pieces += [rows.slice(start, stop - start), table]
            start = stop
        pieces.append(rows.slice(start))
        columns = []
        for name in self.schema.names:
            arrays = [array for piece in pieces for array in piece[name].chunks if len(array)]
            # Counted to be none, nulls have no bitmap in what they are put together to.
            assert all(array.null_count >= 0 for array in arrays)
            columns.append(pa.concat_arrays(arrays))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _column(self, field: pa.Field) -> pa.Array:
        values = [row.get(field.name) for row in self._rows]
        if values and isinstance(values[0], bytes) and pa.types.is_large_string(field.type):
            return pa.array(values, pa.large_binary()).view(field.type)
        return pa.array(values, field.type)

    def _finish_file(self) -> None:
        self._hand_over()
        if self._file is not None:
            file, self._file, self._file_bytes = self._file, None, 0
            with file:
                pass
            self.paths.append(file.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish_file()
            except BaseException as failure:
                self._abandon(type(failure), failure, failure.__traceback__)
                raise
        else:
            self._abandon(kind, error, trace)

    def _abandon(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, trace)
