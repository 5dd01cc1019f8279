"""XML dumps of Wikipedia and other MediaWiki sites: one document an article.

A dump is cut at ``<page>`` and ``</page>``, which can't occur elsewhere in it (in a text they are escaped), and each
page is parsed on its own. So memory is that of one page, a page with broken XML costs that page only, and there is no
document type in which a hostile file could declare entities that expand.

Articles are pages of namespace 0 that are no redirects and no disambiguation pages. The rest is counted.
"""

from __future__ import annotations

import contextlib
import xml.parsers.expat as expat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO
from urllib.parse import quote

from data_tools.extraction.isolated import IsolatedExtractor
from data_tools.sources.files import FileSource
from data_tools.sources.open import open_unpacked, unreadable
from data_tools.sources.pages import Page, extract_pages
from data_tools.sources.protocol import Quarantined, Record, Skipped, SourceFile, excerpt

_READ_BYTES = 1 << 20
#: What stands before the first page: the names of the namespaces.
_MAX_HEAD_BYTES = 1_000_000
_BEGIN, _END = b"<page>", b"</page>"
_DROPPED_NAMESPACE_KEYS = {"-2", "6", "14"}  # media, files, categories


@dataclass(frozen=True)
class WikipediaSource(FileSource):
    def read(self, file: SourceFile) -> Iterator[Record | Quarantined | Skipped]:
        yield from extract_pages(self._extractor, self._pages(file))

    @cached_property
    def _extractor(self) -> IsolatedExtractor:
        return IsolatedExtractor(
            "data_tools.extraction.wikitext:for_worker",
            {},
            timeout_seconds=self.config.extract.timeout_seconds,
            max_memory_mb=self.config.extract.max_memory_mb,
        )

    def _pages(self, file: SourceFile) -> Iterator[Page | Quarantined | Skipped]:
        place = 0
        # Wikitext is several times the text that comes of it, and escaped.
        limit = 4 * self.max_document_bytes
        site: _Site | None = None
        try:
            with open_unpacked(file.path) as handle:
                for place, segment in _segments(handle, limit):
                    if site is None:
                        problem = _head_problem(segment)
                        if problem is not None:
                            yield problem
                            return
                        site = _Site.of(segment[:_MAX_HEAD_BYTES])
                    else:
                        yield _page(segment, f"byte {place}", site, limit)
        except OSError as error:
            yield unreadable(error, f"after byte {place}")


def _head_problem(head: bytes) -> Quarantined | None:
    """Why a file that begins so, before its first page, isn't read."""
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        return Quarantined("file", "invalid-xml", "a document type is not allowed", excerpt(head))
    if b"<mediawiki" not in head[:_MAX_HEAD_BYTES]:
        return Quarantined("file", "not-a-dump", "no <mediawiki> element before the first page", excerpt(head))
    return None


@dataclass(frozen=True)
class _Site:
    """What a dump says of its wiki."""

    base: str | None = None
    """What an article's name is put behind for its address."""
    dropped_namespaces: str = ""
    language: str | None = None

    @classmethod
    def of(cls, head: bytes) -> _Site:
        base: list[str] = []
        names: list[str] = []
        language: list[str] = []
        inside: list[list[str]] = []

        def start(name: str, attributes: dict[str, str]) -> None:
            if name == "mediawiki":
                language.append(attributes.get("xml:lang", ""))
            elif name == "base":
                inside.append(base)
            elif name == "namespace" and attributes.get("key") in _DROPPED_NAMESPACE_KEYS:
                inside.append(names)
            else:
                inside.clear()

        def data(text: str) -> None:
            if inside:
                inside.pop().append(text.strip())

        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.CharacterDataHandler = start, data
        parser.StartDoctypeDeclHandler = _refuse
        with contextlib.suppress(expat.ExpatError, ValueError):  # the pages can be read without it
            parser.Parse(head, False)
        root, slash, _ = base[0].rpartition("/") if base else ("", "", "")
        known = language[0].split("-")[0].lower() if language else ""
        return cls(
            base=f"{root}/" if slash and root.startswith(("http://", "https://")) else None,
            dropped_namespaces="|".join(name.lower() for name in names),
            language=known if len(known) in (2, 3) and known.isalpha() and known != "simple" else None,
        )


@dataclass
class _Fields:
    """The elements of a page that are wanted, by their path below it. Of several revisions the last one counts."""

    WANTED = frozenset({"title", "ns", "id", "revision/id", "revision/timestamp", "revision/text"})

    found: dict[str, str] = field(default_factory=dict)
    redirect: bool = False
    _path: list[str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._text = []
        self.redirect |= self._path == ["page", "redirect"]

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, name: str) -> None:
        path = "/".join(self._path[1:])
        if path in self.WANTED:
            self.found[path] = "".join(self._text)
        self._path.pop()
        self._text = []


def _page(segment: bytes, position: str, site: _Site, limit: int) -> Page | Quarantined | Skipped:
    end = segment.find(_END)
    if len(segment) > limit and not 0 <= end <= limit:
        return Quarantined(position, "too-long", f"the page has more than {limit:,} bytes", excerpt(segment))
    if end < 0:
        return Quarantined(position, "truncated-record", "a page without an end", excerpt(segment))
    chunk = segment[: end + len(_END)]
    fields = _Fields()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = fields.start, fields.end
    parser.CharacterDataHandler = fields.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(chunk, True)
    except (expat.ExpatError, ValueError) as error:
        return Quarantined(position, "invalid-xml", str(error), excerpt(chunk))
    found = fields.found
    missing = [name for name in ("title", "revision/text") if name not in found]
    if missing:
        detail = f"a page without {' and '.join(name.rpartition('/')[2] for name in missing)}"
        return Quarantined(position, "missing-text", detail, excerpt(chunk))
    title, wikitext = found["title"].strip(), found["revision/text"]
    if found.get("ns", "0").strip() != "0":
        return Skipped(position, "other-namespace")
    if fields.redirect or wikitext.lstrip()[:9].upper() == "#REDIRECT":
        return Skipped(position, "redirect")
    if not wikitext.strip():
        return Quarantined(position, "no-text", "an article without text")
    metadata = {"title": title, "page_id": found.get("id", ""), "revision_id": found.get("revision/id", "")}
    metadata["timestamp"] = found.get("revision/timestamp", "")
    # The characters that MediaWiki leaves as they are in its own addresses.
    url = site.base + quote(title.replace(" ", "_"), safe="/:@!$*(),;~-._") if site.base else None
    return Page(
        source_id=found.get("id", "").strip() or title,
        position=position,
        raw=wikitext.encode("utf-8", "replace"),
        hints={"title": title, "dropped_namespaces": site.dropped_namespaces},
        url=url,
        metadata={name: value.strip() for name, value in metadata.items() if value.strip()},
        language=site.language,
    )


def _refuse(*_: object) -> None:
    raise ValueError("a document type is not allowed")


def _segments(handle: IO[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """``(byte, content)``: what stands before the first ``<page>``, and then from each ``<page>`` to the next one.

    Of more than ``limit`` bytes ``limit + 1`` are given. Memory is bounded by the limit.
    """
    buffer = bytearray()
    long: bytes | None = None  # the beginning of a segment that is too long
    place = dropped = searched = 0
    while data := handle.read(_READ_BYTES):
        buffer += data
        while (found := buffer.find(_BEGIN, searched)) >= 0:
            yield place, bytes(buffer[:found]) if long is None else long
            place, long, dropped = place + dropped + found, None, 0
            del buffer[:found]
            searched = len(_BEGIN)
        searched = max(searched, len(buffer) - len(_BEGIN) + 1)
        if len(buffer) > limit:
            long = bytes(buffer[: limit + 1]) if long is None else long
            cut = len(buffer) - len(_BEGIN) + 1  # the rest may be the first half of a mark
            dropped += cut
            del buffer[:cut]
            searched = 0
    yield place, bytes(buffer) if long is None else long
