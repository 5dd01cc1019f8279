"""What happened to one document: from the file that it stood in to the split that it is in, or to where it left.

A document is followed copy by copy (id, source and place in the source), because copies of one text part ways: one
stays, the others are its duplicates. Where a stage edits a text, its id changes, and the story goes on under the new
one. Any of the ids leads to the same story.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from data_tools.answers.pairs import DuplicatePair, likeness, pairs_of
from data_tools.answers.removals import NOTHING_LEFT, shorten
from data_tools.answers.tables import Tables
from data_tools.answers.thresholds import Check, checks
from data_tools.config import SelectConfig
from data_tools.errors import DataError

#: Stages that may edit a text, in order.
EDITING = ("clean", "deduplicate", "decontaminate")

#: Copies of one text that are followed, and other documents that are named beside it.
MOST_COPIES = 10

_ID = re.compile(r"[0-9a-f]{4,32}")


class Copy(NamedTuple):
    """One document as it stood before some stage."""

    doc_id: str
    source: str
    source_id: str


@dataclass(frozen=True)
class Step:
    """What one stage did with it."""

    stage: str
    outcome: str
    """One line: ``kept``, ``removed: gopher/short`` ..."""
    stays: bool = True
    details: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    pair: DuplicatePair | None = None


@dataclass(frozen=True)
class Story:
    """One copy of a document, from the beginning."""

    copy: Copy
    """As it was ingested."""
    n_bytes: int
    beginning: str
    url: str | None
    license: str | None
    metadata: dict[str, str]
    steps: tuple[Step, ...] = ()

    @property
    def stays(self) -> bool:
        return all(step.stays for step in self.steps)


@dataclass(frozen=True)
class Answer:
    stories: tuple[Story, ...]
    copies: int
    """Of the text (or texts) in the corpus as it was read; more than ``stories`` where there are very many."""
    quarantined: tuple[dict[str, Any], ...] = field(default=())
    """Rows of ``quarantine/`` where no document came of a record."""


def why(tables: Tables, query: str, select: SelectConfig | None = None, chars: int = 300) -> Answer:
    """Tell the story of a document.

    Args:
        query: an id, the beginning of one (at least 4 digits), or ``source/source_id``.
        select: the configuration whose thresholds stand beside the signals.
        chars: of each beginning that is quoted.

    Raises:
        DataError: there is no such document, or several whose ids begin like this.
    """
    query = query.strip()
    copies = list(_named(tables, query)) if "/" in query else []
    if not copies and _ID.fullmatch(query.lower()):
        copies = _by_id(tables, query.lower())
    if not copies:
        broken = _broken(tables, query)
        if broken:
            return Answer((), 0, tuple(broken))
        raise _unknown(tables, query)
    rows = list(_ingested(tables, copies[:MOST_COPIES], chars))
    return Answer(tuple(_story(tables, row, select, chars) for row in rows), len(copies))


# ------------------------------------------------------------------------------------------------ which document


def _named(tables: Tables, query: str) -> Iterator[Copy]:
    source, _, source_id = query.partition("/")
    for row in tables.rows(
        f"SELECT doc_id, source, source_id FROM {tables.scan('ingest', 'documents')} "
        "WHERE source = ? AND source_id = ? ORDER BY ALL",
        [source, source_id],
    ):
        yield Copy(**row)


def _by_id(tables: Tables, prefix: str) -> list[Copy]:
    """The documents as ingested that have, or had after an edit, an id that begins like this."""
    full: set[str] = set()
    copies: set[Copy] = set()
    for stage in reversed(EDITING):
        if not tables.has(stage, "edits"):
            continue
        edits = tables.scan(stage, "edits")
        copies = {_before(tables, edits, copy) for copy in copies}
        for row in tables.rows(
            "SELECT doc_id, source, source_id, new_doc_id "
            f"FROM {edits} WHERE starts_with(doc_id, ?) OR starts_with(new_doc_id, ?)",
            [prefix, prefix],
        ):
            made = row.pop("new_doc_id")
            full |= {one for one in (made, row["doc_id"]) if one is not None and one.startswith(prefix)}
            copies.add(Copy(**row))
    for row in tables.rows(
        f"SELECT doc_id, source, source_id FROM {tables.scan('ingest', 'documents')} WHERE starts_with(doc_id, ?)",
        [prefix],
    ):
        full.add(row["doc_id"])
        copies.add(Copy(**row))
    if len(full) > 1:
        listed = ", ".join(sorted(full)[:10]) + (", ..." if len(full) > 10 else "")
        raise DataError(f"{len(full):,} documents' ids begin with {prefix!r}", fix=f"Give more digits: {listed}.")
    return sorted(copies, key=lambda copy: (copy.source, copy.source_id, copy.doc_id))


def _before(tables: Tables, edits: str, copy: Copy) -> Copy:
    found = tables.rows(
        f"SELECT doc_id FROM {edits} WHERE new_doc_id = ? AND source = ? AND source_id = ? LIMIT 1", list(copy)
    )
    return copy._replace(doc_id=found[0]["doc_id"]) if found else copy


def _ingested(tables: Tables, copies: Sequence[Copy], chars: int) -> Iterator[dict[str, Any]]:
    wanted = set(copies)
    ids = sorted({copy.doc_id for copy in copies})
    for row in tables.rows(
        "SELECT doc_id, source, source_id, url, license, n_bytes, metadata, part, file_row_number AS row, "
        f"left(text, {int(chars) + 1}) AS beginning FROM {tables.scan('ingest', 'documents')} "
        f"WHERE doc_id IN ({', '.join('?' * len(ids))}) ORDER BY part, file_row_number",
        ids,
    ):
        if Copy(row["doc_id"], row["source"], row["source_id"]) in wanted:
            yield row


def _broken(tables: Tables, query: str) -> list[dict[str, Any]]:
    """Records that were quarantined, by ``source/file`` or ``source/file:position``."""
    if "/" not in query or not tables.has("ingest", "quarantine"):
        return []
    source, _, place = query.partition("/")
    return tables.rows(
        "SELECT source, file, position, reason, detail, excerpt "
        f"FROM {tables.scan('ingest', 'quarantine')} WHERE source = ? AND "
        "(file = ? OR concat(file, ':', regexp_extract(position, '[0-9]+')) = ?) "
        f"ORDER BY file, position LIMIT {MOST_COPIES}",
        [source, place, place],
    )


def _unknown(tables: Tables, query: str) -> DataError:
    (size,) = tables.rows(f"SELECT count(*) AS n FROM {tables.scan('ingest', 'documents')}")
    sources = tables.rows(f"SELECT DISTINCT source FROM {tables.scan('ingest', 'documents')} ORDER BY source LIMIT 10")
    example = tables.rows(f"SELECT source, source_id FROM {tables.scan('ingest', 'documents')} LIMIT 1")
    place = f"{example[0]['source']}/{example[0]['source_id']}" if example else "source/source_id"
    return DataError(
        f"no document is, or was, called {query!r} (none of the {size['n']:,} that were read, nor in quarantine)",
        fix=f"Name it by its id, the first 4 or more digits of it, or by its place, such as {place}. "
        f"Sources: {', '.join(row['source'] for row in sources)}.",
    )


# --------------------------------------------------------------------------------------------------- its story


def _story(tables: Tables, row: dict[str, Any], select: SelectConfig | None, chars: int) -> Story:
    copy = Copy(row["doc_id"], row["source"], row["source_id"])
    steps = [Step("ingest", f"read, {row['n_bytes']:,} bytes")]
    for stage in ("select", *EDITING, "mix"):
        if stage not in tables.folders or not steps[-1].stays:
            continue
        if stage == "select":
            found = _selected(tables, row, select)
        elif stage == "mix":
            found = _mixed(tables, copy)
        else:
            copy, found = _edited(tables, stage, copy, chars)
        steps += found
    return Story(
        Copy(row["doc_id"], row["source"], row["source_id"]),
        row["n_bytes"],
        shorten(row["beginning"], chars),
        row["url"],
        row["license"],
        dict(row["metadata"] or {}),
        tuple(steps),
    )


def _selected(tables: Tables, row: dict[str, Any], select: SelectConfig | None) -> list[Step]:
    if not tables.has("select", "verdicts"):
        return []
    here = "WHERE part = ? AND file_row_number = ?"
    place = [row["part"], row["row"]]
    verdicts = tables.rows(f"SELECT keep, reasons FROM {tables.scan('select', 'verdicts')} {here}", place)
    if not verdicts:
        return []
    reasons = tuple(verdicts[0]["reasons"])
    measured: dict[str, Any] = {}
    if tables.has("annotate", "signals"):
        found = tables.rows(f"SELECT * FROM {tables.scan('annotate', 'signals')} {here}", place)
        measured = found[0] if found else {}
    held = tuple(checks(select, measured, reasons)) if select is not None else ()
    outcome = "kept" if verdicts[0]["keep"] else f"removed: {', '.join(reasons)}"
    return [Step("select", outcome, verdicts[0]["keep"], checks=held)]


def _edited(tables: Tables, stage: str, copy: Copy, chars: int) -> tuple[Copy, list[Step]]:
    """What an editing stage did, and the copy as it left it."""
    steps = [*_met(tables, stage, copy), *(_duplicate(tables, copy, chars) if stage == "deduplicate" else ())]
    after = copy
    if tables.has(stage, "edits") and all(step.stays for step in steps):
        for row in tables.rows(
            "SELECT new_doc_id, changes, bytes_before, bytes_after "
            f"FROM {tables.scan(stage, 'edits')} WHERE doc_id = ? AND source = ? AND source_id = ? LIMIT 1",
            list(copy),
        ):
            told = tuple(f"{name}: {times:,}" for name, times in sorted(dict(row["changes"]).items()))
            sizes = f"{row['bytes_before']:,} to {row['bytes_after']:,} bytes"
            if row["new_doc_id"] is None:
                steps.append(Step(stage, f"removed: {NOTHING_LEFT.get(stage, stage)} ({sizes})", False, told))
            else:
                after = copy._replace(doc_id=row["new_doc_id"])
                steps.append(Step(stage, f"edited, {sizes}; its id became {after.doc_id}", True, told))
    return after, steps or [Step(stage, "unchanged" if stage == "clean" else "kept")]


def _duplicate(tables: Tables, copy: Copy, chars: int) -> list[Step]:
    if not tables.has("deduplicate", "duplicates"):
        return []
    table = tables.scan("deduplicate", "duplicates")
    found = tables.rows(
        "SELECT doc_id, source, source_id, representative, cluster_size, exact_similarity, reason "
        f"FROM {table} WHERE doc_id = ? AND source = ? AND source_id = ? LIMIT 1",
        list(copy),
    )
    if found:
        (pair,) = pairs_of(tables, found, chars)
        where = "an index of earlier documents" if pair.reason.startswith("index") else pair.representative_source
        how = "the same text as" if pair.reason.endswith("exact") else likeness(pair.reason, pair.similarity)
        told = f"removed: {pair.reason}-duplicate, {how} {pair.representative} ({where or 'kept'})"
        copies = () if pair.reason == "contained" else (f"{pair.cluster_size:,} copies in all",)
        return [Step("deduplicate", told, False, copies, pair=pair)]
    stands_for = tables.rows(
        f"SELECT doc_id, source, source_id, exact_similarity, reason, count(*) OVER () AS n FROM {table} "
        f"WHERE representative = ? ORDER BY exact_similarity DESC, source, source_id LIMIT {MOST_COPIES}",
        [copy.doc_id],
    )
    if not stands_for:
        return []
    named = [
        f"{row['doc_id']} {row['source']}/{row['source_id']}, {likeness(row['reason'], row['exact_similarity'])} this"
        for row in stands_for
    ]
    more = stands_for[0]["n"] - len(stands_for)
    if more:
        named.append(f"and {more:,} more")
    return [Step("deduplicate", f"kept, in the place of {stands_for[0]['n']:,} more", True, tuple(named))]


def _met(tables: Tables, stage: str, copy: Copy) -> Iterator[Step]:
    """The examples of evaluation sets that the document shares text with."""
    if stage != "decontaminate" or not tables.has(stage, "contamination"):
        return
    found = tables.rows(
        "SELECT benchmark, example, ngrams, coverage, matched_text, action "
        f"FROM {tables.scan(stage, 'contamination')} WHERE doc_id = ? AND source = ? AND source_id = ? "
        "ORDER BY coverage DESC, benchmark, example",
        list(copy),
    )
    if not found:
        return
    told = [
        f"{row['benchmark']} {row['example']}: {row['ngrams']:,} n-grams, {row['coverage']:.0%} of the example, "
        f'such as "{shorten(row["matched_text"], 160)}"'
        for row in found[:MOST_COPIES]
    ]
    if len(found) > MOST_COPIES:
        told.append(f"and {len(found) - MOST_COPIES:,} more")
    removed = any(row["action"] == "removed" for row in found)
    benchmarks = ", ".join(dict.fromkeys(row["benchmark"] for row in found))
    verb = "removed: " if removed else ""
    yield Step(stage, f"{verb}shares text with {len(found):,} examples of {benchmarks}", not removed, tuple(told))


def _mixed(tables: Tables, copy: Copy) -> list[Step]:
    if not tables.has("mix", "documents"):
        return []
    found = tables.rows(
        f"SELECT split, count(*) AS n FROM {tables.scan('mix', 'documents')} "
        "WHERE doc_id = ? AND source = ? AND source_id = ? GROUP BY split",
        list(copy),
    )
    if not found:
        return [Step("mix", "removed: mixture/not-drawn (its source has no share, or the share was full)", False)]
    times = f", {found[0]['n']} times" if found[0]["n"] > 1 else ""
    return [Step("mix", f"in the corpus, split {found[0]['split']}{times}")]
