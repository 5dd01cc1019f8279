"""What the sources of pages share: raw pages in, records out, by way of a killable extractor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from data_tools.config import SourceConfig
from data_tools.extraction.isolated import Extraction, Failed, IsolatedExtractor, Task
from data_tools.sources.protocol import Quarantined, Record, Skipped, excerpt


@dataclass(frozen=True)
class Page:
    """A document before extraction."""

    source_id: str
    position: str
    raw: bytes
    hints: dict[str, str] = field(default_factory=dict)
    """For the extractor's function."""
    url: str | None = None
    """None: the one that extraction finds."""
    metadata: dict[str, str] = field(default_factory=dict)
    language: str | None = None


def page_extractor(config: SourceConfig) -> IsolatedExtractor:
    """The extractor of HTML that the source's ``extract`` section describes."""
    return IsolatedExtractor(
        "data_tools.extraction.html:for_worker",
        {"method": config.extract.method},
        timeout_seconds=config.extract.timeout_seconds,
        max_memory_mb=config.extract.max_memory_mb,
    )


def extract_pages(
    extractor: IsolatedExtractor, items: Iterable[Page | Record | Quarantined | Skipped]
) -> Iterator[Record | Quarantined | Skipped]:
    """Pages become records, or are quarantined (``skipped-...`` reasons: counted only); all else passes, in order.

    The facts ``title`` and ``language`` that extraction finds go to the metadata; ``url`` becomes the record's where
    it has none yet, else ``canonical_url`` of the metadata if it differs.
    """
    tasks = ((item, Task(item.raw, item.hints) if isinstance(item, Page) else None) for item in items)
    for item, outcome in extractor.map(tasks):
        if not isinstance(item, Page):
            yield item
        elif isinstance(outcome, Extraction):
            yield _record(item, outcome)
        elif isinstance(outcome, Failed):
            if outcome.reason.startswith("skipped-"):
                yield Skipped(item.position, outcome.reason.removeprefix("skipped-"))
            else:
                yield Quarantined(item.position, outcome.reason, outcome.detail, excerpt(item.raw))


def _record(page: Page, extraction: Extraction) -> Record:
    facts = dict(extraction.facts)
    found = facts.pop("url", None)
    if page.url is not None and found not in (None, page.url):
        facts["canonical_url"] = str(found)
    return Record(
        source_id=page.source_id,
        text=extraction.text,
        position=page.position,
        url=page.url if page.url is not None else found,
        metadata={**facts, **page.metadata},
        language=page.language,
    )
