"""Parquet: one document a row. A damaged row group costs that row group only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.config import SourceConfig
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import FileSource
from data_tools.sources.open import local_path
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt

_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class ParquetSource(FileSource):
    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        yield from read_rows(local_path(file.path), self.config, file.name)


def read_rows(where: Any, config: SourceConfig, file_name: str) -> Iterator[Record | Quarantined]:
    """Every row of a Parquet file (a path or an open binary file)."""
    try:
        file = pq.ParquetFile(where)
    except (pa.ArrowException, OSError) as error:
        yield Quarantined("file", "unreadable-parquet", str(error))
        return
    with file:
        problem = _column_problem(file.schema_arrow, config, file.metadata.num_rows)
        if problem is not None:
            yield problem
            return
        optional = (*config.metadata_fields, config.id_field, config.url_field)
        present = set(file.schema_arrow.names)
        columns = [config.text_field, *(name for name in optional if name in present)]
        first_row = 0
        for group in range(file.num_row_groups):
            row = first_row
            try:
                for batch in file.iter_batches(_ROWS_AT_A_TIME, row_groups=[group], columns=columns):
                    for fields in _rows(batch, config.text_field):
                        yield _record(config, fields, row, file_name)
                        row += 1
            except (pa.ArrowException, OSError) as error:
                lost = first_row + file.metadata.row_group(group).num_rows - row
                yield Quarantined(f"row group {group}", "unreadable-parquet", f"{lost:,} rows from row {row}: {error}")
            first_row += file.metadata.row_group(group).num_rows


def _column_problem(schema: pa.Schema, config: SourceConfig, rows: int) -> Quarantined | None:
    if config.text_field not in schema.names:
        detail = f"no column {config.text_field!r} in {rows:,} rows; columns: {', '.join(schema.names)}"
        return Quarantined("file", "missing-text", detail)
    kind = schema.field(config.text_field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text_like = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(check(kind) for check in text_like):
        detail = f"column {config.text_field!r} of {rows:,} rows holds {kind}, not strings"
        return Quarantined("file", "wrong-type", detail)
    return None


def _rows(batch: pa.RecordBatch, text_field: str) -> Iterator[dict[str, Any]]:
    """The rows as dictionaries, with the text as bytes: writers don't always check that strings are UTF-8."""
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if name == text_field:
            column = column.cast(pa.large_binary())
        columns[name] = column
    for index in range(batch.num_rows):
        yield {name: column[index] for name, column in columns.items()}


def _record(config: SourceConfig, scalars: dict[str, pa.Scalar], row: int, file_name: str) -> Record | Quarantined:
    position = f"row {row}"
    fields: dict[str, Any] = {}
    for name, scalar in scalars.items():
        try:
            value = scalar.as_py()
            fields[name] = value.decode() if name == config.text_field and value is not None else value
        except UnicodeDecodeError as error:
            raw = error.object
            return Quarantined(position, "invalid-utf8", f"byte {error.start} of {name!r}", excerpt(raw))
    return record_from_fields(config, fields, position=position, fallback_id=f"{file_name}:{row}")
