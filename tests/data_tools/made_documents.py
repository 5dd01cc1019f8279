"""Documents made for a test, as the stages hand them on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.parquet import ShardFile
from data_tools.schema import DOCUMENTS
from data_tools.text import document_id


def document(text: str, source: str = "made", source_id: str = "0", cluster_size: int | None = None) -> dict[str, Any]:
    return {
        "doc_id": document_id(text),
        "text": text,
        "source": source,
        "source_id": source_id,
        "url": None,
        "language": "en",
        "license": None,
        "n_bytes": len(text.encode()),
        "metadata": [("title", source_id)],
        "cluster_size": cluster_size,
    }


def write_documents(folder: Path, shards: Sequence[Sequence[str | dict[str, Any]]]) -> list[Path]:
    """A Parquet file for each shard: texts, or whole rows. A text's cluster size is its number in the shard, from 1."""
    paths = []
    for number, shard in enumerate(shards):
        rows = [
            document(one, source_id=f"{number}-{i}", cluster_size=i + 1) if isinstance(one, str) else one
            for i, one in enumerate(shard)
        ]
        paths.append(folder / f"part-{number:05d}.parquet")
        with ShardFile(paths[-1], DOCUMENTS) as file:
            file.write(pa.Table.from_pylist(rows, schema=DOCUMENTS))
    return paths


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def digests(folder: Path, tables: Sequence[str]) -> dict[str, str]:
    """sha256 of every file in the given subfolders."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for table in tables
        for path in sorted((folder / table).rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }
