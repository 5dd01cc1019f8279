"""Web archives: what is a page, and what a broken record costs."""

from __future__ import annotations

import bz2
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from data_tools.sources.protocol import Quarantined, Record
from tests.data_tools.sources.crawls import SENTENCES, conversion, page, response
from tests.data_tools.sources.reading import read_all, records, told

Pack = Callable[[bytes], bytes]
PACKINGS = [
    pytest.param(bytes, id="plain"),
    pytest.param(gzip.compress, id="gzip"),
    pytest.param(zstandard.compress, id="zstd"),
]


def _ids(*numbers: int) -> list[str]:
    return [f"urn:uuid:00000000-0000-0000-0000-{number:012d}" for number in numbers]


def _read(folder: Path, *raw: bytes, pack: Pack = bytes, **options: object) -> list:
    path = folder / "crawl.warc"
    path.write_bytes(b"".join(pack(record) for record in raw))
    return read_all("warc", path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("pack", PACKINGS)
def test_pages_with_their_addresses(tmp_path: Path, pack: Pack) -> None:
    raw = [response(number) for number in range(3)]
    items = _read(tmp_path, *raw, pack=pack)
    assert told(items) == _ids(0, 1, 2)
    first = items[0]
    assert isinstance(first, Record)
    assert first.text == f"Page 0. {SENTENCES}"
    assert first.url == "http://a.example/0"
    assert first.metadata == {"title": "Page 0", "language": "en", "date": "2024-05-06T07:08:09Z"}
    # Positions are bytes of the file, at which anybody can look.
    places = [sum(len(pack(record)) for record in raw[:number]) for number in range(3)]
    assert [item.position for item in items] == [f"byte {place}" for place in places]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_an_archive_packed_as_a_whole(tmp_path: Path, pack: Pack) -> None:
    assert told(_read(tmp_path, b"".join(response(number) for number in range(3)), pack=pack)) == _ids(0, 1, 2)


def test_what_is_no_page_is_counted(tmp_path: Path) -> None:
    request = response(9).replace(b"WARC-Type: response", b"WARC-Type: request")
    items = _read(
        tmp_path,
        response(0, status="404 Not Found"),
        response(1, status="301 Moved"),
        response(2, content_type="image/png"),
        response(3, content_type="application/xhtml+xml; charset=utf-8"),
        request,
        response(4).replace(b"application/http; msgtype=response", b"text/dns"),
        response(5, b"  "),
    )
    expected = ["http-status", "http-status", "content-type", *_ids(3), "no-response", "no-http", "no-text"]
    assert told(items) == expected


def test_bodies_are_unpacked_and_decoded(tmp_path: Path) -> None:
    raw = f"<p>Grüße. {SENTENCES}</p>"
    chunks = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (raw.encode()[:50], raw.encode()[50:])) + b"0\r\n\r\n"
    )
    items = _read(
        tmp_path,
        response(0, gzip.compress(raw.encode()), headers="Content-Encoding: gzip\r\n"),
        response(1, chunks, headers="Transfer-Encoding: chunked\r\n"),
        response(2, raw.encode("cp1252"), content_type="text/html; charset=ISO-8859-1"),
    )
    assert [record.text for record in records(items)] == [f"Grüße. {SENTENCES}"] * 3


def test_texts_of_wet_files(tmp_path: Path) -> None:
    items = _read(
        tmp_path, conversion(1, "Zeile eins\nZwei: ü".encode()), conversion(2, b"\xff\xfe"), conversion(3, b"x")
    )
    assert told(items) == [*_ids(1), "invalid-utf8", *_ids(3)]
    assert records(items)[0].text == "Zeile eins\nZwei: ü" and records(items)[0].url == "http://a.example/1"


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize("lie", [50, 400, 100_000, 10**15, -5])
def test_a_lying_length_costs_its_record_only(tmp_path: Path, pack: Pack, lie: int) -> None:
    items = _read(tmp_path, response(0), response(1, lie=lie), response(2), response(3), pack=pack)
    assert told(items)[::2] == _ids(0, 2) and told(items)[3:] == _ids(3)
    broken = items[1]
    assert isinstance(broken, Quarantined)
    assert broken.reason in {"wrong-length", "truncated-record", "too-long"}
    assert broken.position == f"byte {len(pack(response(0)))}"


def test_a_digest_that_does_not_fit(tmp_path: Path) -> None:
    wrong = "sha1:" + "A" * 32
    items = _read(tmp_path, response(0, digest="right"), response(1, digest=wrong), response(2, digest="md5:x"))
    assert told(items) == [*_ids(0), "digest-mismatch", *_ids(2)]


def test_a_page_about_archives_is_believed_by_its_digest(tmp_path: Path) -> None:
    body = page(1) + b"\r\n\r\n" + response(7)
    assert told(_read(tmp_path, response(1, body, digest="right"), response(2))) == _ids(1, 2)
    assert told(_read(tmp_path, response(1, body), response(2)))[0] == "wrong-length"


@pytest.mark.parametrize("pack", PACKINGS)
def test_junk_between_records(tmp_path: Path, pack: Pack) -> None:
    packed = [pack(response(number, digest="right")) for number in range(3)]
    items = _read(tmp_path, packed[0], b"junk\r\n" * 50, packed[1], packed[2])
    assert told(items) == [*_ids(0), "broken-record", *_ids(1, 2)]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_damaged_member_costs_itself_only(tmp_path: Path, pack: Pack) -> None:
    packed = [pack(response(number)) for number in range(4)]
    damaged = bytearray(packed[1])
    del damaged[len(damaged) // 2 : len(damaged) // 2 + 20]
    items = _read(tmp_path, packed[0], bytes(damaged), packed[2], packed[3])
    assert told(items)[0] == _ids(0)[0] and told(items)[-2:] == _ids(2, 3) and len(items) == 4


@pytest.mark.parametrize("pack", PACKINGS)
def test_a_file_that_ends_too_early(tmp_path: Path, pack: Pack) -> None:
    raw = b"".join(pack(response(number)) for number in range(3))
    items = _read(tmp_path, raw[:-60])
    assert told(items)[:2] == _ids(0, 1)
    assert [type(item) for item in items[2:]] == [Quarantined]


def test_too_large_pages_and_bombs_are_not_read(tmp_path: Path) -> None:
    limits = {"extract": {"max_html_bytes": 10_000}}
    bomb = gzip.compress(bytes(30_000_000))
    items = _read(
        tmp_path,
        response(0, b"<p>" + b"x " * 400_000),
        response(1, b"<p>" + b"x " * 8_000),
        response(2, bomb, headers="Content-Encoding: gzip\r\n"),
        response(3),
        **limits,
    )
    assert told(items) == ["too-long", "too-long", "too-long", *_ids(3)]


def test_broken_http_costs_its_record_only(tmp_path: Path) -> None:
    items = _read(
        tmp_path,
        response(0, b"no gzip", headers="Content-Encoding: gzip\r\n"),
        response(1, status="two hundred"),
        response(2, b"zz\r\nx", headers="Transfer-Encoding: chunked\r\n"),
        response(3),
    )
    assert told(items) == ["broken-record", "invalid-http", "broken-record", *_ids(3)]


def test_random_damage_never_raises_and_says_the_same_twice(tmp_path: Path) -> None:
    for seed in range(60):
        generator = random.Random(seed)
        pack = generator.choice([bytes, gzip.compress, zstandard.compress])
        raw = bytearray(b"".join(pack(response(number)) for number in range(4)))
        for _ in range(generator.choice([1, 3, 20])):
            raw[generator.randrange(len(raw))] = generator.randrange(256)
        first = told(_read(tmp_path, bytes(raw)))
        assert first and first == told(_read(tmp_path, bytes(raw)))


def test_parts_of_an_archive_are_the_whole(tmp_path: Path) -> None:
    raw = [gzip.compress(response(number)) for number in range(12)]
    whole = _read(tmp_path, *raw)
    assert len(whole) == 12
    for target_bytes in (100, len(raw[0]), 1000, 2000):
        assert _read(tmp_path, *raw, target_bytes=target_bytes) == whole
    for seed in range(30):
        generator = random.Random(seed)
        damaged = bytearray(b"".join(raw))
        for _ in range(generator.choice([1, 5])):
            damaged[generator.randrange(len(damaged))] ^= 1 + generator.randrange(255)
        target_bytes = generator.randrange(200, 2000)
        in_parts = _read(tmp_path, bytes(damaged), target_bytes=target_bytes)
        assert records(in_parts) == records(_read(tmp_path, bytes(damaged)))


def test_an_empty_archive_has_no_records(tmp_path: Path) -> None:
    assert _read(tmp_path, b"") == []
