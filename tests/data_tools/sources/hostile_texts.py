"""Texts and JSON lines: wrong encodings, NULs, endless lines, scripts and controls that break programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.data_tools.sources.hostile import Case, file, flipped, prose

GOOD = b'{"text": "good"}\n'
RUSSIAN = "Это обычный русский текст, который достаточно длинный, чтобы узнать его кодировку."
GERMAN = "Größere Brüder müssen natürlich früh aufstehen, während ältere Füchse überall schlafen dürfen."
JAPANESE = "これは普通の日本語の文章です。文字コードを判別するために十分な長さがあります。"


def cases() -> Iterator[Case]:
    yield from _encodings()
    yield from _unicode()
    yield from _json()
    yield from _lines()


def _encodings() -> Iterator[Case]:
    detect = {"encoding": "detect"}
    for encoding, text in [
        ("utf-16", GERMAN), ("utf-16-le", GERMAN), ("utf-16-be", GERMAN), ("utf-32", GERMAN), ("cp1252", GERMAN),
        ("cp1251", RUSSIAN), ("koi8-r", RUSSIAN), ("shift_jis", JAPANESE), ("euc-jp", JAPANESE),
        ("iso2022_jp", JAPANESE), ("utf-8-sig", JAPANESE),
    ]:  # fmt: skip
        yield Case(f"detect-{encoding}", "text", file("a.txt", text.encode(encoding)), (text,), options=detect)
    for encoding in ("utf-16", "utf-32", "cp1251", "koi8-r"):
        yield Case(f"{encoding}-as-utf-8", "text", file("a.txt", RUSSIAN.encode(encoding)), bad=1)
        yield Case(f"{encoding}-as-jsonl", "jsonl", file("a.jsonl", RUSSIAN.encode(encoding)), bad=1)
    yield Case("utf-8-as-utf-16", "text", file("a.txt", b"odd"), bad=1, options={"encoding": "utf-16"})
    for name, raw in {
        "overlong": b"a\xc0\xaf", "surrogate": b"a\xed\xa0\x80", "beyond": b"a\xf4\x90\x80\x80", "cut": b"a\xe2\x82",
        "alone": b"a\x80", "latin": b"caf\xe9",
    }.items():  # fmt: skip
        yield Case(f"utf-8-{name}", "text", file("a.txt", raw), bad=1)
        yield Case(
            f"utf-8-{name}-in-a-line", "jsonl", file("a.jsonl", GOOD + b'{"text": "' + raw + b'"}\n'), ("good",), 1
        )
    yield Case(
        "utf-7-stays-as-it-is", "text", file("a.txt", b"+ADw-script+AD4-"), ("+ADw-script+AD4-",), options=detect
    )
    yield Case("noise-detected", "text", file("a.txt", flipped(bytes(5_000), 1, 20_000)), bad=1, options=detect)


def _unicode() -> Iterator[Case]:
    texts = {
        "right-to-left": "\u202eevil\u202c שלום مرحبا",
        "zero-width": "a\u200bb\u200cc\u200dd\u2060e",
        "zalgo": "Z" + "\u0351\u0489\u0300" * 1000,
        "joined-emoji": "👨\u200d👩\u200d👧\u200d👦" * 500,
        "no-characters": "\uffff\ufdd0 x",
        "private": "\ue000\U0010fffd x",
        "tags": "flag \U000e0067\U000e0062",
        "long-ligature": "ﷺ" * 1000,
    }
    for name, text in texts.items():
        yield Case(f"unicode-{name}", "text", file("a.txt", text.encode()))
    yield Case("only-zero-width", "text", file("a.txt", "\u200b\u200b".encode()))
    yield Case("only-white-space", "text", file("a.txt", "\u3000\u00a0\u2003\n".encode()), bad=1)
    yield Case("only-controls", "text", file("a.txt", bytes(range(1, 32))), bad=1)
    yield Case("only-marks", "text", file("a.txt", "\u0301".encode() * 100_000))
    yield Case("marks-out-of-order", "text", file("a.txt", ("a" + "\u0316\u0301" * 200_000).encode()))
    yield Case("nul", "text", file("a.txt", b"a\0b"), bad=1)
    yield Case("a-million-line-breaks", "text", file("a.txt", b"a" + b"\n" * 990_000 + b"b"))
    yield Case("a-million-blanks", "text", file("a.txt", b"a" + b" " * 900_000 + b"b"))
    yield Case("form-feeds-only", "text", file("a.txt", b"\f" * 100_000), options={"split": "form-feeds"})
    yield Case("open-fence", "text", file("a.md", b"```\n" + b"# no heading\n" * 9), options={"split": "headings"})
    yield Case("headings-only", "text", file("a.md", b"# x\n" * 2_000), options={"split": "headings"})
    yield Case("rules-only", "text", file("a.md", b"\n---\n\n" * 2_000), options={"split": "rules"})
    long = b"# one\nshort\n# two\n" + b"x" * 5_000_000 + b"\n# three\nshort too\n"
    good = ("# one\nshort", "# three\nshort too")
    yield Case("one-piece-too-long", "text", file("a.md", long), good, 1, options={"split": "headings"})
    bad = b"# one\ngood\n# two\n\xff\xfe\n# three\ngood too\n"
    good = ("# one\ngood", "# three\ngood too")
    yield Case("one-piece-in-no-encoding", "text", file("a.md", bad), good, 1, options={"split": "headings"})
    mojibake = "schÃ¶n â€œquotedâ€\u009d".encode()
    yield Case("mojibake", "text", file("a.txt", mojibake))


def _json() -> Iterator[Case]:
    lines: dict[str, tuple[bytes, bool]] = {
        "nested-arrays": (b"[" * 200_000, False),
        "nested-objects": (b'{"a":' * 100_000, False),
        "nested-closed": (b'{"text": "x", "a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", False),
        "huge-integer": (b'{"n": ' + b"9" * 100_000 + b', "text": "x"}', False),
        "huge-exponent": (b'{"n": 1e999999, "text": "x"}', True),
        "not-a-number": (b'{"n": NaN, "text": "x"}', True),
        "twice-the-key": (b'{"text": "y", "text": "x"}', True),
        "lone-surrogate": (b'{"text": "\\ud800"}', False),
        "escaped-nul": (b'{"text": "a\\u0000b"}', False),
        "raw-control": (b'{"text": "a\x01b"}', False),
        "single-quotes": (b"{'text': 'x'}", False),
        "comment": (b'{"text": "x"} // no', False),
        "trailing-comma": (b'{"text": "x",}', False),
        "text-is-a-list": (b'{"text": ["x"]}', False),
        "text-is-an-object": (b'{"text": {"text": "x"}}', False),
        "a-string": (b'"text"', False),
        "key-of-a-megabyte": (b'{"' + b"k" * 1_000_000 + b'": 1}', False),
        "many-keys": (b"{" + b",".join(b'"k%d": 1' % i for i in range(50_000)) + b', "text": "x"}', True),
        "all-escaped": (b'{"text": "' + b"\\u0078" * 100_000 + b'"}', True),
        "cut-escape": (b'{"text": "\\u00', False),
        "mark-in-the-middle": (b'\xef\xbb\xbf{"text": "x"}', False),
    }
    for name, (line, fine) in lines.items():
        content = GOOD + line + b'\n{"text": "after"}\n'
        yield Case(f"json-{name}", "jsonl", file("a.jsonl", content), ("good", "after"), bad=0 if fine else 1)
    yield Case("json-only-blank-lines", "jsonl", file("a.jsonl", b"\n \r\n\t\n" * 10_000))
    yield Case("json-carriage-returns-only", "jsonl", file("a.jsonl", GOOD.replace(b"\n", b"\r") * 2), bad=1)
    rows = [prose(i) for i in range(50)]
    raw = "".join(json.dumps({"text": row}) + "\n" for row in rows).encode()
    for seed in range(6):
        yield Case(f"json-flipped-{seed}", "jsonl", file("a.jsonl", flipped(raw, seed, 20)))


def _lines() -> Iterator[Case]:
    yield Case("line-of-200-megabytes", "jsonl", _long_line(200), ("before", "after"), 1, slow=True)
    yield Case("line-of-20-megabytes", "jsonl", _long_line(20), ("before", "after"), 1)
    yield Case("text-of-50-megabytes", "text", _sparse("a.txt", 50), bad=1)
    yield Case("csv-of-one-line", "csv", _sparse("a.csv", 50), bad=1)
    yield Case("page-of-50-megabytes", "html", _sparse("a.html", 50), bad=1)


def _long_line(megabytes: int):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        with (folder / "a.jsonl").open("wb") as handle:
            handle.write(b'{"text": "before"}\n{"text": "')
            for _ in range(megabytes):
                handle.write(b"x" * 1_000_000)
            handle.write(b'"}\n{"text": "after"}\n')

    return make


def _sparse(name: str, megabytes: int):  # type: ignore[no-untyped-def]
    """Zeros that take no room on the disk."""

    def make(folder: Path) -> None:
        with (folder / name).open("wb") as handle:
            handle.truncate(megabytes * 1_000_000)

    return make
