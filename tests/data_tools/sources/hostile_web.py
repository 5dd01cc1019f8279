"""Pages, crawls, encyclopedias and code that were made, or broken, to do harm."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator

from tests.data_tools.sources.hostile import Case, file, flipped, prose

PAGE = f"<html><head><title>A page</title></head><body><p>{prose(1, 200)}</p><p>{prose(2, 200)}</p></body></html>"


#: Some pages take forever: that is seen soon enough.
QUICK = {"extract": {"timeout_seconds": 1.0}}


def cases() -> Iterator[Case]:
    yield from _html()
    yield from _warc()
    yield from _wikipedia()
    yield from _code()


def _html() -> Iterator[Case]:
    body = prose(3, 100)
    pages: dict[str, bytes] = {
        "deep-divs": b"<div>" * 100_000 + body.encode() + b"</div>" * 100_000,
        "deep-tables": b"<table><tr><td>" * 20_000 + body.encode(),
        "deep-lists": b"<ul><li>" * 50_000 + body.encode(),
        "deep-inline": b"<b><i>" * 50_000 + body.encode(),
        "never-closed": b"<p>" + body.encode() + b"<div class='x" + b"y" * 100_000,
        "comment-never-closed": b"<p>" + body.encode() + b"<!-- " + b"-" * 100_000,
        "angle-brackets": b"<" * 500_000,
        "entities": b"<p>" + b"&amp;" * 100_000 + b"&#x110000;&#0;&#xD800;",
        "huge-attribute": b"<p title='" + b"a" * 900_000 + b"'>" + body.encode() + b"</p>",
        "many-attributes": b"<p " + b" ".join(b"a%d=1" % i for i in range(50_000)) + b">" + body.encode() + b"</p>",
        "script-only": b"<script>" + b"x=1;" * 10_000 + b"</script>",
        "only-tags": b"<p></p>" * 50_000,
        "charset-lies": b"<meta charset=utf-16><p>" + body.encode(),
        "charset-unknown": b"<meta charset=nonsense><p>caf\xe9 " + body.encode(),
        "nul": b"<p>a\0b " + body.encode(),
        "picture": b"\x89PNG\r\n\x1a\n" + flipped(bytes(50_000), 5, 200_000),
        "misnested": (b"<b><p><i></b></p></i>" + body.encode()) * 200,
        "doctype-bomb": b'<!DOCTYPE x [<!ENTITY a "'
        + b"x" * 1000
        + b'"><!ENTITY b "&a;&a;&a;">]><p>&b;'
        + body.encode(),
    }
    for name, raw in pages.items():
        yield Case(f"html-{name}", "html", file("a.html", raw), options=QUICK)
    for seed in range(3):
        yield Case(f"html-flipped-{seed}", "html", file("a.html", flipped(PAGE.encode(), seed, 40)))


def response(body: bytes, length: int | str | None = None, http: bytes = b"", uri: str = "http://a.example/") -> bytes:
    """A record of a WARC file. ``length``: what it says of itself, if that isn't true."""
    head = http or b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    content = head + body
    lines = [
        "WARC/1.0",
        "WARC-Type: response",
        f"WARC-Target-URI: {uri}",
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000001>",
        "WARC-Date: 2024-01-01T00:00:00Z",
        "Content-Type: application/http; msgtype=response",
        f"Content-Length: {len(content) if length is None else length}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n\r\n"


def _warc() -> Iterator[Case]:
    page = PAGE.encode()
    one = response(page)
    packed_body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    files: dict[str, bytes] = {
        "length-too-long": response(page, 10_000_000) + one,
        "length-too-short": response(page, 50) + one,
        "length-negative": response(page, -5) + one,
        "length-huge": response(page, 10**18) + one,
        "length-overflowing": response(page, 2**64 + 7) + one,
        "length-a-word": response(page, "many") + one,
        "length-missing": response(page).replace(b"Content-Length", b"Content-Longness") + one,
        "no-http-header": response(page, http=b"\r\n\r\n"),
        "http-header-without-end": response(b"", http=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500_000),
        "body-said-to-be-gzip": response(page, http=packed_body) + one,
        "body-a-gzip-bomb": response(gzip.compress(bytes(100_000_000)), http=packed_body) + one,
        "chunked-badly": response(b"zz\r\n" + page, http=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        + one,
        "not-a-warc": page * 20,
        "headers-only": one.split(b"\r\n\r\n")[0],
        "many-empty-records": response(b"", http=b"HTTP/1.1 204 No Content\r\n\r\n") * 500,
        "address-in-no-encoding": response(page).replace(b"a.example/", b"a.example/\xff\xfe"),
    }
    for name, raw in files.items():
        yield Case(f"warc-{name}", "warc", file("a.warc", raw))
    many = b"".join(response(page, uri=f"http://a.example/{i}") for i in range(5))
    for seed in range(4):
        yield Case(f"warc-flipped-{seed}", "warc", file("a.warc", flipped(many, seed, 20)))
    packed = b"".join(gzip.compress(response(page, uri=f"http://a.example/{i}")) for i in range(5))
    for seed in range(3):
        yield Case(f"warc-gz-flipped-{seed}", "warc", file("a.warc.gz", flipped(packed, seed, 4)))
    for percent in (10, 60, 95):
        yield Case(f"warc-gz-cut-at-{percent}%", "warc", file("a.warc.gz", packed[: len(packed) * percent // 100]))
    wet = one.replace(b"response", b"conversion")
    yield Case("wet-cut", "warc", file("a.wet", wet[: len(wet) // 2]))


def article(title: str, text: str, number: int = 1) -> str:
    return (
        f"<page><title>{title}</title><ns>0</ns><id>{number}</id><revision><id>{number}</id>"
        f"<model>wikitext</model><format>text/x-wiki</format><text>{text}</text></revision></page>"
    )


def _wikipedia() -> Iterator[Case]:
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en">'
    good = article("Good", prose(7, 150), 9)

    def dump(*pages: str, end: str = "</mediawiki>") -> bytes:
        return (head + "".join(pages) + end).encode()

    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
    )
    files: dict[str, bytes] = {
        "never-closed": dump(good, end="<page><title>x"),
        "billion-laughs": (laughs + "]>").encode() + dump(article("x", "&j;"), good),
        "outside-entity": b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + dump(article("x", "&f;"), good),
        "templates-20000-deep": dump(good, article("x", "{{a|" * 20_000, 2)),
        "links-without-end": dump(good, article("x", "[[" * 50_000, 2)),
        "tables-20000-deep": dump(good, article("x", "{|\n|-\n|\n" * 20_000, 2)),
        "quotes": dump(good, article("x", "'" * 200_000, 2)),
        "unclosed-tags": dump(good, article("x", "&lt;ref&gt;" * 30_000, 2)),
        "too-long": dump(good, article("x", "x" * 6_000_000, 2)),
        "no-text": dump("<page><title>x</title><ns>0</ns></page>", good),
        "control-character": dump(article("x", "a\x01b"), good),
        "no-dump": PAGE.encode(),
        "no-xml": b"\x00\x01\x02" * 1000,
    }
    for name, raw in files.items():
        yield Case(f"wikipedia-{name}", "wikipedia", file("a.xml", raw))
    packed = bz2.compress(dump(*(article(f"T{i}", prose(i, 150), i) for i in range(30))))
    for percent in (10, 60, 99):
        cut = packed[: len(packed) * percent // 100]
        yield Case(f"wikipedia-bz2-cut-at-{percent}%", "wikipedia", file("a.xml.bz2", cut))
    raw = dump(*(article(f"T{i}", prose(i, 100), i) for i in range(10)))
    for seed in range(3):
        yield Case(f"wikipedia-flipped-{seed}", "wikipedia", file("a.xml", flipped(raw, seed, 20)))


def _code() -> Iterator[Case]:
    files: dict[str, tuple[str, bytes]] = {
        "minified": ("a.js", b"var a=1;" * 100_000),
        "binary": ("a.c", flipped(bytes(50_000), 9, 200_000)),
        "latin": ("a.py", b"# caf\xe9\nprint(1)\n"),
        "too-long": ("a.py", b"x = 1\n" * 300_000),
        "bidi": ("a.py", "access = 'user\u202e \u2066# check\u2069 \u2066'\n".encode()),
        "deep-brackets": ("a.py", b"(" * 100_000),
    }
    for name, (path, raw) in files.items():
        yield Case(f"code-{name}", "code", file(path, raw))
