"""Reading documents: a Parquet folder with a `text` column. That is all that the model part knows of the data part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from llm_core.errors import LlmCoreError

SPLITS = ("train", "validation", "test")
#: Of documents that carry no `split` column, this many in 10,000 are held out for validation.
VALIDATION_PER_10_000 = 500


@dataclass(frozen=True)
class Documents:
    """Some documents of a file: ``texts[i]`` belongs to ``splits[i]``."""

    texts: list[str]
    splits: list[str]


def document_files(folder: Path) -> list[Path]:
    """The Parquet files in ``folder`` by name (or in its subfolder ``documents``, as stages write them).

    Raises:
        LlmCoreError: there are none.
    """
    folder = Path(folder)
    inside = folder / "documents"
    files = sorted((inside if inside.is_dir() else folder).glob("*.parquet"))
    if not files:
        raise LlmCoreError("there are no Parquet files here.", where=str(folder), fix="Run the data stages first.")
    return files


def split_of(key: str) -> str:
    """`train` or `validation`, decided by the key's hash alone: the same document is always on the same side."""
    return "validation" if xxhash.xxh3_64_intdigest(key.encode()) % 10_000 < VALIDATION_PER_10_000 else "train"


def read_documents(folder: Path, *, batch_rows: int = 1024) -> Iterator[Documents]:
    """All documents, in the order of the files and their rows; empty texts are left out.

    The column `split` decides; without it the hash of `doc_id` does, or of the text itself.

    Raises:
        LlmCoreError: a file is damaged, has no text column, or names an unknown split.
    """
    for path in document_files(folder):
        try:
            with pq.ParquetFile(path) as file:
                columns = [name for name in ("text", "doc_id", "split") if name in file.schema_arrow.names]
                if "text" not in columns:
                    raise LlmCoreError(
                        f"there is no column `text` (columns: {', '.join(file.schema_arrow.names)}).", where=str(path)
                    )
                for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                    yield _documents(batch, path)
        except (pa.ArrowInvalid, OSError) as error:
            raise LlmCoreError(
                f"the Parquet file can't be read ({error}).",
                where=str(path),
                fix="It is damaged or cut short: write it again.",
            ) from error


def _documents(batch: pa.RecordBatch, path: Path) -> Documents:
    texts: Sequence[str | None] = batch.column("text").to_pylist()
    if "split" in batch.schema.names:
        splits = batch.column("split").to_pylist()
        unknown = set(splits) - set(SPLITS)
        if unknown:
            raise LlmCoreError(
                f"unknown split {sorted(map(str, unknown))[0]!r}.", where=str(path), fix=f"Known: {', '.join(SPLITS)}."
            )
    else:
        keys = batch.column("doc_id").to_pylist() if "doc_id" in batch.schema.names else texts
        splits = [split_of(key or "") for key in keys]
    kept = [(text, split) for text, split in zip(texts, splits, strict=True) if text]
    return Documents([text for text, _ in kept], [split for _, split in kept])
