"""The tables that a chain of stages wrote, read by SQL: only the columns and rows that a question needs.

DuckDB reads the Parquet files where they lie, within a memory limit, and spills to a temporary folder beyond it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from data_tools.config import DataRuntime

if TYPE_CHECKING:
    import duckdb

#: Stages that documents pass through, in order, and the one whose documents each of them reads.
CHAIN = ("ingest", "select", "clean", "deduplicate", "decontaminate", "mix")

#: One copy of a text: the id says which text, the other two from where.
COPY = "doc_id, source, source_id"


class Tables:
    """A context manager over ``{stage: folder of its artifact}``; stages that weren't run are left out.

    Args:
        spill: where what doesn't fit into memory goes, for as long as this is open. None: the system's place.
    """

    def __init__(
        self, folders: Mapping[str, Path], runtime: DataRuntime | None = None, spill: Path | None = None
    ) -> None:
        self.folders = {stage: Path(folder) for stage, folder in folders.items()}
        self.runtime = runtime or DataRuntime()
        self._spill = spill
        self._files: dict[tuple[str, str], list[Path]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        folder = tempfile.TemporaryDirectory(prefix="groundup-", suffix=".tmp", dir=self._spill)
        spill = self._stack.enter_context(folder)
        settings: dict[str, Any] = {"memory_limit": f"{self.runtime.memory_mb}MB", "temp_directory": spill}
        if self.runtime.workers:
            settings["threads"] = self.runtime.workers
        return self._stack.enter_context(duckdb.connect(config=settings))

    def files(self, stage: str, table: str) -> list[Path]:
        """The Parquet files of a table, in order; none where the stage or the table isn't there."""
        key = stage, table
        if key not in self._files:
            self._files[key] = sorted((self.folders[stage] / table).glob("*.parquet")) if stage in self.folders else []
        return self._files[key]

    def has(self, stage: str, table: str) -> bool:
        return bool(self.files(stage, table))

    def scan(self, stage: str, table: str) -> str:
        """The table in the FROM clause of a query. Beside its own columns it has ``part`` (file name) and
        ``file_row_number``, by which tables of the same row order are joined.

        Raises:
            KeyError: there is no such table.
        """
        files = self.files(stage, table)
        if not files:
            raise KeyError(f"{stage}/{table}")
        listed = ", ".join(f"'{_literal(path)}'" for path in files)
        return (
            f"(SELECT *, parse_filename(filename) AS part FROM read_parquet([{listed}], "
            "filename = true, file_row_number = true))"
        )

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The answer to a query, as dictionaries."""
        cursor = self._connection.execute(query, list(parameters))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def before(self, stage: str) -> str | None:
        """The stage whose documents ``stage`` read."""
        earlier = [one for one in CHAIN[: CHAIN.index(stage)] if self.has(one, "documents")]
        return earlier[-1] if earlier else None

    def last(self) -> str | None:
        """The last stage that left documents."""
        there = [stage for stage in CHAIN if self.has(stage, "documents")]
        return there[-1] if there else None


def _literal(path: Path) -> str:
    """A path inside quotes, in which nothing is a wildcard."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in str(path.absolute())).replace("'", "''")
