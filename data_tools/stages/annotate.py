"""Documents to signals: numbers about each document, computed once and judged later (by select).

Memory is bounded by a row group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.atomic_file import delete_folder
from data_tools.config import AnnotateConfig, DataRuntime
from data_tools.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

Counters = dict[str, int | float | str]

_PART_BYTES = 1_000_000


def run(
    config: AnnotateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``signals/`` with the file names and the row order of ``inputs["documents"]/documents``.

    ``inputs["quality_classifier"]``, where there is one, is the classifier that scores every document.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    (out / "signals").mkdir(parents=True, exist_ok=True)
    unfinished = out / "finished.tmp"
    results = map_shards(
        partial(_annotate_shard, config, inputs.get("quality_classifier"), out / "signals"),
        paths,
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="measuring",
        ledger=unfinished / "measuring",
    )
    delete_folder(unfinished)
    documents, n_bytes = (sum(column) for column in zip(*results, strict=True))
    return {"documents_in": documents, "documents_out": documents, "bytes_in": n_bytes, "bytes_out": n_bytes}


def _annotate_shard(config: AnnotateConfig, classifier: Path | None, folder: Path, path: Path) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import SIGNAL_GROUPS, signals_schema

    groups = [group for group in SIGNAL_GROUPS if getattr(config, group, False)]
    score = None
    if classifier is not None:
        from data_tools.filters.classifier import load_scorer

        groups.append("quality")
        score = load_scorer(classifier)
    schema = signals_schema(groups)
    columns = ["doc_id", "text", "n_bytes", *(["metadata"] if config.code else [])]
    documents = n_bytes = 0
    with ShardFile(folder / path.name, schema) as file:
        for table in read_row_groups(path, columns):
            for part in _parts(table):
                signals = {"doc_id": part["doc_id"], **_signals(config, score, part)}
                file.write(pa.table(signals, schema=schema))
            documents += table.num_rows
            n_bytes += pc.sum(table["n_bytes"]).as_py() or 0
    return [documents, n_bytes]


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """The rows in order, in parts of about ``_PART_BYTES`` of text, so that what a kernel makes of one stays in the
    processor's cache for the next."""
    import numpy as np

    before = np.cumsum(table["n_bytes"].to_numpy()) - table["n_bytes"].to_numpy()
    edges = np.flatnonzero(np.diff(before // _PART_BYTES, prepend=-1))
    for start, end in zip(edges, [*edges[1:], table.num_rows], strict=True):
        yield table.slice(start, end - start)


def _signals(config: AnnotateConfig, score: Callable[[pa.Array], Any] | None, table: pa.Table) -> dict[str, Any]:
    """Signal to column. What a configuration doesn't ask for is neither imported nor compiled."""
    texts = table["text"].combine_chunks()
    signals: dict[str, Any] = {}
    if config.language:
        from data_tools.filters.language import identify_language

        languages = [identify_language(text, config.language_chars) for text in texts.to_pylist()]
        signals["language"] = [language for language, _ in languages]
        signals["language_confidence"] = [confidence for _, confidence in languages]
    if config.personal_data:
        from data_tools.filters.personal_data import personal_data_signals

        signals |= personal_data_signals(texts)
    if config.gopher_quality or config.gopher_repetition or config.fineweb:
        from data_tools.kernels.word_spans import find_words

        spans = find_words(texts, config.words)
        lines = None
        if config.gopher_repetition or config.fineweb:
            from data_tools.kernels.line_spans import find_lines

            lines = find_lines(texts, stripped=config.definitions != "datatrove")
        if config.gopher_quality:
            from data_tools.filters.gopher import gopher_signals

            signals |= gopher_signals(texts, config.words, config.definitions, spans)
        if config.gopher_repetition:
            from data_tools.filters.repetition import repetition_signals

            signals |= repetition_signals(texts, config.words, config.definitions, spans, lines)
        if config.fineweb:
            from data_tools.filters.fineweb import fineweb_signals

            signals |= fineweb_signals(texts, config.words, config.definitions, spans, lines)
    if config.c4:
        from data_tools.filters.c4 import c4_signals

        signals |= c4_signals(texts, config.c4_variant, config.c4_terminal_punctuation)
    if config.refinedweb:
        from data_tools.filters.refinedweb import refinedweb_signals

        signals |= refinedweb_signals(texts, config.words)
    if config.code:
        from data_tools.filters.code import code_signals

        languages_of_code = [dict(entries).get("programming_language") for entries in table["metadata"].to_pylist()]
        signals |= code_signals(texts, languages_of_code)
    if score is not None:
        signals["quality"] = score(texts)
    return signals
