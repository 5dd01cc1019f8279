"""CSV and TSV: one document a row, the first row names the columns.

Rows may hold line breaks within quotes, so where one ends is only known by reading from the start: these files are
never cut into parts. A row with too few or too many fields, or with quotes that don't match, is quarantined with the
number of its first line. After a quote that never closes, reading goes on in the next line.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from data_tools.config import SourceConfig
from data_tools.sources.encoding import decode
from data_tools.sources.fields import record_from_fields
from data_tools.sources.files import PACKED, FileSource
from data_tools.sources.open import open_unpacked, unreadable
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt
from data_tools.sources.text import known_encoding

_SAMPLE_BYTES = 1 << 20
#: What the rows may take, all together, that are read a second time after a quote that didn't close.
_REREAD_CHARACTERS = 1_000_000_000


@dataclass(frozen=True)
class CsvSource(FileSource):
    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        try:
            handle = open_unpacked(file.path)
        except OSError as error:
            yield unreadable(error)
            return
        with handle:
            try:
                encoding = _encoding(handle, self.config.encoding)
            except UnicodeDecodeError as error:
                yield Quarantined("file", "invalid-encoding", f"no encoding fits ({error.reason})")
                return
            except OSError as error:
                yield unreadable(error)
                return
            # Bytes that the encoding doesn't have become lone surrogates, so that they cost one row and not the file.
            text = io.TextIOWrapper(handle, encoding, errors="surrogateescape", newline="")
            delimiter = self.config.delimiter or ("\t" if _is_tsv(file.name) else ",")
            yield from read_table(text, self.config, file.name, self.max_document_bytes, delimiter)


def read_table(
    handle: io.TextIOBase, config: SourceConfig, file_name: str, max_document_bytes: int, delimiter: str
) -> Iterator[Record | Quarantined]:
    """Every row of an open table. Memory is bounded by the longest row that is allowed."""
    rows = _Rows(handle, delimiter, 2 * max_document_bytes + 1_000_000)
    header: list[str] | None = None
    for line, row in rows:
        position = f"line {line}"
        if isinstance(row, Quarantined):
            yield row
        elif header is None:
            header = [name.strip() for name in row]
            header[0] = header[0].removeprefix("\ufeff")
            if len(set(header)) != len(header):
                twice = sorted({name for name in header if header.count(name) > 1})
                yield Quarantined(position, "duplicate-column", f"twice in the header: {', '.join(twice)}")
                return
            if config.text_field not in header:
                detail = f"no column {config.text_field!r}; columns: {', '.join(header)}"
                yield Quarantined(position, "missing-text", detail, excerpt(delimiter.join(row)))
                return
        elif len(row) != len(header):
            detail = f"{len(row)} fields, the header has {len(header)}"
            yield Quarantined(position, "ragged-row", detail, excerpt(delimiter.join(row)))
        elif any(_is_escaped(value) for value in row):
            detail = "bytes that the encoding doesn't have"
            yield Quarantined(position, "invalid-encoding", detail, _raw(row, delimiter))
        else:
            fields = dict(zip(header, row, strict=True))
            yield record_from_fields(config, fields, position=position, fallback_id=f"{file_name}:{line}")


class _Rows:
    """``(number of the first line, fields or what is wrong)`` for each row of a table.

    Python's reader asks for one more line as long as a quote is open. The lines of the row under way are kept, so that
    they can be read again, as rows of their own, when that quote turns out to be a mistake.
    """

    def __init__(self, handle: io.TextIOBase, delimiter: str, limit: int) -> None:
        self._handle, self._delimiter, self._limit = handle, delimiter, limit
        self._again: list[str] = []  # lines to be read again, the next one last
        self._taken: list[str] = []  # lines of the row under way
        self._taken_size = self._reread = 0
        self._next_line = 1
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, list[str] | Quarantined]]:
        # The reader has a limit of its own, for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * self._limit))
        reader = self._reader()
        while not self._ended:
            first = self._next_line
            self._taken, self._taken_size = [], 0
            try:
                row = next(reader)
            except StopIteration:
                return
            except _TooLongError as error:
                yield first, self._too_long(first, error)
                reader = self._reader()
                continue
            except csv.Error as error:
                # The first line is at fault. What was taken after it is read again.
                first_line, *others = self._taken or [""]
                detail = f"{error}"
                if self._reread > _REREAD_CHARACTERS:
                    detail += f"; the {len(others):,} lines after it are lost, too many have been read twice"
                else:
                    self._reread += self._taken_size
                    self._again += reversed(others)
                    self._next_line = first + 1
                yield first, Quarantined(f"line {first}", "bad-quotes", detail, excerpt(first_line))
                reader = self._reader()
                continue
            except UnicodeDecodeError as error:
                yield (
                    first,
                    Quarantined(f"line {first}", "invalid-encoding", f"the rest can't be decoded: {error.reason}"),
                )
                return
            except OSError as error:
                yield first, unreadable(error, f"line {first}")
                return
            if row:
                yield first, row

    def _reader(self) -> Iterator[list[str]]:
        # strict: a quote that closes before the field does is an error, not a part of the text.
        return csv.reader(self._lines(), delimiter=self._delimiter, strict=True)

    def _lines(self) -> Iterator[str]:
        while True:
            line = self._again.pop() if self._again else self._handle.readline(self._limit)
            if not line:
                return
            self._next_line += 1
            ended = line.endswith(("\n", "\r"))
            self._taken_size += len(line)
            if not ended and len(line) >= self._limit:
                raise _TooLongError(self._taken[0] if self._taken else line, line)
            self._taken.append(line)
            if self._taken_size > self._limit:
                raise _TooLongError(self._taken[0], "")
            yield line

    def _too_long(self, first: int, error: _TooLongError) -> Quarantined:
        """Read on to where the row ends, without keeping it: with its line, or with its quote if that is open."""
        detail = f"the row has more than {self._limit:,} characters"
        lines = [*self._taken, error.rest]
        odd = sum(line.count('"') for line in lines) % 2
        unfinished = bool(error.rest)
        while odd or unfinished:
            try:
                line = self._again.pop() if self._again else self._handle.readline(1 << 20)
            except (OSError, UnicodeDecodeError) as failure:
                self._ended = True
                return Quarantined(f"line {first}", "too-long", f"{detail}; in it: {failure}", excerpt(error.line))
            if not line:
                break
            odd = (odd + line.count('"')) % 2
            self._next_line += not unfinished
            unfinished = not line.endswith(("\n", "\r"))
        if odd:
            detail += f", and its quote is open to the end of the file (line {self._next_line - 1})"
        return Quarantined(f"line {first}", "too-long", detail, excerpt(error.line))


class _TooLongError(Exception):
    def __init__(self, line: str, rest: str) -> None:
        super().__init__()
        self.line, self.rest = line, rest


def _encoding(handle: io.BufferedReader, name: str) -> str:
    """The encoding of the whole table. ``detect`` looks at its beginning (up to a megabyte), since one file has one."""
    if name != "detect":
        found = known_encoding(name)
        return "utf-8-sig" if found == "utf-8" else found
    head = handle.peek(4)[:4]
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = handle.peek(_SAMPLE_BYTES)
    # Whole lines, so that no letter is cut in two.
    found = decode(sample[: sample.rfind(b"\n") + 1] or sample)[1]
    return "utf-8-sig" if found == "utf-8" else found


def _is_tsv(name: str) -> bool:
    name = name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.endswith((".tsv", ".tab"))


def _is_escaped(value: str) -> bool:
    if value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _raw(row: list[str], delimiter: str) -> str:
    return excerpt(delimiter.join(row).encode("utf-8", "surrogateescape"))
