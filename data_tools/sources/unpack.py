"""Unpacking gzip, zstd, xz and bzip2 as a stream: in constant memory, and with an end to bombs."""

from __future__ import annotations

import io
import lzma
import re
from typing import IO, Any

#: A file may unpack to this much whatever its size, and beyond that to this many times its size. Text packs to a
#: fifth, logs and tables to a fiftieth; gzip can't do better than 1,030 times, zstd and bzip2 reach 30,000 and more.
FREE_BYTES = 256_000_000
MAX_RATIO = 500
#: What a decoder may take. ``xz -9`` needs 65 MB; zstd's own limit for its window is 128 MB.
_XZ_MEMORY_BYTES = 200_000_000
_READ_BYTES = 1 << 16
#: Unpacked at a time. Where a file is damaged, as much of what stood before is lost at most.
_STEP_BYTES = 1 << 15

_MAGIC = (
    (re.compile(rb"\x1f\x8b\x08"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),  # a frame, or one to be skipped
    (re.compile(rb"\xfd7zXZ\x00"), "xz"),
    (re.compile(rb"BZh[1-9](?:\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90)"), "bz2"),  # a block, or the end
)


class DamagedFileError(OSError):
    """A packed file can't be unpacked any further. ``reason`` is the one for the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def packing(head: bytes) -> str | None:
    """How a file that begins with ``head`` (10 bytes are enough) is packed: gzip, zstd, xz, bz2 or not at all."""
    return next((name for magic, name in _MAGIC if magic.match(head)), None)


class Unpacked(io.RawIOBase):
    """The unpacked bytes of ``packed``. Several members or frames in one file are one stream, as for gzip and zstd.

    Reading raises :class:`DamagedFileError` where the file is damaged or cut off, or where it unpacks to more than
    ``MAX_RATIO`` times its size.
    """

    def __init__(self, packed: IO[bytes], kind: str) -> None:
        self._packed = packed
        self._counted = _Counted(packed)
        self._unpacked_bytes = 0
        self._stream: Any
        if kind == "xz":
            self._stream = _XzStream(self._counted)
        else:
            import pyarrow as pa

            self._stream = pa.CompressedInputStream(pa.PythonFile(self._counted, mode="r"), kind)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(min(len(buffer), _STEP_BYTES))
        except (OSError, ValueError, EOFError, lzma.LZMAError) as error:  # Arrow's ArrowInvalid is a ValueError
            if isinstance(error, DamagedFileError):
                raise
            raise DamagedFileError("truncated-file", f"unpacking failed here: {error}") from error
        self._unpacked_bytes += len(data)
        if self._unpacked_bytes > FREE_BYTES + MAX_RATIO * self._counted.bytes:
            detail = f"{self._counted.bytes:,} bytes unpack to more than {self._unpacked_bytes:,}"
            raise DamagedFileError("decompression-bomb", detail)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()


class _Counted(io.RawIOBase):
    """Counts what is read. Small reads, so that the count follows what was unpacked."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.bytes = file, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(_READ_BYTES if size is None or size < 0 else min(size, _READ_BYTES))
        self.bytes += len(data)
        return data


class _XzStream:
    """What ``lzma.LZMAFile`` does, with a limit on the memory that a header can ask for."""

    def __init__(self, file: _Counted) -> None:
        self._file = file
        self._decoder = self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)

    def read(self, size: int) -> bytes:
        data = b""
        while not data:
            if self._decoder.eof:
                # Between streams there may be zeros, in fours.
                rest = self._decoder.unused_data.lstrip(b"\x00")
                while not rest:
                    rest = self._file.read()
                    if not rest:
                        return b""
                    rest = rest.lstrip(b"\x00")
                self._decoder = self._new()
                data = self._decoder.decompress(rest, size)
                continue
            raw = self._file.read() if self._decoder.needs_input else b""
            if not raw and self._decoder.needs_input:
                raise EOFError("the file ends within a compressed stream")
            data = self._decoder.decompress(raw, size)
        return data
