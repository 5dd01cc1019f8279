"""What every kind of source offers: its files, their parts, and the records of a part, one after the other.

A new kind is a class in a file of its own and a line in ``data_tools.sources.KINDS``. Its constructor takes
``(config: SourceConfig, max_document_bytes: int, runtime: DataRuntime)``: what it reads, the longest text that may
come out (in bytes of UTF-8), and where its cache is. Sources of files inherit all but ``read`` from
:class:`data_tools.sources.files.FileSource`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: Bytes of a broken record that are kept, so that a person sees what it was.
EXCERPT_BYTES = 300


@dataclass(frozen=True)
class SourceFile:
    """A file to read, or a part of it."""

    name: str
    """Relative to the source's root, so that it says the same on every machine. Always valid UTF-8."""
    path: str
    """A path of this machine or a URL that fsspec opens. :func:`data_tools.sources.open.open_unpacked` takes it."""
    size: int
    """Bytes to be read: of the part, if it is one. 0 where nobody knows."""
    start: int = 0
    """Where the part begins: a byte, or a row group of Parquet."""
    stop: int | None = None
    """Where the next part begins. None: at the file's end."""
    first_line: int = 1
    """Number of the part's first line (or row), so that ids don't depend on how a file is cut."""
    version: str = ""
    """What a remote store says of the content (its ETag, for example). Empty for files of this machine."""


@dataclass(frozen=True)
class Record:
    """One document as the source has it, before normalization."""

    source_id: str
    """Unique within the source, and the same however the file was cut into parts."""
    text: str
    position: str
    """Where it stands in its file, for people: ``line 12``."""
    url: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    language: str | None = None
    """ISO 639-1, where the source knows it."""
    license: str | None = None
    """None: the one of the source's configuration."""
    utf8: bytes | None = None
    """``text`` in UTF-8, where the source has it at hand; saves encoding it again."""


@dataclass(frozen=True)
class Records:
    """Neighbouring records as columns of one length: what a :class:`Record` of each would say. All are good."""

    text: pa.Array
    """large_string, as it will be stored: normalization would change nothing."""
    source_id: pa.Array
    """string."""
    url: pa.Array
    """string, with nulls."""
    metadata: pa.Array
    """A map from string to string."""


class FindClean(Protocol):
    """(texts,) which of these texts can be stored as they are. Nulls are not among them."""

    def __call__(self, texts: pa.LargeBinaryArray) -> npt.NDArray[np.bool_]: ...


@dataclass(frozen=True)
class Quarantined:
    """Something that should have been a document and can't be: where it is, why, and its first bytes."""

    position: str
    reason: str
    """A few words with hyphens that many records share: ``invalid-utf8``. The detail says the rest."""
    detail: str = ""
    excerpt: str = ""


@dataclass(frozen=True)
class Skipped:
    """What is sound and no document: a redirect, an image in a crawl, a generated file. It is only counted."""

    position: str
    reason: str
    """A few words with hyphens, as for :class:`Quarantined`. Ingest counts them as ``skipped.<reason>``."""


class Source(Protocol):
    """A place that documents come from. Reading streams: no file is held in memory whole unless its form demands it."""

    def files(self) -> list[SourceFile]:
        """The files in a fixed order. Raises DataError where there are none."""

    def digests(self) -> dict[str, str]:
        """File name to sha256 of what will be read: what the stage's fingerprint needs."""

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        """The file cut into parts of about ``target_bytes`` that can be read independently; ``[file]`` if it can't.

        Read one after the other, the parts give the records of the file, with the same ids. Never raises for what
        stands in the file.
        """

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        """Every record of ``file`` (one of ``parts``), good or not. Never raises for what stands in the file.

        Raises:
            DataError: the network or a program that is needed failed. That ends the stage, which can be resumed: a
                store that is out of reach for a minute must not look like a corpus of bad files.
        """


@runtime_checkable
class ColumnarSource(Source, Protocol):
    """A source whose files hold columns, and that can hand on what needs no look at single records as it is."""

    def read_columns(self, file: SourceFile, find_clean: FindClean) -> Iterator[Record | Quarantined | Records]:
        """As ``read``, in the same order, but neighbouring records with clean texts come together."""


def excerpt(raw: bytes | str) -> str:
    """The beginning of ``raw`` in a form that can be stored and printed: bytes that aren't UTF-8 become ``\\xNN``."""
    data = raw[:EXCERPT_BYTES].encode("utf-8", "backslashreplace") if isinstance(raw, str) else raw[:EXCERPT_BYTES]
    return data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def storable(text: str) -> str:
    """A text that a table takes: no lone surrogates (error messages quote file names and records), not too long."""
    return text[: 4 * EXCERPT_BYTES].encode("utf-8", "backslashreplace").decode()


def text_sha256(text: str) -> str:
    """sha256 of a text in UTF-8, for digests of what has no bytes to hash."""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
