"""JSON lines: one object a line. A broken line costs that line only.

A large file that isn't packed is read in parts, each with the lines that begin in it. On this machine the lines of
earlier parts are counted while the parts are planned (one fast pass; the digest takes another), so that ids are
``file:line``. For a remote file that pass would be a second download: there ids are ``file@byte``, whether the file is
cut or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from data_tools.config import SourceConfig
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import FileSource
from data_tools.sources.open import is_remote, open_raw, open_unpacked, unreadable
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt
from data_tools.sources.unpack import packing

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class JsonlSource(FileSource):
    def parts(self, file: SourceFile, target_bytes: int) -> list[SourceFile]:
        if file.size < 2 * target_bytes:
            return [file]
        try:
            with open_raw(file.path) as handle:
                if packing(handle.peek(16)[:16]) is not None or not handle.seekable():
                    return [file]
                if is_remote(file.path):
                    return _cut(file, [(start, 1) for start in range(0, file.size, target_bytes)])
                return _cut(file, list(_line_starts(handle, target_bytes)))
        except OSError:
            return [file]  # reading it will tell why

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        try:
            handle = open_unpacked(file.path)
        except OSError as error:
            yield unreadable(error)
            return
        with handle:
            if file.start:
                # The byte before the part tells whether a line begins right here.
                handle.seek(file.start - 1)
                if not _skip_line(handle, file.stop):
                    return
            by_bytes = is_remote(file.path) and handle.seekable()
            yield from read_lines(handle, self.config, file.name, self.max_document_bytes, file, by_bytes=by_bytes)


def read_lines(
    handle: IO[bytes],
    config: SourceConfig,
    file_name: str,
    max_document_bytes: int,
    part: SourceFile | None = None,
    *,
    by_bytes: bool = False,
) -> Iterator[Record | Quarantined]:
    """Every line of an open file, or of a part of it at whose first line ``handle`` stands.

    Blank lines are no records. Memory is bounded by the longest line that is allowed.
    """
    # JSON may spell a two-byte character with six (\\u00e9), and other fields stand beside the text.
    limit = 6 * max_document_bytes + 1_000_000
    number = (part.first_line if part is not None else 1) - 1
    begin = part is None or part.start == 0
    stop = part.stop if part is not None else None
    place = handle.tell() if stop is not None or by_bytes else 0
    while stop is None or place < stop:
        number += 1
        position, record_id = f"line {number}", f"{file_name}:{number}"
        if by_bytes:
            position, record_id = f"byte {place}", f"{file_name}@{place}"
        try:
            line = handle.readline(limit)
            place += len(line)
            too_long = len(line) == limit and not line.endswith(b"\n")
            if too_long:
                _skip_line(handle, None)
                place = handle.tell() if stop is not None or by_bytes else 0
        except OSError as error:
            # A damaged packed file: what stood before is safe, what comes after can't be found.
            yield unreadable(error, position)
            return
        if not line:
            return
        if begin:
            line, begin = line.removeprefix(_BYTE_ORDER_MARK), False
        if too_long:
            yield Quarantined(position, "too-long", f"the line has more than {limit:,} bytes", excerpt(line))
        elif not line.isspace() and line:
            yield _parse(line.rstrip(b"\r\n"), config, position, record_id)


def _skip_line(handle: IO[bytes], stop: int | None) -> bool:
    """Read on to where the next line begins. False: not before the file's end, or ``stop``."""
    while True:
        rest = handle.readline(_SCAN_BYTES)
        if rest.endswith(b"\n"):
            return True
        if not rest or (stop is not None and handle.tell() >= stop):
            return False


def _parse(line: bytes, config: SourceConfig, position: str, fallback_id: str) -> Record | Quarantined:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return Quarantined(position, "invalid-utf8", f"byte {error.start} of the line", excerpt(line))
    try:
        fields = json.loads(text)
    except ValueError as error:  # also numbers of thousands of digits
        return Quarantined(position, "invalid-json", str(error), excerpt(line))
    except RecursionError:
        return Quarantined(position, "invalid-json", "nested too deeply", excerpt(line))
    if not isinstance(fields, dict):
        return Quarantined(position, "not-an-object", f"the line is a {type(fields).__name__}", excerpt(line))
    return record_from_fields(config, fields, position=position, fallback_id=fallback_id)


def _cut(file: SourceFile, starts: list[tuple[int, int]]) -> list[SourceFile]:
    """Parts that begin at ``starts`` (byte, number of the line), the last of which ends with the file."""
    ends = [start for start, _ in starts[1:]]
    return [
        replace(file, size=(end or file.size) - start, start=start, stop=end, first_line=line)
        for (start, line), end in zip(starts, [*ends, None], strict=True)
    ]


def _line_starts(handle: IO[bytes], target_bytes: int) -> Iterator[tuple[int, int]]:
    """The first line, and then the first that begins ``target_bytes`` or more behind the one before."""
    yield 0, 1
    place, lines, wanted = 0, 0, target_bytes
    while block := handle.read(_SCAN_BYTES):
        offset = 0
        while place + len(block) >= wanted:
            # A line that begins at ``wanted`` follows a newline right before it.
            newline = block.find(b"\n", max(offset, wanted - 1 - place))
            if newline < 0:
                break
            lines += block.count(b"\n", offset, newline + 1)
            offset = newline + 1
            yield place + offset, lines + 1
            wanted = place + offset + target_bytes
        lines += block.count(b"\n", offset)
        place += len(block)
