"""One file for each kind of source; all speak the same protocol."""

from __future__ import annotations

import tempfile
from pathlib import Path

from data_tools.config import DataRuntime, SourceConfig
from data_tools.sources.protocol import Source


def open_source(config: SourceConfig, runtime: DataRuntime, max_document_bytes: int) -> Source:
    """The source that ``config`` describes. Nothing is read yet."""
    if config.kind == "text":
        from data_tools.sources.text import TextSource

        return TextSource(config, max_document_bytes)
    if config.kind == "jsonl":
        from data_tools.sources.jsonl import JsonlSource

        return JsonlSource(config, max_document_bytes)
    if config.kind == "parquet":
        from data_tools.sources.parquet import ParquetSource

        return ParquetSource(config)
    from data_tools.sources.wheel import WheelSource

    cache = Path(runtime.cache) if runtime.cache else Path(tempfile.gettempdir()) / "groundup-cache"
    return WheelSource(config, max_document_bytes, cache, runtime.offline)
