"""Which files a path means (a file, a folder or a glob), and how they are opened, packed or not."""

from __future__ import annotations

import glob
import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_tools.config import SourceConfig
from data_tools.errors import DataError
from data_tools.sources.protocol import SourceFile, file_sha256

#: Extensions that a folder is searched for, each also with .gz or .zst behind it (but for Parquet, packed inside).
EXTENSIONS = {
    "text": (".txt", ".text", ".md", ".rst"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
}
_PACKED = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class FileSource:
    """What the sources that read files from disk have in common (see :class:`data_tools.sources.protocol.Source`)."""

    config: SourceConfig

    def files(self) -> list[SourceFile]:
        return list_files(self.config)

    def digests(self) -> dict[str, str]:
        return {file.name: file_sha256(file.path) for file in self.files()}


def list_files(config: SourceConfig) -> list[SourceFile]:
    """The files that ``config.path`` means, sorted by their name.

    Raises:
        DataError: there is no such file, or the folder or glob holds none of this kind.
    """
    pattern = config.path or ""
    path = Path(pattern)
    where = f"source {config.name!r}, path {pattern!r}"
    if path.is_file():
        return [SourceFile(path.name, path, path.stat().st_size)]
    if path.is_dir():
        root, candidates = path, [found for found in path.rglob("*") if _has_extension(found, config.kind)]
        looked_for = f"files ending in {', '.join(EXTENSIONS[config.kind])} (plain, .gz or .zst)"
    elif glob.has_magic(pattern):
        root = _root_of(pattern)
        candidates = list(root.glob(Path(pattern).relative_to(root).as_posix()))
        looked_for = "matching files"
    else:
        raise DataError("no such file or folder", where=where, fix="Paths are relative to where the command runs.")
    files = [
        SourceFile(found.relative_to(root).as_posix(), found, found.stat().st_size)
        for found in candidates
        if found.is_file() and not any(part.startswith(".") for part in found.relative_to(root).parts)
    ]
    if not files:
        raise DataError(f"no {looked_for}", where=where, fix="Check the path and the source's kind.")
    return sorted(files, key=lambda file: file.name)


def _root_of(pattern: str) -> Path:
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:fixed])


def _has_extension(path: Path, kind: str) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED and kind != "parquet":
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in EXTENSIONS[kind]


def open_unpacked(path: Path) -> IO[bytes]:
    """Open for reading bytes; ``.gz`` and ``.zst`` are unpacked on the way.

    Raises:
        OSError: at opening or, where a packed file is damaged, at any later read.
    """
    compression = _PACKED.get(path.suffix.lower())
    if compression is None:
        return path.open("rb")
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression=compression))
