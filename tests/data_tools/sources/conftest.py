"""One process for extraction serves all tests of this folder: what it does must not depend on what it did before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from data_tools.config import SourceConfig
from data_tools.extraction.isolated import IsolatedExtractor
from data_tools.sources import html, pages, warc


@pytest.fixture(scope="session")
def shared_extractors() -> Iterator[dict[str, IsolatedExtractor]]:
    extractors: dict[str, IsolatedExtractor] = {}
    yield extractors
    for extractor in extractors.values():
        extractor.close()


@pytest.fixture(autouse=True)
def _share(monkeypatch: pytest.MonkeyPatch, shared_extractors: dict[str, IsolatedExtractor]) -> None:
    new = pages.page_extractor

    def shared(config: SourceConfig) -> IsolatedExtractor:
        key = config.extract.model_dump_json(exclude={"max_html_bytes"})
        if key not in shared_extractors:
            shared_extractors[key] = new(config)
        return shared_extractors[key]

    for module in (html, warc):
        monkeypatch.setattr(module, "page_extractor", shared)
