"""One file for each kind of source; all speak the same protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process for extraction imports this package, and has no use for Pydantic
    from data_tools.config import DataRuntime, SourceConfig
    from data_tools.sources.protocol import Source

#: Kind to its class. Only what a run needs is imported: some kinds need an optional package.
KINDS = {
    "text": "data_tools.sources.text:TextSource",
    "jsonl": "data_tools.sources.jsonl:JsonlSource",
    "csv": "data_tools.sources.csv:CsvSource",
    "parquet": "data_tools.sources.parquet:ParquetSource",
    "html": "data_tools.sources.html:HtmlSource",
    "warc": "data_tools.sources.warc:WarcSource",
    "wikipedia": "data_tools.sources.wikipedia:WikipediaSource",
    "code": "data_tools.sources.code:CodeSource",
    "git": "data_tools.sources.git:GitSource",
    "huggingface": "data_tools.sources.huggingface:HuggingFaceSource",
    "wheel": "data_tools.sources.wheel:WheelSource",
}


def open_source(config: SourceConfig, runtime: DataRuntime, max_document_bytes: int) -> Source:
    """The source that ``config`` describes. Nothing is read yet."""
    module, name = KINDS[config.kind].split(":")
    source: Source = getattr(import_module(module), name)(config, max_document_bytes, runtime)
    return source
