"""What every kind of source offers: its files, and the records of a file, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from data_tools.errors import DataError

#: Bytes of a broken record that are kept, so that a person sees what it was.
EXCERPT_BYTES = 300


@dataclass(frozen=True)
class SourceFile:
    """A file to read. ``name`` is relative to the source's root, so that it says the same on every machine."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class Record:
    """One document as the source has it, before normalization."""

    source_id: str
    text: str
    position: str
    url: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Quarantined:
    """Something that should have been a document and can't be: where it is, why, and its first bytes."""

    position: str
    reason: str
    detail: str = ""
    excerpt: str = ""


class Source(Protocol):
    """A place that documents come from. Reading streams: no file is held in memory whole unless its form demands it."""

    def files(self) -> list[SourceFile]:
        """The files in a fixed order. Raises DataError where there are none."""

    def digests(self) -> dict[str, str]:
        """Relative name to sha256 of what will be read: what the stage's fingerprint needs."""

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        """Every record of ``file``, good or not. Never raises for what stands in the file."""


def excerpt(raw: bytes | str) -> str:
    """The beginning of ``raw`` in a form that can be stored and printed: bytes that aren't UTF-8 become ``\\xNN``."""
    data = raw[:EXCERPT_BYTES].encode("utf-8", "backslashreplace") if isinstance(raw, str) else raw[:EXCERPT_BYTES]
    return data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def file_sha256(path: Path) -> str:
    """Content digest of a file.

    Raises:
        DataError: it can't be read.
    """
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path), fix="Check its permissions.") from error
