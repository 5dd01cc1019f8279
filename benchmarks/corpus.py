"""What the benchmarks of the data part read: any Parquet with a ``text`` column, or the quickstart's own corpus.

Contenders get samples of it: some MB of its documents, drawn with a fixed seed, as Parquet files like those that our
stages write (``text``, and what a documents table has beside it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "GROUNDUP_BENCH_CORPUS"
SEED = 17


@dataclass(frozen=True)
class Sample:
    """An artifact folder with ``documents/part-*.parquet``."""

    folder: Path
    documents: int
    n_bytes: int

    @property
    def files(self) -> list[str]:
        return [str(path) for path in sorted((self.folder / "documents").glob("*.parquet"))]


def corpus_path(scratch: Path, variable: str = VARIABLE) -> Path:
    """The Parquet file that was named, or the quickstart's texts, fetched by its own source."""
    named = os.environ.get(variable)
    if named:
        return Path(named)
    import yaml

    from data_tools.config import DataRuntime, IngestConfig
    from data_tools.progress import no_progress
    from data_tools.stages import ingest

    quickstart = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
    config = IngestConfig.model_validate(yaml.safe_load(quickstart.read_bytes())["ingest"])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "groundup"
    out = scratch / "corpus"
    if not out.exists():
        out.mkdir(parents=True)
        ingest.run(config, {}, out, no_progress, DataRuntime(cache=str(cache)))
    return out / "documents"


def sample(corpus: Path, folder: Path, megabytes: float, *, longest: int = 2_000_000) -> Sample:
    """Documents of ``corpus`` in a random order (always the same), up to ``megabytes`` of text.

    ``longest`` bytes a document: without a bound, one book would decide how long a small sample takes.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from data_tools.parquet import ShardWriter
    from data_tools.schema import DOCUMENTS
    from data_tools.text import document_id

    # ignore_prefixes: folders of artifacts may hold unfinished files beside.
    texts = ds.dataset(str(corpus), format="parquet").to_table(columns=["text"])["text"].combine_chunks()
    lengths = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    order = np.random.default_rng(SEED).permutation(len(lengths))
    order = order[(lengths[order] > 0) & (lengths[order] <= longest)]
    chosen = order[: int(np.searchsorted(np.cumsum(lengths[order]), megabytes * 1e6, side="right")) + 1]
    n_bytes = 0
    with ShardWriter(folder / "documents", DOCUMENTS) as writer:
        for number, text in enumerate(texts.take(pa.array(chosen)).to_pylist()):
            size = len(text.encode())
            row = {"doc_id": document_id(text), "text": text, "source": "bench", "source_id": str(number)}
            writer.add({**row, "n_bytes": size, "metadata": []}, size)
            n_bytes += size
    return Sample(folder, len(chosen), n_bytes)


def texts_of(files: list[str]) -> Iterator[str]:
    """Texts of a sample, a row group at a time."""
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=["text"])["text"].to_pylist()
