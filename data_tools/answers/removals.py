"""Every document that a stage removed, with its reasons, out of the tables of the whole chain.

The relation ``lost`` has a row for each reason of each removed document: ``stage``, ``reason``, ``doc_id`` (as it was
when the document came in), ``source``, ``source_id``, and ``n_bytes`` where the table tells it without a search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_tools.answers.tables import COPY, Tables
from data_tools.answers.thresholds import signals_behind

#: Reasons that no table spells out: where a stage's edits left nothing, and where mix took no more.
NOTHING_LEFT = {"clean": "clean/empty", "deduplicate": "passage/empty"}
NOT_DRAWN = "mixture/not-drawn"


@dataclass(frozen=True)
class Example:
    """One document as it came to a stage. ``note`` says what else is known, such as the position of a broken record."""

    doc_id: str
    source: str
    source_id: str
    n_bytes: int | None
    beginning: str
    signals: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def lost(tables: Tables) -> str:
    """The relation, as a subquery for FROM."""
    parts = [part for part in _parts(tables) if part]
    empty = (
        "SELECT NULL::VARCHAR AS stage, NULL::VARCHAR AS reason, NULL::VARCHAR AS doc_id, NULL::VARCHAR AS source, "
        "NULL::VARCHAR AS source_id, NULL::BIGINT AS n_bytes WHERE false"
    )
    return "(" + " UNION ALL ".join([empty, *parts]) + ")"


def _parts(tables: Tables) -> Iterator[str]:
    if tables.has("ingest", "documents") and tables.has("select", "verdicts"):
        yield (
            "SELECT 'select', unnest(v.reasons), d.doc_id, d.source, d.source_id, d.n_bytes "
            f"FROM {tables.scan('ingest', 'documents')} d JOIN {tables.scan('select', 'verdicts')} v "
            "ON d.part = v.part AND d.file_row_number = v.file_row_number WHERE NOT v.keep"
        )
    for stage, reason in NOTHING_LEFT.items():
        if tables.has(stage, "edits"):
            yield (
                f"SELECT '{stage}', '{reason}', {COPY}, bytes_before FROM {tables.scan(stage, 'edits')} "
                "WHERE new_doc_id IS NULL"
            )
    if tables.has("deduplicate", "duplicates"):
        yield (
            f"SELECT 'deduplicate', concat(reason, '-duplicate'), {COPY}, NULL "
            f"FROM {tables.scan('deduplicate', 'duplicates')}"
        )
    if tables.has("decontaminate", "contamination"):
        yield (
            f"SELECT DISTINCT 'decontaminate', concat('contamination/', benchmark), {COPY}, NULL::BIGINT "
            f"FROM {_contaminated(tables)}"
        )
    before = tables.before("mix") if tables.has("mix", "documents") else None
    if before is not None:
        # A pair of counts costs little; the search for what is missing isn't made for nothing.
        came = tables.rows(f"SELECT count(*) AS n FROM {tables.scan(before, 'documents')}")[0]["n"]
        stayed = tables.rows(f"SELECT count(*) AS n FROM {tables.scan('mix', 'documents')} WHERE repetition = 0")
        if came != stayed[0]["n"]:
            yield (
                f"SELECT 'mix', '{NOT_DRAWN}', b.doc_id, b.source, b.source_id, b.n_bytes "
                f"FROM {tables.scan(before, 'documents')} b ANTI JOIN {tables.scan('mix', 'documents')} m "
                "ON b.doc_id = m.doc_id AND b.source = m.source AND b.source_id = m.source_id"
            )


def _contaminated(tables: Tables) -> str:
    return f"(SELECT * FROM {tables.scan('decontaminate', 'contamination')} WHERE action = 'removed')"


def reason_counts(tables: Tables) -> list[dict[str, Any]]:
    """``stage``, ``reason``, ``source``, ``documents``: for every reason that took one, quarantine included."""
    found = tables.rows(
        f"SELECT stage, reason, source, count(*) AS documents FROM {lost(tables)} "
        "GROUP BY ALL ORDER BY stage, reason, source"
    )
    if tables.has("ingest", "quarantine"):
        found += tables.rows(
            "SELECT 'ingest' AS stage, reason, source, count(*) AS documents "
            f"FROM {tables.scan('ingest', 'quarantine')} GROUP BY ALL ORDER BY reason, source"
        )
    return found


def examples(
    tables: Tables, n: int, chars: int, *, seed: int = 0, where: str = "true", parameters: Sequence[Any] = ()
) -> dict[tuple[str, str], list[Example]]:
    """(stage, reason) to up to ``n`` removed documents.

    Which ones is decided by a hash of id and seed: scattered over the corpus, and the same every time.

    Args:
        chars: of each beginning.
        where: a condition on the columns of ``lost``, with ``parameters``.
    """
    drawn = tables.rows(
        "SELECT stage, reason, arg_min({doc_id: doc_id, source: source, source_id: source_id, n_bytes: n_bytes}, "
        f"{draw(seed)}, {int(n)}) AS drawn FROM {lost(tables)} WHERE {where} GROUP BY stage, reason "
        "ORDER BY stage, reason",
        parameters,
    )
    texts = {
        stage: beginnings(
            tables, stage, [one["doc_id"] for row in drawn if row["stage"] == stage for one in row["drawn"]], chars
        )
        for stage in {row["stage"] for row in drawn}
    }
    measured = signals_of(tables, [one["doc_id"] for row in drawn if row["stage"] == "select" for one in row["drawn"]])
    found: dict[tuple[str, str], list[Example]] = {}
    for row in drawn:
        behind = signals_behind(row["reason"]) if row["stage"] == "select" else ()
        told = []
        for one in row["drawn"]:
            size, beginning = texts[row["stage"]].get(one["doc_id"], (None, ""))
            signals = measured.get(one["doc_id"], {})
            known = {name: signals[name] for name in behind if name in signals}
            told.append(Example(one["doc_id"], one["source"], one["source_id"], size, beginning, known))
        found[row["stage"], row["reason"]] = told
    return found


def draw(seed: int) -> str:
    """What rows are sorted by to draw some of them: SQL over the columns of a copy."""
    return f"md5(concat_ws('/', '{int(seed)}', doc_id, source, source_id))"


def beginnings(
    tables: Tables, stage: str, ids: Sequence[str], chars: int, *, after: bool = False
) -> dict[str, tuple[int, str]]:
    """doc_id to (bytes, beginning), of documents as they came to ``stage``, or as they left it."""
    before = stage if after and tables.has(stage, "documents") else tables.before(stage)
    if before is None or not ids:
        return {}
    found = tables.rows(
        f"SELECT doc_id, any_value(n_bytes) AS n, any_value(left(text, {int(chars) + 1})) AS beginning "
        f"FROM {tables.scan(before, 'documents')} WHERE doc_id IN ({_places(ids)}) GROUP BY doc_id",
        ids,
    )
    return {row["doc_id"]: (row["n"], shorten(row["beginning"], chars)) for row in found}


def signals_of(tables: Tables, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """doc_id (as ingested) to what was measured."""
    if not ids or not tables.has("annotate", "signals"):
        return {}
    found = tables.rows(
        f"SELECT * EXCLUDE (part, filename, file_row_number) FROM {tables.scan('annotate', 'signals')} "
        f"WHERE doc_id IN ({_places(ids)})",
        ids,
    )
    return {row.pop("doc_id"): row for row in found}


def quarantined(
    tables: Tables, n: int, chars: int, *, seed: int = 0, source: str | None = None
) -> dict[str, list[Example]]:
    """Reason to up to ``n`` records (of one source) that ingest couldn't take."""
    if not tables.has("ingest", "quarantine"):
        return {}
    drawn = tables.rows(
        "SELECT reason, arg_min({source: source, file: file, position: position, detail: detail, excerpt: excerpt}, "
        f"md5(concat_ws('/', '{int(seed)}', source, file, position)), {int(n)}) AS drawn "
        f"FROM {tables.scan('ingest', 'quarantine')} {'WHERE source = ?' if source is not None else ''} "
        "GROUP BY reason ORDER BY reason",
        [source] if source is not None else [],
    )
    return {row["reason"]: [_broken(one, chars) for one in row["drawn"]] for row in drawn}


def _broken(row: Mapping[str, str], chars: int) -> Example:
    place = f"{row['file']}, {row['position']}"
    return Example("", row["source"], place, None, shorten(row["excerpt"], chars), {}, row["detail"])


def shorten(text: str, chars: int) -> str:
    """The beginning of a text, with a mark where it goes on."""
    return text if len(text) <= chars else text[:chars].rstrip() + " …"


def _places(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
