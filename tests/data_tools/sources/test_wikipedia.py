"""MediaWiki dumps: articles out of pages."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from data_tools.sources.protocol import Quarantined, Record
from tests.data_tools.sources.crawls import HEAD, SENTENCES, article, dump
from tests.data_tools.sources.reading import read_all, records, told


def _read(folder: Path, raw: bytes, name: str = "dump.xml", **options: object) -> list:
    (folder / name).write_bytes(raw)
    return read_all("wikipedia", folder / name, **options)  # type: ignore[arg-type]


def test_an_article_with_everything(tmp_path: Path) -> None:
    text = (
        f"'''Brücken''' & Häfen {{{{Infobox|x}}}}<ref>Quelle</ref>\n== Geschichte ==\n{SENTENCES} [[Datei:X.png|weg]]"
    )
    items = _read(tmp_path, dump(article(12, text + "[[Kategorie:Weg]]", title="Brücken & Häfen/Ä?")))
    assert items == [
        Record(
            source_id="12",
            text=f"Brücken & Häfen\n\nGeschichte\n\n{SENTENCES}",
            position=f"byte {len(HEAD.encode()) + 2}",
            url="https://de.wikipedia.org/wiki/Br%C3%BCcken_%26_H%C3%A4fen/%C3%84%3F",
            metadata={
                "title": "Brücken & Häfen/Ä?",
                "page_id": "12",
                "revision_id": "1012",
                "timestamp": "2024-05-06T07:08:09Z",
            },
            language="de",
        )
    ]


def test_what_is_no_article_is_counted(tmp_path: Path) -> None:
    items = _read(
        tmp_path,
        dump(
            article(1, "text"),
            article(2, "talk", title="Diskussion:X", namespace=1),
            article(3, "moved", redirect="X"),
            article(4, "#REDIRECT [[X]]"),
            article(5, "a list", title="X (disambiguation)"),
            article(6, "eine Liste {{Begriffsklärung}}"),
            article(7, "{{only a template}}"),
            article(8, "  "),
            article(9, "text"),
        ),
    )
    reasons = ["other-namespace", "redirect", "redirect", "disambiguation", "disambiguation", "no-text", "no-text"]
    assert told(items) == ["1", *reasons, "9"]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("d.xml.bz2", bz2.compress),
        ("d.xml.gz", gzip.compress),
        ("d.xml.xz", lzma.compress),
        ("d.xml.zst", zstandard.compress),
    ],
)
def test_packed_dumps_in_one_stream_or_many(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    raw = dump(*(article(number, SENTENCES) for number in range(30)))
    expected = [str(number) for number in range(30)]
    assert told(_read(tmp_path, pack(raw), name)) == expected
    # Wikipedia's "multistream" dumps: a stream for every hundred pages.
    cuts = [0, 700, 3000, 3001, len(raw)]
    streams = b"".join(pack(raw[begin:end]) for begin, end in pairwise(cuts))
    assert told(_read(tmp_path, streams, name)) == expected


def test_broken_pages_cost_themselves_only(tmp_path: Path) -> None:
    items = _read(
        tmp_path,
        dump(
            article(1, "a"),
            article(2, "control \x01 character"),
            article(3, "b").replace("<ns>", "<ns&>"),
            article(4, "c").replace("</page>", ""),
            article(5, "d").replace("<title>Artikel 5</title>", ""),
            article(6, "e") + article(7, "entity &x;").replace("&amp;x;", "&x;"),
            article(8, "x" * 30_000),
            article(9, "f"),
        ),
        max_document_bytes=5_000,
    )
    reasons = ["invalid-xml", "invalid-xml", "truncated-record", "missing-text"]
    assert told(items) == ["1", *reasons, "6", "invalid-xml", "too-long", "9"]


def test_a_file_that_ends_within_a_page(tmp_path: Path) -> None:
    raw = dump(article(1, "a"), article(2, "b"))
    cut = raw[: raw.index(b"Artikel 2")]
    assert told(_read(tmp_path, cut)) == ["1", "truncated-record"]
    damaged = told(
        _read(tmp_path, bz2.compress(dump(*(article(n, SENTENCES) for n in range(2000))))[:-900], "d.xml.bz2")
    )
    assert damaged[-1] == "truncated-file"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "&b;&b;">]>' + dump(article(1, "a")), "invalid-xml"),
        (b"<html><body>no dump</body></html>", "not-a-dump"),
        (bytes(1000), "not-a-dump"),
        (b"", "not-a-dump"),
    ],
)
def test_what_is_no_dump(tmp_path: Path, raw: bytes, reason: str) -> None:
    items = _read(tmp_path, raw)
    assert told(items) == [reason]
    assert isinstance(items[0], Quarantined) and items[0].position == "file"


def test_of_several_revisions_the_last_counts(tmp_path: Path) -> None:
    second = "<revision><id>5</id><timestamp>t</timestamp><text>newer</text></revision></page>"
    items = _read(tmp_path, dump(article(1, "older").replace("</page>", second)))
    assert [(record.text, record.metadata["revision_id"]) for record in records(items)] == [("newer", "5")]


def test_memory_is_bounded_by_a_page(tmp_path: Path) -> None:
    path = tmp_path / "d.xml"
    with path.open("wb") as handle:
        handle.write(HEAD.encode())
        for number in range(30):
            handle.write(article(number, "x" * 1_000_000).encode())
    tracemalloc.start()
    items = read_all("wikipedia", path, max_document_bytes=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told(items) == ["too-long"] * 30
    assert peak < 10_000_000


def test_hostile_wikitext_passes_in_time(tmp_path: Path) -> None:
    items = _read(tmp_path, dump(article(1, "{{" * 200_000), article(2, "[[a|" * 100_000), article(3, "good")))
    assert told(items)[-1] == "3" and len(items) == 3
