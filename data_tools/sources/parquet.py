"""Parquet: one document a row. A damaged row group costs that row group only.

Large files are read in parts of whole row groups; ids are ``file:row`` with the row's number in the file. Memory is
bounded by a page of the file (which its writer chose, 1 MB as a rule) and by what a batch of rows may take.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_tools.config import SourceConfig
from data_tools.sources.fields import as_string, record_from_fields
from data_tools.sources.files import FileSource
from data_tools.sources.open import open_raw, unreadable
from data_tools.sources.protocol import FindClean, Quarantined, Record, Records, SourceFile, excerpt

_MOST_ROWS = 1024
#: What the texts of one batch may take, as far as the file's own numbers tell.
_BATCH_BYTES = 64_000_000
#: Column chunks are read through a buffer of this size, not whole.
_BUFFER_BYTES = 1 << 20
#: A file that may unpack to more than the target is worth a look at its footer; text seldom packs better than this.
_UNPACKS_TO = 8

_TEXT_LIKE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)

Item = TypeVar("Item")


@dataclass(frozen=True)
class ParquetSource(FileSource):
    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        if file.size and file.size * _UNPACKS_TO < target_bytes:
            return [file]
        try:
            with open_raw(file.path, streaming=False) as handle, pq.ParquetFile(handle) as opened:
                footer = opened.metadata
                groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
                unpacked = [group.total_byte_size for group in groups]
                packed = [
                    sum(group.column(index).total_compressed_size for index in range(group.num_columns))
                    for group in groups
                ]
        except (pa.ArrowException, OSError):
            return [file]  # reading it will tell why
        parts: list[SourceFile] = []
        start = size = left = 0
        for index, count in enumerate(unpacked):
            left += count
            size += packed[index]
            if left >= target_bytes and index + 1 < len(unpacked):
                parts.append(replace(file, size=size, start=start, stop=index + 1))
                start, size, left = index + 1, 0, 0
        rest = file.size - sum(part.size for part in parts)
        return [*parts, replace(file, size=max(0, rest), start=start)]

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        return self._read(file, _Rows.one_by_one)

    def read_columns(self, file: SourceFile, find_clean: FindClean) -> Iterator[Record | Quarantined | Records]:
        return self._read(file, lambda rows: rows.in_runs(find_clean))

    def _read(self, file: SourceFile, look: Callable[[_Rows], Iterator[Item]]) -> Iterator[Item | Quarantined]:
        try:
            handle = open_raw(file.path, streaming=False)
        except OSError as error:
            yield unreadable(error)
            return
        with handle:
            yield from _read_batches(handle, self.config, file.name, look, file.start, file.stop)


def read_rows(where: IO[bytes] | io.BytesIO, config: SourceConfig, file_name: str) -> Iterator[Record | Quarantined]:
    """Every row of an open Parquet file."""
    return _read_batches(where, config, file_name, _Rows.one_by_one)


def _read_batches(
    where: IO[bytes] | io.BytesIO,
    config: SourceConfig,
    file_name: str,
    look: Callable[[_Rows], Iterator[Item]],
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Item | Quarantined]:
    """What ``look`` finds in the batches of a file, or of its row groups from ``start`` to ``stop``."""
    try:
        file = pq.ParquetFile(where, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        yield Quarantined("file", "unreadable-parquet", str(error))
        return
    with file:
        footer = file.metadata
        problem = _column_problem(file.schema_arrow, config, footer.num_rows)
        if problem is not None:
            if start == 0:  # said once, not by every part
                yield problem
            return
        names = (config.text_field, *config.metadata_fields, config.id_field, config.url_field)
        # A dotted name is the path of a nested column for Parquet too.
        columns = list(dict.fromkeys(name for name in names if name and _type_of(file.schema_arrow, name) is not None))
        first_row = sum(footer.row_group(index).num_rows for index in range(start))
        for group in range(start, footer.num_row_groups if stop is None else stop):
            row = first_row
            rows = footer.row_group(group).num_rows
            try:
                size = _rows_at_a_time(where, file, group, config.text_field)
                for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                    yield from look(_Rows(batch, config, columns, row, file_name))
                    row += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                lost = first_row + rows - row
                yield Quarantined(f"row group {group}", "unreadable-parquet", f"{lost:,} rows from row {row}: {error}")
            first_row += rows


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a column, by its name or the dotted path to it."""
    if name in schema.names:
        return schema.field(name).type if schema.names.count(name) == 1 else None
    first, *rest = name.split(".")
    if not rest or schema.names.count(first) != 1:
        return None
    kind = schema.field(first).type
    for part in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        column = batch.column(name)
    else:
        first, *rest = name.split(".")
        column = batch.column(first)
        for part in rest:
            column = pc.struct_field(column, part)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _column_problem(schema: pa.Schema, config: SourceConfig, rows: int) -> Quarantined | None:
    kind = _type_of(schema, config.text_field)
    if kind is None:
        twice = "more than one" if schema.names.count(config.text_field) > 1 else "no"
        detail = f"{twice} column {config.text_field!r} in {rows:,} rows; columns: {', '.join(schema.names)}"
        return Quarantined("file", "missing-text", detail)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not any(check(kind) for check in _TEXT_LIKE):
        detail = f"column {config.text_field!r} of {rows:,} rows holds {kind}, not strings"
        return Quarantined("file", "wrong-type", detail)
    return None


def _rows_at_a_time(where: Any, file: pq.ParquetFile, group: int, text_field: str) -> int:
    """So many that a batch fits into memory, whether texts are long or a dictionary hides how long they are."""
    footer = file.metadata.row_group(group)
    chunks = (footer.column(index) for index in range(footer.num_columns))
    chunk = next((chunk for chunk in chunks if chunk.path_in_schema == text_field), None)
    if chunk is None or footer.num_rows == 0:
        return _MOST_ROWS
    longest = chunk.total_uncompressed_size / footer.num_rows
    if chunk.has_dictionary_page:
        # A thousand rows that all point at one long text take a few bytes in the file and gigabytes in memory.
        with pq.ParquetFile(where, read_dictionary=[text_field], buffer_size=_BUFFER_BYTES, pre_buffer=False) as packed:
            batch = next(packed.iter_batches(1, row_groups=[group], columns=[text_field], use_threads=False), None)
            column = batch.column(0) if batch is not None else None
            if column is not None and pa.types.is_dictionary(column.type) and len(column.dictionary):
                longest = max(longest, pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    return max(1, min(_MOST_ROWS, int(_BATCH_BYTES / max(1, longest))))


class _Rows:
    """A batch of rows, to be read one by one or in runs of those whose text is clean."""

    def __init__(
        self, batch: pa.RecordBatch, config: SourceConfig, columns: list[str], first_row: int, file_name: str
    ) -> None:
        self._config, self._first_row, self._file_name = config, first_row, file_name
        # As bytes, since writers don't always check that their strings are UTF-8.
        self._texts = _column(batch, config.text_field).cast(pa.large_binary())
        self._others = {name: _column(batch, name) for name in columns if name != config.text_field}

    def one_by_one(self, start: int = 0, stop: int | None = None) -> Iterator[Record | Quarantined]:
        config, others, texts = self._config, self._others, self._texts.slice(start, stop and stop - start)
        missing = texts.is_null().to_pylist() if texts.null_count else None
        _, offset_buffer, data = texts.buffers()
        offsets = memoryview(offset_buffer).cast("q")[texts.offset : texts.offset + len(texts) + 1].tolist()
        view = memoryview(data) if data is not None else memoryview(b"")
        for index in range(len(texts)):
            row = self._first_row + start + index
            position, fallback_id = f"row {row}", f"{self._file_name}:{row}"
            raw = bytes(view[offsets[index] : offsets[index + 1]])
            try:
                text = None if missing is not None and missing[index] else raw.decode()
            except UnicodeDecodeError as error:
                yield Quarantined(
                    position, "invalid-utf8", f"byte {error.start} of {config.text_field!r}", excerpt(raw)
                )
                continue
            if not others and text is not None:
                yield Record(source_id=fallback_id, text=text, position=position, utf8=raw)
                continue
            fields: dict[str, Any] = {config.text_field: text}
            try:
                for name, column in others.items():
                    fields[name] = column[start + index].as_py()
            except UnicodeDecodeError as error:
                yield Quarantined(position, "invalid-utf8", f"byte {error.start} of {name!r}", excerpt(error.object))
                continue
            record = record_from_fields(config, fields, position=position, fallback_id=fallback_id)
            yield replace(record, utf8=raw) if isinstance(record, Record) else record

    def in_runs(self, find_clean: FindClean) -> Iterator[Record | Quarantined | Records]:
        columns = self._as_columns()
        if columns is None or not len(self._texts):
            yield from self.one_by_one()
            return
        clean = find_clean(self._texts)
        edges = [0, *(np.flatnonzero(clean[1:] != clean[:-1]) + 1).tolist(), len(clean)]
        for start, stop in pairwise(edges):
            if clean[start]:
                yield Records(*(column.slice(start, stop - start) for column in columns))
            else:
                yield from self.one_by_one(start, stop)

    def _as_columns(self) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array] | None:
        """``(text, source_id, url, metadata)``; None where that isn't plain, and each row has to be looked at."""
        config, others, rows = self._config, self._others, len(self._texts)
        named = [config.id_field, config.url_field, *config.metadata_fields]
        if any(name and name not in others and (name == config.text_field or "." in name) for name in named):
            return None
        first = self._first_row
        ids = pa.array([f"{self._file_name}:{row}" for row in range(first, first + rows)], pa.string())
        urls = pa.nulls(rows, pa.string())
        try:
            strings = {name: _as_strings(column) for name, column in others.items()}
            if config.id_field in strings:
                ids = pc.coalesce(strings[config.id_field], ids)
            urls = strings.get(config.url_field or "", urls)
            metadata = _as_maps({name: strings[name] for name in config.metadata_fields if name in strings}, rows)
        except Exception:  # a single row can be the reason, and it will say so when its turn comes
            return None
        return self._texts.view(pa.large_string()), ids, urls, metadata


def _as_strings(column: pa.Array) -> pa.Array:
    """As :func:`data_tools.sources.fields.as_string` of each value; nulls stay.

    Raises:
        Exception: some value can't be converted.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column.validate(full=True)  # not every writer checks its UTF-8
        return column.cast(pa.string())
    return pa.array([None if value is None else as_string(value) for value in column.to_pylist()], pa.string())


def _as_maps(columns: dict[str, pa.Array], rows: int) -> pa.Array:
    """A map for each row, from the names of the columns to its values in them, without nulls."""
    there = np.zeros((rows, len(columns)), dtype=bool)
    for index, column in enumerate(columns.values()):
        there[:, index] = column.is_valid()
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(there.sum(axis=1), out=offsets[1:])
    row, field = there.nonzero()
    names = pa.array(list(columns), pa.string()).take(pa.array(field))
    values = pa.concat_arrays(list(columns.values()) or [pa.nulls(0, pa.string())]).take(pa.array(field * rows + row))
    return pa.MapArray.from_arrays(pa.array(offsets), names, values)
