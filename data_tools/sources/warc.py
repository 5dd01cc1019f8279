"""Web archives (ISO 28500): pages of WARC files, texts of WET files.

FastWARC reads the records; this module decides what becomes of them, and where reading goes on when one is broken. In
an archive that is packed record by record (as Common Crawl's and nearly all are) or not at all, that is the next place
where a record really begins. An archive packed as a whole is read to the first break.

Of responses, those with status 200 and an HTML type are pages; the rest is counted. Block digests (SHA-1) are checked
where they are given. Where there is none, a record whose stated length is wrong shows by what follows it, or by the
records that it swallowed.
"""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from data_tools.extraction.html import require_packages
from data_tools.extraction.isolated import IsolatedExtractor
from data_tools.sources.files import FileSource
from data_tools.sources.open import open_raw, open_unpacked, unreadable
from data_tools.sources.pages import Page, extract_pages, page_extractor
from data_tools.sources.protocol import Quarantined, Record, Skipped, SourceFile, excerpt
from data_tools.sources.unpack import packing

if TYPE_CHECKING:
    from fastwarc.warc import WarcRecord

Item = Page | Record | Quarantined | Skipped

_PAGE_TYPES = ("text/html", "application/xhtml+xml")
#: HTTP headers and a chunked body's lengths come on top of the page.
_OVERHEAD_BYTES = 200_000
_HEADER_BYTES = 65_536
_SCAN_BYTES = 1 << 20
_SWALLOWED = re.compile(rb"\r\n\r\nWARC/1\.[01]\r\n[^\x00]{0,2000}?WARC-Record-ID:", re.IGNORECASE)
#: Where a record can begin. What looks like it in packed bytes is tried before it is believed.
_BEGINNINGS = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    None: re.compile(rb"(?<=\n)WARC/1\.\d\r?\n"),
}


@dataclass(frozen=True)
class WarcSource(FileSource):
    """``source_id`` is the record's id, the position its byte in the archive (packed, if that is packed by record).

    Raises:
        DataError: when made: a package of the extra ``web`` is missing.
    """

    def __post_init__(self) -> None:
        require_packages(self.config.extract.method, f"source {self.config.name!r}", "fastwarc")

    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        """Archives that gzip packed record by record are cut anywhere; a part has the records that begin in it.

        Others aren't: in an unpacked one, what looks like a record may be the text of a page.
        """
        if file.size < 2 * target_bytes:
            return [file]
        try:
            with open_raw(file.path) as raw:
                kind = packing(raw.peek(16)[:16])
                if kind != "gzip" or not raw.seekable() or not _packed_by_record(raw):
                    return [file]
        except OSError:
            return [file]  # reading it will tell why
        starts = range(0, file.size, target_bytes)
        stops = [*starts[1:], None]
        return [
            replace(file, start=start, stop=stop, size=(stop or file.size) - start)
            for start, stop in zip(starts, stops, strict=True)
        ]

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        yield from extract_pages(self._extractor, self._items(file))

    @cached_property
    def _extractor(self) -> IsolatedExtractor:
        return page_extractor(self.config)

    def _items(self, file: SourceFile) -> Iterator[Item]:
        limit = self.config.extract.max_html_bytes
        try:
            with open_raw(file.path) as raw:
                kind = packing(raw.peek(16)[:16])
                if raw.seekable() and (kind is None or (kind in _BEGINNINGS and _packed_by_record(raw))):
                    yield from _Archive(raw, kind, file.name, file.size, limit).items(file.start, file.stop)
                    return
            with open_unpacked(file.path) as whole:
                yield from _Archive(whole, None, file.name, 0, limit, can_seek=False).items()
        except OSError as error:
            yield unreadable(error)


@dataclass
class _Archive:
    """One archive while it is read."""

    handle: io.BufferedReader
    kind: str | None
    """How each record is packed."""
    file_name: str
    size: int
    """Bytes of the file; 0 if unknown."""
    max_html_bytes: int
    can_seek: bool = True

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """What becomes of the records that begin from ``start`` on and before ``stop``."""
        place = self._next_beginning(start) if start else 0
        while place is not None and (stop is None or place < stop):
            begin = place
            place = yield from self._items_from(begin, stop)
            if place is not None and place <= begin:
                return  # never twice over the same bytes

    def _items_from(self, begin: int, stop: int | None) -> Generator[Item, None, int | None]:
        """Everything from a record's beginning to the end or to a break; returns where the next record begins."""
        from fastwarc.warc import ArchiveIterator

        if self.can_seek:
            self.handle.seek(begin)
        records = ArchiveIterator(_Forward(self.handle), parse_http=False)
        last, held, trusted, size = begin - 1, None, True, 0
        while True:
            try:
                with _panics_as_errors():
                    record = next(records, None)
            except OSError as error:
                return (yield from self._after_a_break(begin, last, held, trusted, size, error))
            # One record is held back until what follows it has shown that its length was right.
            if held is not None:
                yield held
            if record is None:
                return None
            offset = begin + record.stream_pos
            if offset <= last or (stop is not None and offset >= stop):
                return None
            last = offset
            size = _declared(record)
            if size > self.max_html_bytes + _OVERHEAD_BYTES and self.can_seek:
                # Its length may be a lie, and skipping what it says would skip all that follows.
                yield self._too_large(record, offset, size)
                return self._end_of(offset, size) or self._next_beginning(offset + 1)
            try:
                with _panics_as_errors():
                    held, sound, trusted = self._item(record, offset, size)
            except OSError as error:
                # FastWARC can't go on after an error, though the record's length may be right.
                yield Quarantined(f"byte {offset}", "broken-record", str(error), _excerpt(record))
                return self._end_of(offset, size) or self._next_beginning(offset + 1)
            if not sound:
                yield held
                return self._next_beginning(offset + 1)

    def _after_a_break(
        self, begin: int, last: int, held: Item | None, trusted: bool, size: int, error: OSError
    ) -> Generator[Item, None, int | None]:
        """What is said where no record could be read behind the one at ``last``."""
        detail = str(error)
        if isinstance(held, Page | Record) and not trusted and "header" in detail:
            position = held.position
            yield Quarantined(position, "wrong-length", "what follows it is no record", excerpt(_raw(held)))
            return self._next_beginning(last + 1)
        if held is not None:
            yield held
            yield Quarantined(f"after byte {last}", "broken-record", detail)
            # A length that is proven right leads behind texts that look like records.
            start = last + 1
            if trusted and self.kind is None and self.can_seek:
                start = max(start, last + size)
            return self._next_beginning(start)
        if begin == 0:  # else the search led here, and what broke before was said
            yield Quarantined("byte 0", "broken-record", detail)
        return self._next_beginning(max(begin, last) + 1)

    def _item(self, record: WarcRecord, offset: int, size: int) -> tuple[Item, bool, bool]:
        """What becomes of a record, whether its length can be right, and whether that is proven."""
        position = f"byte {offset}"
        digest = record.headers.get("WARC-Block-Digest") or ""
        record.freeze()
        if record.content_length < size:
            detail = f"{record.content_length:,} bytes are there of {size:,}"
            return Quarantined(position, "truncated-record", detail, _excerpt(record)), False, False
        trusted = False
        if digest.lower().startswith("sha1:"):
            trusted = bool(record.verify_block_digest(consume=False))
            if not trusted:
                return Quarantined(position, "digest-mismatch", digest, _excerpt(record)), False, False
        kind = _type(record)
        item: Item
        if kind == "conversion":
            item = self._text(record, position)
        elif kind == "response" and "application/http" in (record.headers.get("Content-Type") or "").lower():
            item = self._page(record, position)
        elif not kind:
            item = Quarantined(position, "broken-record", "a record without a WARC-Type")
        else:
            item = Skipped(position, "no-response" if kind != "response" else "no-http")
        if not trusted and isinstance(item, Page | Record) and _SWALLOWED.search(_raw(item)):
            detail = "other records stand in it"
            return Quarantined(position, "wrong-length", detail, excerpt(_raw(item))), False, False
        return item, True, trusted

    def _page(self, record: WarcRecord, position: str) -> Page | Quarantined | Skipped:
        record.parse_http(auto_decode="all")
        if record.http_headers is None or record.http_headers.status_code is None:
            return Quarantined(position, "invalid-http", "no status line of HTTP", _excerpt(record))
        if record.http_headers.status_code != 200:
            return Skipped(position, "http-status")
        if (record.http_content_type or "").strip().lower() not in _PAGE_TYPES:
            return Skipped(position, "content-type")
        body = record.reader.read(self.max_html_bytes + 1)
        if len(body) > self.max_html_bytes:
            return Quarantined(position, "too-long", f"more than {self.max_html_bytes:,} bytes of HTML", excerpt(body))
        if not body.strip():
            return Quarantined(position, "no-text", "an empty page")
        charset = _charset(record.http_headers.get("Content-Type"))
        return Page(
            source_id=self._id(record, position),
            position=position,
            raw=body,
            hints={"declared": charset} if charset else {},
            url=_url(record),
            metadata=_metadata(record),
        )

    def _text(self, record: WarcRecord, position: str) -> Record | Quarantined:
        raw = record.reader.read()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            return Quarantined(
                position, "invalid-utf8", f"byte {error.start}", excerpt(raw[max(0, error.start - 100) :])
            )
        return Record(self._id(record, position), text, position, _url(record), _metadata(record))

    def _too_large(self, record: WarcRecord, offset: int, size: int) -> Quarantined | Skipped:
        if _type(record) in ("response", "conversion"):
            detail = f"the record says that it has {size:,} bytes"
            return Quarantined(f"byte {offset}", "too-long", detail, _excerpt(record))
        return Skipped(f"byte {offset}", "no-response")

    def _id(self, record: WarcRecord, position: str) -> str:
        return (record.record_id or "").strip("<> ") or f"{self.file_name}@{position.removeprefix('byte ')}"

    def _end_of(self, offset: int, size: int) -> int | None:
        """Where the record behind the one at ``offset`` begins, if that one's length is right; unpacked archives
        only."""
        if self.kind is not None or not self.can_seek:
            return None
        self.handle.seek(offset)
        header = self.handle.read(_HEADER_BYTES).find(b"\r\n\r\n")
        if header < 0:
            return None
        end = offset + header + 4 + size
        if end >= self.size:
            return None
        self.handle.seek(end)
        following = self.handle.read(16)
        blank = len(following) - len(following.lstrip(b"\r\n"))
        return end + blank if following[blank:].startswith(b"WARC/") else None

    def _next_beginning(self, start: int) -> int | None:
        """The first place from ``start`` on where a record begins."""
        if not self.can_seek:
            return None
        pattern = _BEGINNINGS[self.kind]
        self.handle.seek(max(0, start - 1))
        place = max(0, start - 1)
        window = b""
        while block := self.handle.read(_SCAN_BYTES):
            window += block
            for found in pattern.finditer(window):
                candidate = place + found.start()
                if candidate >= start and self._begins(window[found.start() :]):
                    return candidate
            kept = min(len(window), 512)
            place += len(window) - kept
            window = window[-kept:]
        return None

    def _begins(self, raw: bytes) -> bool:
        if self.kind == "gzip":
            try:
                return zlib.decompressobj(31).decompress(raw[:_HEADER_BYTES], 16).startswith(b"WARC/")
            except zlib.error:
                return False
        return True  # zstd: a wrong one shows at once, and the search goes on behind it


class _Forward:
    """All that FastWARC may do with a file: read on. It takes the place where it was made for the beginning."""

    def __init__(self, handle: io.BufferedReader) -> None:
        self._handle, self._place = handle, 0

    def read(self, size: int = -1) -> bytes:
        data = self._handle.read(_SCAN_BYTES if size < 0 else size)
        self._place += len(data)
        return data

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        raise OSError("it only reads on")

    def close(self) -> None:
        """The file belongs to the one who opened it."""


@contextlib.contextmanager
def _panics_as_errors() -> Iterator[None]:
    """A panic of Rust code comes as an exception that no ``except Exception`` catches. It costs a record, no more."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(f"FastWARC panicked: {error}") from error


def _packed_by_record(raw: io.BufferedReader) -> bool:
    """Whether the second record is a member of its own."""
    from fastwarc.warc import ArchiveIterator

    try:
        with _panics_as_errors():
            records = ArchiveIterator(_Forward(raw), parse_http=False)
            second = next(records, None) and next(records, None)
        if second is None:
            return True
        raw.seek(second.stream_pos)
        return packing(raw.read(16)) is not None
    except OSError:
        return True
    finally:
        raw.seek(0)


def _type(record: WarcRecord) -> str:
    return (record.headers.get("WARC-Type") or "").strip().lower()


def _declared(record: WarcRecord) -> int:
    try:
        return max(0, int(record.headers.get("Content-Length") or 0))
    except ValueError:
        return 0


def _url(record: WarcRecord) -> str | None:
    return (record.headers.get("WARC-Target-URI") or "").strip("<> ") or None


def _metadata(record: WarcRecord) -> dict[str, str]:
    names = {
        "date": "WARC-Date",
        "truncated": "WARC-Truncated",
        "identified_language": "WARC-Identified-Content-Language",
    }
    values = {name: record.headers.get(header) for name, header in names.items()}
    return {name: value for name, value in values.items() if value}


def _charset(content_type: str | None) -> str | None:
    found = re.search(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", content_type or "", re.IGNORECASE)
    return found[1] if found else None


def _raw(item: Page | Record) -> bytes:
    return item.raw if isinstance(item, Page) else item.text.encode()


def _excerpt(record: Any) -> str:
    return excerpt("\n".join(f"{name}: {value}" for name, value in list(record.headers.items())[:20]))
