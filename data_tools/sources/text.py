"""Plain text: one document a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from data_tools.sources.files import FileSource, open_unpacked
from data_tools.sources.protocol import Quarantined, Record, SourceFile, excerpt


@dataclass(frozen=True)
class TextSource(FileSource):
    max_document_bytes: int

    def read(self, file: SourceFile) -> Iterator[Record | Quarantined]:
        try:
            with open_unpacked(file.path) as handle:
                # One byte more than allowed is enough to know that it is too long, packed or not.
                raw = handle.read(self.max_document_bytes + 1)
        except OSError as error:
            yield Quarantined("file", "unreadable-file", str(error.strerror or error))
            return
        yield text_record(raw, source_id=file.name, max_document_bytes=self.max_document_bytes)


def text_record(raw: bytes, *, source_id: str, max_document_bytes: int) -> Record | Quarantined:
    """A whole file's bytes as one document."""
    if len(raw) > max_document_bytes:
        return Quarantined("file", "too-long", f"more than {max_document_bytes:,} bytes", excerpt(raw))
    try:
        return Record(source_id=source_id, text=raw.decode("utf-8-sig"), position="file")
    except UnicodeDecodeError as error:
        # Cut around the first bad byte, since that is what a person wants to see.
        return Quarantined("file", "invalid-utf8", f"byte {error.start}", excerpt(raw[max(0, error.start - 100) :]))
