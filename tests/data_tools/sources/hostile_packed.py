"""Packed files: cut off, damaged, mislabelled, and bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from tests.data_tools.sources.hostile import Case, Maker, file, flipped, prose

ROWS = [prose(i) for i in range(300)]
JSONL = "".join(json.dumps({"text": row}) + "\n" for row in ROWS).encode()


def zstd(raw: bytes) -> bytes:
    return bytes(pa.compress(raw, codec="zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


def cases() -> Iterator[Case]:
    for ending, pack in PACKERS.items():
        packed = pack(JSONL)
        for percent in (0.3, 10, 50, 90, 99.9):
            cut = packed[: max(1, int(len(packed) * percent / 100))]
            yield Case(f"{ending}-cut-at-{percent}%", "jsonl", file(f"a.jsonl.{ending}", cut), bad=1)
        for seed in range(5):
            yield Case(f"{ending}-flipped-{seed}", "jsonl", file(f"a.jsonl.{ending}", flipped(packed, seed)))
        yield Case(f"{ending}-named-plain", "jsonl", file("a.jsonl", packed), good=tuple(ROWS))
        yield Case(f"plain-named-{ending}", "jsonl", file(f"a.jsonl.{ending}", JSONL), good=tuple(ROWS))
        yield Case(f"{ending}-two-members", "jsonl", file(f"a.jsonl.{ending}", pack(JSONL) + pack(b'{"text": "x"}\n')),
                   good=(*ROWS, "x"))  # fmt: skip
        yield Case(f"{ending}-garbage-behind", "jsonl", file(f"a.jsonl.{ending}", packed + b"garbage" * 9), bad=1)
        yield Case(f"{ending}-in-itself", "jsonl", file(f"a.jsonl.{ending}", pack(packed)), bad=1)
        yield Case(f"{ending}-of-nothing", "text", file(f"a.txt.{ending}", pack(b"")), bad=1)
        yield Case(f"{ending}-text-cut", "text", file(f"a.txt.{ending}", packed[: len(packed) // 2]), bad=1)
    yield Case("gz-in-xz-names-lie", "jsonl", file("a.jsonl.xz", gzip.compress(JSONL)), good=tuple(ROWS))
    yield Case(
        "gz-wrong-length-at-the-end", "jsonl", file("a.jsonl.gz", gzip.compress(JSONL)[:-4] + b"\0\0\0\0"), bad=1
    )
    yield Case("zip-named-txt", "text", file("a.txt", _zip(JSONL)), bad=1)
    yield Case("zip-bomb-named-jsonl", "jsonl", file("a.jsonl", _zip(bytes(50_000_000))), bad=1)
    yield Case("zip-bomb-named-gz", "text", file("a.txt.gz", _zip(bytes(50_000_000))), bad=1)
    # Bombs: of one document, of one line, of many lines.
    yield Case("gz-bomb-text", "text", _gzip_bomb("a.txt.gz", 300_000_000), bad=1)
    yield Case("gz-bomb-line", "jsonl", _gzip_bomb("a.jsonl.gz", 700_000_000, b'{"text": "before"}\n'), ("before",), 1)
    yield Case("gz-bomb-csv", "csv", _gzip_bomb("a.csv.gz", 300_000_000, b"text\nbefore\n"), ("before",), 1)
    yield Case("zst-bomb-line", "jsonl", _zstd_bomb("a.jsonl.zst", 3_000_000_000), bad=1)
    yield Case("zst-bomb-text", "text", _zstd_bomb("a.txt.zst", 3_000_000_000), bad=1)
    yield Case("bz2-bomb-line", "jsonl", file("a.jsonl.bz2", bz2.compress(bytes(45_000_000)) * 6), bad=1)
    yield Case("xz-bomb-text", "text", file("a.txt.xz", lzma.compress(bytes(100_000_000), preset=0)), bad=1)
    yield Case("zst-asks-for-2-gigabytes", "jsonl", file("a.jsonl.zst", _wide_zstd(b'{"text": "x"}\n')))
    yield Case("xz-asks-for-a-gigabyte", "jsonl", file("a.jsonl.xz", _greedy_xz(JSONL)), bad=1)


def _zip(raw: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", raw)
    return sink.getvalue()


def _gzip_bomb(name: str, size: int, before: bytes = b"") -> Maker:
    def make(folder: Path) -> None:
        # A million zeros are packed once; deflate blocks that end on a byte can be repeated.
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
        block = packer.compress(b"x" * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
        header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        (folder / name).write_bytes(header + head + block * (size // 1_000_000) + packer.flush() + b"\0" * 8)

    return make


def _zstd_bomb(name: str, size: int) -> Maker:
    def make(folder: Path) -> None:
        # A block of one byte repeated 128 KiB times takes four bytes.
        frame = b"\x28\xb5\x2f\xfd\x00\x38"  # no size given; a window of 128 KiB
        block = struct.pack("<I", (131_072 << 3) | (1 << 1))[:3] + b"x"
        last = struct.pack("<I", (1 << 3) | (1 << 1) | 1)[:3] + b"x"
        (folder / name).write_bytes(frame + block * (size // 131_072) + last)

    return make


def _wide_zstd(raw: bytes) -> bytes:
    return b"\x28\xb5\x2f\xfd\x00\xa8" + struct.pack("<I", (len(raw) << 3) | 1)[:3] + raw  # a window of 2 GiB


def _greedy_xz(raw: bytes) -> bytes:
    packed = bytearray(lzma.compress(raw))
    size = (packed[12] + 1) * 4  # of the block's header, which begins at 12
    header = packed[12 : 12 + size - 4]
    at = header.index(b"\x21\x01") + 2
    header[at] = 36  # a dictionary of 1 GiB
    packed[12 : 12 + size] = header + struct.pack("<I", zlib.crc32(header))
    return bytes(packed)
