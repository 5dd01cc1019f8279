"""Documents with signals that a test makes up, written where ingest and annotate would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.parquet import ShardFile
from data_tools.schema import DOCUMENTS, SIGNAL_GROUPS, signals_schema
from data_tools.text import document_id

ENGLISH = {"language": "en", "language_confidence": 0.9}


def write_corpus(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    groups: Sequence[str] = ("language",),
    part_rows: int = 1_000_000,
    row_group_rows: int = 1_000_000,
) -> None:
    """Write ``folder/ingest/documents`` and ``folder/annotate/signals``.

    Args:
        rows: columns of documents (``text`` is the only one needed) and signals (those of ``groups`` that are missing:
            English, and zeros).
        part_rows, row_group_rows: where files and row groups end. Row groups of signals are twice as long.
    """
    schema = signals_schema(groups)
    columns = [name for group in groups for name, _ in SIGNAL_GROUPS[group]]
    for begin in range(0, len(rows), part_rows):
        documents, signals = [], []
        for number, row in enumerate(rows[begin : begin + part_rows], start=begin):
            documents.append(
                {
                    "doc_id": document_id(row["text"]),
                    "text": row["text"],
                    "source": row.get("source", "made"),
                    "source_id": f"row {number}",
                    "url": row.get("url"),
                    "n_bytes": len(row["text"].encode()),
                    "metadata": row.get("metadata", {}),
                }
            )
            known = {**ENGLISH, **row}
            signals.append({"doc_id": documents[-1]["doc_id"], **{name: known.get(name, 0) for name in columns}})
        name = f"part-{begin // part_rows:05d}.parquet"
        for path, made, table_schema, step in (
            (folder / "ingest" / "documents" / name, documents, DOCUMENTS, row_group_rows),
            (folder / "annotate" / "signals" / name, signals, schema, 2 * row_group_rows),
        ):
            with ShardFile(path, table_schema, row_group_bytes=1) as file:
                for first in range(0, len(made), step):
                    file.write(pa.Table.from_pylist(made[first : first + step], schema=table_schema))
