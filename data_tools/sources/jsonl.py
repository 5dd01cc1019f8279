"""JSON lines: one object a line. A broken line costs that line only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from data_tools.config import SourceConfig
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import FileSource, open_unpacked
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class JsonlSource(FileSource):
    max_document_bytes: int

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        try:
            handle = open_unpacked(file.path)
        except OSError as error:
            yield Quarantined("file", "unreadable-file", str(error.strerror or error))
            return
        with handle:
            yield from read_lines(handle, self.config, file.name, self.max_document_bytes)


def read_lines(
    handle: IO[bytes], config: SourceConfig, file_name: str, max_document_bytes: int
) -> Iterator[Record | Quarantined]:
    """Every line of an open file; blank lines are no records. Memory is bounded by the longest line that is allowed."""
    # JSON may spell a two-byte character with six (\\u00e9), and other fields stand beside the text.
    limit = 6 * max_document_bytes + 1_000_000
    number = 0
    while True:
        number += 1
        position = f"line {number}"
        try:
            line = handle.readline(limit)
            too_long = len(line) == limit and not line.endswith(b"\n")
            if too_long:
                _skip_line(handle, limit)
        except OSError as error:
            # A damaged .gz or .zst: what stood before is safe, what comes after can't be found.
            yield Quarantined(position, "truncated-file", f"unpacking failed here: {error}")
            return
        if not line:
            return
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if too_long:
            yield Quarantined(position, "too-long", f"the line has more than {limit:,} bytes", excerpt(line))
        elif line.strip():
            yield _parse(line.rstrip(b"\r\n"), config, position, f"{file_name}:{number}")


def _skip_line(handle: IO[bytes], limit: int) -> None:
    while True:
        rest = handle.readline(limit)
        if not rest or rest.endswith(b"\n"):
            return


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
