"""Plain text and Markdown: one document a file, or several where a rule says that one ends and the next begins."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from data_tools.errors import DataError
from data_tools.sources.encoding import codec_name, decode
from data_tools.sources.files import FileSource
from data_tools.sources.open import open_unpacked, unreadable
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt

_HEADING = re.compile(rb" {0,3}##?(?:[ \t]|\r?\n|$)")
_RULE = re.compile(rb"[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*\r?\n?$")
_FENCE = re.compile(rb" {0,3}(```|~~~)")
#: A line longer than this is read in pieces; it is no heading and no rule.
_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class TextSource(FileSource):
    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        try:
            handle = open_unpacked(file.path)
        except OSError as error:
            yield unreadable(error)
            return
        with handle:
            if self.config.split == "none":
                try:
                    # One byte more than allowed is enough to know that it is too long, packed or not. Other encodings
                    # may take twice the bytes of UTF-8 for the same text (four times for UTF-32).
                    raw = handle.read(self._limit() + 1)
                except OSError as error:
                    yield unreadable(error)
                    return
                yield text_record(
                    raw, source_id=file.name, max_document_bytes=self._limit(), encoding=self.config.encoding
                )
            else:
                yield from self._read_pieces(handle, file)

    def _limit(self) -> int:
        return self.max_document_bytes * (1 if codec_name(self.config.encoding) == "utf-8" else 4)

    def _read_pieces(self, handle: io.BufferedReader, file: SourceFile) -> Iterator[Record | Quarantined]:
        encoding = self.config.encoding
        try:
            wide = _wide_encoding(handle, encoding)
            if wide is not None:
                # Its line breaks are more than one byte: cut what it says in UTF-8 instead.
                handle, encoding = io.BufferedReader(_AsUtf8(handle, wide)), "utf-8"
            line = 1
            for number, (raw, first_line) in enumerate(_pieces(handle, self.config.split, self._limit()), 1):
                line = first_line
                position = f"line {line}"
                if not raw.strip():
                    continue
                yield text_record(
                    raw,
                    source_id=f"{file.name}#{number}",
                    max_document_bytes=self._limit(),
                    position=position,
                    encoding=encoding,
                )
        except OSError as error:
            yield unreadable(error, f"after line {line}")
        except UnicodeDecodeError as error:
            yield Quarantined(f"after line {line}", "invalid-encoding", f"{error.encoding}: {error.reason}")


def text_record(
    raw: bytes, *, source_id: str, max_document_bytes: int, position: str = "file", encoding: str = "utf-8"
) -> Record | Quarantined:
    """Bytes as one document. ``encoding`` is a name, or ``detect``.

    Raises:
        DataError: there is no such encoding.
    """
    if len(raw) > max_document_bytes:
        return Quarantined(position, "too-long", f"more than {max_document_bytes:,} bytes", excerpt(raw))
    try:
        if encoding == "detect":
            return Record(source_id=source_id, text=decode(raw)[0], position=position)
        name = known_encoding(encoding)
        return Record(source_id=source_id, text=raw.decode(name).removeprefix("\ufeff"), position=position)
    except UnicodeDecodeError as error:
        reason = "invalid-utf8" if error.encoding in ("utf-8", "utf8") else "invalid-encoding"
        # Cut around the first bad byte, since that is what a person wants to see.
        return Quarantined(position, reason, f"byte {error.start}", excerpt(raw[max(0, error.start - 100) :]))


def known_encoding(name: str) -> str:
    """Python's name of an encoding.

    Raises:
        DataError: there is none of this name.
    """
    found = codec_name(name)
    if found is None:
        raise DataError(
            f"no encoding is called {name!r}", where="encoding", fix="For example utf-8, latin-1, cp1251, or detect."
        )
    return found


def _wide_encoding(handle: io.BufferedReader, encoding: str) -> str | None:
    """The encoding, where it is one of several bytes a letter (UTF-16, UTF-32) or with states (ISO 2022)."""
    if encoding == "detect":
        head = handle.peek(4)[:4]
        if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "utf-32"
        return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None
    name = known_encoding(encoding)
    return name if "\n".encode(name) != b"\n" or name.startswith("iso2022") else None


class _AsUtf8(io.RawIOBase):
    """The bytes of a file in another encoding, as UTF-8."""

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        self._file, self._decoder, self._ready = file, codecs.getincrementaldecoder(encoding)(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            raw = self._file.read(1 << 16)
            self._ready = self._decoder.decode(raw, final=not raw).encode("utf-8", "surrogatepass")
            if not raw and not self._ready:
                return 0
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _pieces(handle: io.BufferedReader, split: str, limit: int) -> Iterator[tuple[bytes, int]]:
    """``(bytes, number of the first line)`` of each piece. One longer than ``limit`` comes cut to ``limit + 1``."""
    piece: list[bytes] = []
    size, first_line, number = 0, 1, 1
    fenced, blank_before = False, True
    at_line_start = True
    while line := handle.readline(_LINE_BYTES):
        whole_line = at_line_start and len(line) < _LINE_BYTES
        if split == "form-feeds":
            before, *others = line.split(b"\f")
        else:
            before, others = line, []
            if split == "headings" and whole_line:
                fenced ^= bool(_FENCE.match(line))
                if not fenced and _HEADING.match(line):
                    before, others = b"", [line]
            elif split == "rules" and whole_line and blank_before and _RULE.match(line):
                following = handle.peek(2)[:2]
                if following[:1] in (b"\n", b"") or following == b"\r\n":
                    before, others = b"", [b""]
            blank_before = whole_line and not line.strip()
        if size <= limit:
            piece.append(before[: limit + 1 - size])
        size += len(before)
        for other in others:
            yield b"".join(piece), first_line
            piece, size, first_line = [other], len(other), number
        at_line_start = line.endswith(b"\n")
        number += at_line_start
    yield b"".join(piece), first_line
