"""HTML pages to their main text."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]


def groundup(spec: dict[str, Any]) -> Contender:
    """Through the killable worker, as ingest does it: pages and texts go over a pipe."""
    from data_tools.extraction.isolated import Extraction, IsolatedExtractor, Task

    pages = _pages(spec)
    extractor = IsolatedExtractor(
        "data_tools.extraction.html:for_worker",
        {"method": "resiliparse"},
        timeout_seconds=10.0,
        max_memory_mb=2_048,
    )
    extractor.one(Task(b"<p>A page to warm up with.</p>"))
    yield
    outcomes = extractor.map((number, Task(page)) for number, page in enumerate(pages))
    texts = [outcome.text if isinstance(outcome, Extraction) else "" for _, outcome in outcomes]
    return {"texts": texts}


def groundup_in_process(spec: dict[str, Any]) -> Contender:
    """The same function without the worker, to see what the worker costs."""
    from data_tools.extraction.html import extract

    pages = _pages(spec)
    extract(b"<p>A page to warm up with.</p>")
    yield
    return {"texts": [extract(page).text for page in pages]}


def trafilatura(spec: dict[str, Any]) -> Contender:
    """With the options that ours passes it: no comments, tables kept."""
    from trafilatura import extract

    pages = _pages(spec)
    extract("<html><body><p>A page to warm up with.</p></body></html>")
    yield
    return {
        "texts": [extract(page.decode("utf-8", "replace"), include_comments=False) or "" for page in pages],
    }


def _pages(spec: dict[str, Any]) -> list[bytes]:
    return [Path(path).read_bytes() for path in spec["pages"]]
