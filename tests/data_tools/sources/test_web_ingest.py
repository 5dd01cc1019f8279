"""Crawls, dumps and code through ingest: everything is counted, and workers change nothing."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.data_tools.conftest import Chain
from tests.data_tools.sources.crawls import article, dump, page, response


def _sources(folder: Path) -> list[dict[str, Any]]:
    (folder / "pages").mkdir(parents=True)
    (folder / "code").mkdir()
    for number in range(3):
        (folder / "pages" / f"{number}.html").write_bytes(page(number))
    (folder / "pages" / "deep.html").write_bytes(b"<div>" * 100_000 + b"text")
    for number in range(2):
        records = [response(10 * number + 20), response(1, status="404 Not Found"), response(10 * number + 21)]
        (folder / f"{number}.warc.gz").write_bytes(b"".join(gzip.compress(record) for record in records))
    (folder / "dump.xml").write_bytes(dump(article(1, "'''An''' article"), article(2, "x", redirect="An article")))
    (folder / "code" / "a.py").write_text("print('a')\n")
    (folder / "code" / "b.py").write_text("# @generated\nprint('b')\n")
    quick = {"extract": {"timeout_seconds": 0.5}}
    return [
        {"kind": "html", "name": "pages", "path": str(folder / "pages"), **quick},
        {"kind": "warc", "name": "crawl", "path": str(folder / "*.warc.gz"), **quick},
        {"kind": "wikipedia", "name": "wiki", "path": str(folder / "dump.xml"), "license": "CC BY-SA 4.0"},
        {"kind": "code", "name": "code", "path": str(folder / "code")},
    ]


def _digest(folder: Path) -> str:
    parts = sorted((folder / "ingest").rglob("*.parquet"))
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def test_everything_is_counted_whatever_the_workers(tmp_path: Path, make_chain: Callable[..., Chain]) -> None:
    sources = _sources(tmp_path / "raw")
    digests = []
    for workers in (1, 2):
        chain = make_chain(tmp_path / str(workers), workers=workers)
        counters = chain.run("ingest", {"sources": sources})
        digests.append(_digest(chain.folder))
        assert {name: value for name, value in counters.items() if name.startswith(("skipped", "removed", "doc"))} == {
            "documents_in": 10,
            "documents_out": 9,
            "removed.extraction-timeout": 1,
            "skipped": 4,
            "skipped.generated": 1,
            "skipped.http-status": 2,
            "skipped.redirect": 1,
        }
        rows = {(row["source"], row["source_id"]): row for row in chain.rows("ingest", "documents")}
        wiki = rows["wiki", "1"]
        assert (wiki["text"], wiki["language"], wiki["license"]) == ("An article", "de", "CC BY-SA 4.0")
        assert wiki["url"] == "https://de.wikipedia.org/wiki/Artikel_1"
        assert dict(rows["code", "a.py"]["metadata"])["programming_language"] == "python"
    assert digests[0] == digests[1]
