"""Reads a source whole, file by file and part by part, as ingest does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_tools.config import DataRuntime, SourceConfig
from data_tools.sources import open_source
from data_tools.sources.protocol import Quarantined, Record, Skipped


def read_all(
    kind: str, path: Path, *, max_document_bytes: int = 1_000_000, target_bytes: int = 10**9, **options: Any
) -> list[Record | Quarantined | Skipped]:
    config = SourceConfig.model_validate({"kind": kind, "name": "made", "path": str(path), **options})
    source = open_source(config, DataRuntime(), max_document_bytes)
    return [item for file in source.files() for part in source.parts(file, target_bytes) for item in source.read(part)]


def told(items: list[Record | Quarantined | Skipped]) -> list[str]:
    """Of each item its id, or what it was quarantined or skipped for."""
    return [item.source_id if isinstance(item, Record) else item.reason for item in items]


def records(items: list[Record | Quarantined | Skipped]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]
