"""Reading documents: a Parquet folder with a `text` column. That is all that the model part knows of the data part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from llm_core.errors import LlmCoreError

SPLITS = ("train", "validation", "test")
#: Of documents that carry no `split` column, this many in 10,000 are held out for validation.
VALIDATION_PER_10_000 = 500
#: The source of documents that name none.
NO_SOURCE = "documents"
#: Text that is read at a time.
BATCH_BYTES = 4_000_000
#: Documents that are read at a time at most.
BATCH_ROWS = 8192


@dataclass(frozen=True)
class DocumentBatch:
    """Some documents of a file as columns, without a Python object for each document."""

    texts: pa.LargeStringArray
    """Valid UTF-8, never null, never empty."""
    splits: np.ndarray
    """uint8: which of :data:`SPLITS`."""
    sources: pa.StringArray
    languages: pa.StringArray
    """ISO 639-1; null where nobody found out."""
    repeated: np.ndarray
    """bool: a mixture may have a document several times; this is not the first."""


@dataclass(frozen=True)
class Piece:
    """Some row groups of a file: what is read (and encoded, and given to a process) as one."""

    path: Path
    groups: tuple[int, ...]
    rows: int
    text_bytes: int
    """About: as Parquet holds it before it is compressed."""


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


def document_pieces(folder: Path, piece_bytes: int) -> list[Piece]:
    """All row groups of ``folder`` in order, neighbours of a file together up to about ``piece_bytes`` of text.

    Raises:
        LlmCoreError: a file is damaged or has no text column.
    """
    pieces: list[Piece] = []
    for path in document_files(folder):
        with _opened(path) as file:
            groups: list[int] = []
            rows = size = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                columns = (group.column(at) for at in range(group.num_columns))
                group_bytes = next(each.total_uncompressed_size for each in columns if each.path_in_schema == "text")
                if groups and size + group_bytes > piece_bytes:
                    pieces.append(Piece(path, tuple(groups), rows, size))
                    groups, rows, size = [], 0, 0
                groups.append(number)
                rows, size = rows + group.num_rows, size + group_bytes
            if groups:
                pieces.append(Piece(path, tuple(groups), rows, size))
    return pieces


def read_piece(piece: Piece) -> Iterator[DocumentBatch]:
    """The documents of some row groups in order, a few MB at a time; empty texts are left out.

    The column `split` decides; without it the hash of `doc_id` does, or of the text itself.

    Raises:
        LlmCoreError: the file is damaged, has no text column, or names an unknown split.
    """
    wanted = ("text", "doc_id", "split", "source", "language", "repetition")
    rows = min(BATCH_ROWS, max(1, BATCH_BYTES * piece.rows // max(1, piece.text_bytes)))
    with _opened(piece.path) as file:
        names = file.schema_arrow.names
        columns = [name for name in wanted if name in names and not (name == "doc_id" and "split" in names)]
        for batch in file.iter_batches(
            batch_size=rows, row_groups=list(piece.groups), columns=columns, use_threads=False
        ):
            yield _documents(batch, piece.path)


class _opened:
    """A Parquet file with a `text` column. What is wrong with it, now or while it is read, is told with its name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> pq.ParquetFile:
        try:
            self.file = pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        names = self.file.schema_arrow.names
        if "text" not in names:
            self.file.close()
            raise LlmCoreError(f"there is no column `text` (columns: {', '.join(names)}).", where=str(self.path))
        kind = self.file.schema_arrow.field("text").type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            self.file.close()
            raise LlmCoreError(f"the column `text` holds no text (its type is {kind}).", where=str(self.path))
        return self.file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.close()
        if isinstance(error, pa.ArrowException | OSError | UnicodeDecodeError):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> LlmCoreError:
        return LlmCoreError(
            f"the Parquet file can't be read ({error}).",
            where=str(self.path),
            fix="It is damaged or cut short: write it again.",
        )


def _documents(batch: pa.RecordBatch, path: Path) -> DocumentBatch:
    names = batch.schema.names
    texts = batch.column("text").cast(pa.large_string())
    texts.validate(full=True)  # Parquet doesn't check that text is UTF-8, and encoders rely on it
    kept = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    if "repetition" in names:
        repeated = pc.greater(pc.fill_null(batch.column("repetition"), 0), 0)
    else:
        repeated = pa.repeat(pa.scalar(False), len(texts))
    if not pc.all(kept, min_count=0).as_py():
        texts, repeated, batch = texts.filter(kept), repeated.filter(kept), batch.filter(kept)
    if "split" in names:
        splits = _split_codes(batch.column("split"), path)
    else:
        keys = batch.column("doc_id").to_pylist() if "doc_id" in names else texts.to_pylist()
        splits = np.array([SPLITS.index(split_of(key or "")) for key in keys], dtype=np.uint8)
    if "source" in names:
        sources = pc.fill_null(batch.column("source").cast(pa.string()), NO_SOURCE)
    else:
        sources = pa.repeat(pa.scalar(NO_SOURCE, pa.string()), len(texts))
    languages = batch.column("language").cast(pa.string()) if "language" in names else pa.nulls(len(texts), pa.string())
    return DocumentBatch(texts, splits, sources, languages, repeated.to_numpy(zero_copy_only=False))


def _split_codes(column: pa.Array, path: Path) -> np.ndarray:
    codes = pc.index_in(column.cast(pa.string()), value_set=pa.array(SPLITS))
    if codes.null_count:
        unknown = column.filter(pc.is_null(codes))[0].as_py()
        raise LlmCoreError(f"unknown split {unknown!r}.", where=str(path), fix=f"Known: {', '.join(SPLITS)}.")
    return codes.to_numpy(zero_copy_only=False).astype(np.uint8)
