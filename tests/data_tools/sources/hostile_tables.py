"""CSV whose quotes and columns don't match; Parquet that is damaged, of another schema, or larger than it looks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data_tools.sources.hostile import Case, file, flipped, prose

ROWS = [prose(i) for i in range(200)]


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


def cases() -> Iterator[Case]:
    yield from _csv()
    yield from _parquet()


def _csv() -> Iterator[Case]:
    tables: dict[str, tuple[bytes, tuple[str, ...], int]] = {
        "quote-open-in-the-first-row": (b'text,n\n"one,1\ntwo,2\nthree,3\n', ("two", "three"), 1),
        "quote-open-in-the-middle": (b'text,n\none,1\n"two,2\nthree,3\n', ("one", "three"), 1),
        "quote-open-at-the-end": (b'text,n\none,1\n"two', ("one",), 1),
        "quote-in-the-header": (b'"text,n\none,1\n', (), 1),
        "quote-closes-early": (b'text,n\n"o"ne,1\ntwo,2\n', ("two",), 1),
        "quotes-without-end": (b"text,n\n" + b'"x\n' * 20_001, (), 1),
        "quote-open-a-thousand-times": (b"text,n\n" + b'x,"\n' * 1_001, (), 1),
        "ragged": (b"text,n\none\ntwo,2\nthree,3,3\n", ("two",), 2),
        "header-only": (b"text,n\n", (), 0),
        "header-twice-text": (b"text,text\none,two\n", (), 1),
        "no-such-column": (b"body,n\none,1\n", (), 1),
        "nul": (b"text,n\no\0ne,1\ntwo,2\n", ("two",), 1),
        "latin": (b"text,n\ncaf\xe9,1\ntwo,2\n", ("two",), 1),
        "ten-thousand-columns": (
            b"text" + b"".join(b",c%d" % i for i in range(10_000)) + b"\none" + b"," * 10_000,
            (),
            0,
        ),
        "wide-ragged-row": (b"text,n\n" + b"," * 1_000_000 + b"\ntwo,2\n", ("two",), 1),
        "row-too-long": (b"text,n\n" + b"x" * 4_000_000 + b",1\ntwo,2\n", ("two",), 1),
        "quoted-row-too-long": (b'text,n\n"' + b"x\n" * 1_600_000 + b'",1\ntwo,2\n', ("two",), 1),
        "carriage-returns": (b"text,n\rone,1\rtwo,2\r", ("one", "two"), 0),
        "mixed-line-ends": (b"text,n\r\none,1\ntwo,2\rthree,3\r\n", ("one", "two", "three"), 0),
        "semicolons": (b"text;n\none;1\n", (), 1),
        "lines-within-quotes": (b'text,n\n"one\n\ntwo",1\nthree,3\n', ("one\n\ntwo", "three"), 0),
        "blank-lines": (b"\n\ntext,n\n\none,1\n\n\n", ("one",), 0),
    }
    for name, (content, good, bad) in tables.items():
        yield Case(f"csv-{name}", "csv", file("a.csv", content), good, bad)
    utf16 = "text\tn\ngrün\t1\n".encode("utf-16")
    yield Case("tsv-in-utf-16-detected", "csv", file("a.tsv", utf16), ("grün",), options={"encoding": "detect"})
    yield Case("tsv-in-utf-16-not-said", "csv", file("a.tsv", utf16), bad=1)
    cut = "text,n\ngrün,1\nok,2\n".encode("utf-16")[:-3]
    yield Case("csv-in-utf-16-cut", "csv", file("a.csv", cut), ("grün",), 1, options={"encoding": "utf-16"})
    raw = b"text,n\n" + b"".join(f'"{row}",{i}\n'.encode() for i, row in enumerate(ROWS[:40]))
    for seed in range(5):
        yield Case(f"csv-flipped-{seed}", "csv", file("a.csv", flipped(raw, seed, 20)))


def _parquet() -> Iterator[Case]:
    table = pa.table({"text": ROWS, "n": range(len(ROWS))})
    raw = parquet(table, row_group_size=50)
    for seed in range(16):
        yield Case(f"parquet-flipped-{seed}", "parquet", file("a.parquet", flipped(raw, seed, 4 + seed)))
    for seed in range(6):
        footer = len(raw) - 8 - struct.unpack("<I", raw[-8:-4])[0]
        damaged = raw[:footer] + flipped(raw[footer:], seed, 3)
        yield Case(f"parquet-footer-flipped-{seed}", "parquet", file("a.parquet", damaged))
    for cut in (1, 8, 100, len(raw) // 2, len(raw) - 4):
        yield Case(f"parquet-cut-by-{cut}", "parquet", file("a.parquet", raw[:-cut]), bad=1)
    schemas: dict[str, tuple[pa.Table, tuple[str, ...], int]] = {
        "of-numbers": (pa.table({"text": [1, 2]}), (), 1),
        "of-lists": (pa.table({"text": [["a"], ["b"]]}), (), 1),
        "of-nothing": (pa.table({"text": pa.nulls(5)}), (), 1),
        "without-the-column": (pa.table({"body": ["a"]}), (), 1),
        "without-columns": (pa.table({}), (), 1),
        "without-rows": (pa.table({"text": pa.array([], pa.string())}), (), 0),
        "with-nulls": (pa.table({"text": ["a", None, "b"]}), ("a", "b"), 1),
        "with-the-column-twice": (pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), (), 1),
        "of-bytes": (pa.table({"text": [b"good", b"\xff\xfe", b"a\0b"]}), ("good",), 2),
        "nested": (pa.table({"text": [{"text": "a"}]}), (), 1),
    }
    for name, (content, good, bad) in schemas.items():
        yield Case(f"parquet-{name}", "parquet", file("a.parquet", parquet(content)), good, bad)
    nested = pa.table({"a": [{"b": {"text": "deep"}}, None, {"b": None}]})
    options = {"text_field": "a.b.text"}
    yield Case("parquet-nested-path", "parquet", file("a.parquet", parquet(nested)), ("deep",), 2, options=options)
    # 500 rows of a megabyte and a bit each, which a dictionary packs into one.
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["x" * 1_300_000]))
    bomb = parquet(pa.table({"text": long}), compression="zstd")
    yield Case("parquet-dictionary-bomb", "parquet", file("a.parquet", bomb), bad=500)
    page = parquet(pa.table({"text": ["x" * 60_000_000]}), compression="zstd", use_dictionary=False)
    yield Case("parquet-row-of-60-megabytes", "parquet", file("a.parquet", page), bad=1)
    yield Case("parquet-magic-only", "parquet", file("a.parquet", b"PAR1PAR1"), bad=1)
    yield Case("parquet-encrypted", "parquet", file("a.parquet", b"PARE" + raw[4:-4] + b"PARE"), bad=1)
    lying = raw[:-8] + struct.pack("<I", 0xFFFFFFF0) + b"PAR1"
    yield Case("parquet-footer-of-4-gigabytes", "parquet", file("a.parquet", lying), bad=1)
    yield Case("parquet-is-text", "parquet", file("a.parquet", "\n".join(ROWS).encode()), bad=1)
    yield Case("parquet-as-jsonl", "jsonl", file("a.jsonl", raw), bad=1)
    yield Case("parquet-as-csv", "csv", file("a.csv", raw), bad=1)
