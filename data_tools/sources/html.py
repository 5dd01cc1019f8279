"""Pages of a folder, one document each: files (packed or not), and the members of tar and zip archives of pages."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO

from data_tools.extraction.html import require_packages
from data_tools.extraction.isolated import IsolatedExtractor
from data_tools.sources.files import FileSource, has_extension, list_files
from data_tools.sources.open import open_raw, open_unpacked, unreadable
from data_tools.sources.pages import Page, extract_pages, page_extractor
from data_tools.sources.protocol import Quarantined, Record, Skipped, SourceFile, excerpt
from data_tools.sources.text import known_encoding
from data_tools.sources.unpack import FREE_BYTES, MAX_RATIO

_PAGES = (".html", ".htm", ".xhtml")
_TAR = (".tar", ".tgz", ".tbz2", ".txz")
_ZIP = (".zip",)


@dataclass(frozen=True)
class HtmlSource(FileSource):
    """Pages of a folder, a glob or archives. ``source_id`` is the file's name, and the member's behind it.

    A page's encoding is what its bytes and its own header say; ``encoding`` other than ``utf-8`` and ``detect`` takes
    the header's place.

    Raises:
        DataError: when made: a package of the extra ``web`` is missing, or there is no such encoding.
    """

    def __post_init__(self) -> None:
        require_packages(self.config.extract.method, f"source {self.config.name!r}")
        if self.config.encoding != "detect":
            known_encoding(self.config.encoding)

    def files(self) -> list[SourceFile]:
        return list_files(self.config, _PAGES + _TAR + _ZIP)

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        yield from extract_pages(self._extractor, self._pages(file))

    @cached_property
    def _extractor(self) -> IsolatedExtractor:
        return page_extractor(self.config)

    def _pages(self, file: SourceFile) -> Iterator[Page | Quarantined | Skipped]:
        try:
            if has_extension(file.name, _ZIP):
                yield from self._zip_members(file)
            elif has_extension(file.name, _TAR):
                yield from self._tar_members(file)
            else:
                with open_unpacked(file.path) as handle:
                    yield self._page(handle, file.name, "file")
        except OSError as error:
            yield unreadable(error)

    def _page(self, handle: IO[bytes], source_id: str, position: str) -> Page | Quarantined:
        limit = self.config.extract.max_html_bytes
        raw = handle.read(limit + 1)
        if len(raw) > limit:
            return Quarantined(position, "too-long", f"more than {limit:,} bytes of HTML", excerpt(raw))
        if not raw.strip():
            return Quarantined(position, "no-text", "an empty page")
        hints = {} if self.config.encoding in ("utf-8", "detect") else {"declared": self.config.encoding}
        return Page(source_id, position, raw, hints)

    def _tar_members(self, file: SourceFile) -> Iterator[Page | Quarantined | Skipped]:
        """The members in their order, as a stream. Nothing is unpacked to disk, and links are not followed."""
        with open_unpacked(file.path) as handle:
            try:
                with tarfile.open(fileobj=handle, mode="r|") as archive:
                    for member in archive:
                        archive.members = []  # type: ignore[attr-defined]  # it would remember every one
                        position = f"member {member.name}"
                        if not member.isfile():
                            continue
                        if not has_extension(member.name, _PAGES):
                            yield Skipped(position, "not-a-page")
                            continue
                        content = archive.extractfile(member)
                        if content is not None:
                            yield self._page(content, _name(file, member.name), _safe(position))
            except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
                yield Quarantined("file", "truncated-file", f"the tar archive is damaged: {error}")

    def _zip_members(self, file: SourceFile) -> Iterator[Page | Quarantined | Skipped]:
        left = FREE_BYTES + MAX_RATIO * file.size
        with open_raw(file.path, streaming=False) as handle:
            try:
                archive = zipfile.ZipFile(handle)
            except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
                yield Quarantined("file", "unreadable-file", f"the zip archive is damaged: {error}")
                return
            with archive:
                for member in archive.infolist():
                    position = _safe(f"member {member.filename}")
                    if member.is_dir():
                        continue
                    if not has_extension(member.filename, _PAGES):
                        yield Skipped(position, "not-a-page")
                        continue
                    try:
                        with archive.open(member) as content:
                            page = self._page(content, _name(file, member.filename), position)
                    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                        # RuntimeError: it is encrypted.
                        page = Quarantined(position, "unreadable-file", f"the zip member is damaged: {error}")
                    # Members may overlap, so that a small file holds any number of pages.
                    left -= len(page.raw) if isinstance(page, Page) else self.config.extract.max_html_bytes
                    if left < 0:
                        yield Quarantined(position, "decompression-bomb", "the rest of the archive was not read")
                        return
                    yield page


def _name(file: SourceFile, member: str) -> str:
    return _safe(f"{file.name}/{member}")


def _safe(name: str) -> str:
    """Names in archives may be bytes of any kind."""
    return name.encode("utf-8", "backslashreplace").decode()
