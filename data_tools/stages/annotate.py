"""Documents to signals: numbers about each document, computed once and judged later (by select).

Memory is bounded by a row group.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from data_tools.config import AnnotateConfig, DataRuntime
from data_tools.progress import Progress

Counters = dict[str, int | float | str]


def run(
    config: AnnotateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``signals/`` with the file names and the row order of ``inputs["documents"]/documents``."""
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    (out / "signals").mkdir(parents=True, exist_ok=True)
    results = map_shards(
        partial(_annotate_shard, config, out / "signals"),
        paths,
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="measuring",
    )
    documents, n_bytes = (sum(column) for column in zip(*results, strict=True))
    return {"documents_in": documents, "documents_out": documents, "bytes_in": n_bytes, "bytes_out": n_bytes}


def _annotate_shard(config: AnnotateConfig, folder: Path, path: Path) -> tuple[int, int]:
    import pyarrow as pa

    from data_tools.filters.gopher import GopherSignals, gopher_signals
    from data_tools.filters.language import identify_language
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import SIGNAL_GROUPS, signals_schema

    schema = signals_schema([group for group in SIGNAL_GROUPS if getattr(config, group, False)])
    documents = n_bytes = 0
    with ShardFile(folder / path.name, schema) as file:
        for table in read_row_groups(path, ["doc_id", "text", "n_bytes"]):
            texts = table["text"].to_pylist()
            columns: dict[str, Any] = {"doc_id": table["doc_id"]}
            if config.language:
                languages = [identify_language(text, config.language_chars) for text in texts]
                columns["language"] = [language for language, _ in languages]
                columns["language_confidence"] = [confidence for _, confidence in languages]
            if config.gopher_quality:
                signals = [gopher_signals(text, config.words) for text in texts]
                columns |= dict(zip(GopherSignals._fields, zip(*signals, strict=True), strict=True))
            file.write(pa.table(columns, schema=schema))
            documents += table.num_rows
            n_bytes += sum(table["n_bytes"].to_pylist())
    return documents, n_bytes
