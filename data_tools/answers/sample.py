"""Documents to look at: some that were removed for a reason, that were edited, that were never read, or that stayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_tools.answers.pairs import duplicate_pairs, likeness, parting
from data_tools.answers.removals import (
    Example,
    beginnings,
    draw,
    examples,
    quarantined,
    reason_counts,
    shorten,
    signals_of,
)
from data_tools.answers.tables import CHAIN, Tables
from data_tools.answers.why import EDITING
from data_tools.errors import DataError


def reasons(tables: Tables) -> list[tuple[str, str, int]]:
    """(stage, reason, documents) of everything that can be asked for, in the chain's order, the most frequent first."""
    counted: dict[tuple[str, str], int] = {}
    for row in reason_counts(tables):
        key = row["stage"], row["reason"]
        counted[key] = counted.get(key, 0) + row["documents"]
    for stage in EDITING:
        if tables.has(stage, "edits"):
            for row in tables.rows(
                "SELECT change, count(*) AS n FROM (SELECT unnest(map_keys(changes)) AS change "
                f"FROM {tables.scan(stage, 'edits')}) GROUP BY change"
            ):
                counted.setdefault((stage, row["change"]), row["n"])
    ordered = sorted(counted.items(), key=lambda item: (CHAIN.index(item[0][0]), -item[1], item[0]))
    return [(stage, reason, n) for (stage, reason), n in ordered]


def sample(
    tables: Tables,
    reason: str,
    *,
    stage: str | None = None,
    source: str | None = None,
    n: int = 10,
    seed: int = 0,
    chars: int = 400,
) -> dict[tuple[str, str], list[Example]]:
    """(stage, reason) to up to ``n`` documents; the same ones for the same seed.

    Args:
        reason: as it stands in the funnel, or a rule set (``gopher``) for all reasons of that.
        stage: of this stage only.
        source: of this source only.

    Raises:
        DataError: nothing left for this reason; the message lists the reasons that there are.
    """
    there = [(s, r) for s, r, _ in reasons(tables) if r == reason or r.startswith(f"{reason}/")]
    there = [(s, r) for s, r in there if stage is None or s == stage]
    if not there:
        raise unknown_reason(tables, reason, stage)
    found: dict[tuple[str, str], list[Example]] = {}
    for where, why in there:
        if where == "ingest":
            drawn = quarantined(tables, n, chars, seed=seed, source=source).get(why, [])
        else:
            condition = "stage = ? AND reason = ?" + (" AND source = ?" if source is not None else "")
            asked = [where, why, *([source] if source is not None else [])]
            lost = examples(tables, n, chars, seed=seed, where=condition, parameters=asked)
            drawn = lost.get((where, why), [])
            if where == "deduplicate":
                drawn = [_beside_representative(tables, one, chars) for one in drawn]
            drawn = drawn or _edited(tables, where, why, source, n, chars, seed)
        found[where, why] = drawn
    return found


def kept(
    tables: Tables, *, stage: str | None = None, source: str | None = None, n: int = 10, seed: int = 0, chars: int = 400
) -> list[Example]:
    """Up to ``n`` documents that ``stage`` (the last one there is) left.

    Raises:
        DataError: that stage has left no documents, or hasn't run.
    """
    where = stage or tables.last()
    if where is None or not tables.has(where, "documents"):
        raise DataError(
            f"stage {where} has no documents here", fix=f"Stages with documents: {', '.join(_with(tables))}."
        )
    condition = "repetition = 0" if where == "mix" else "true"
    condition += " AND source = ?" if source is not None else ""
    (row,) = tables.rows(
        f"SELECT arg_min({{doc_id: doc_id, source: source, source_id: source_id, n_bytes: n_bytes, "
        f"beginning: left(text, {chars + 1})}}, {draw(seed)}, {int(n)}) AS drawn "
        f"FROM {tables.scan(where, 'documents')} WHERE {condition}",
        [source] if source is not None else [],
    )
    drawn: list[dict[str, Any]] = row["drawn"] or []
    measured = signals_of(tables, [one["doc_id"] for one in drawn])
    return [
        Example(
            one["doc_id"],
            one["source"],
            one["source_id"],
            one["n_bytes"],
            shorten(one["beginning"], chars),
            {name: value for name, value in measured.get(one["doc_id"], {}).items() if value is not None},
        )
        for one in drawn
    ]


def unknown_reason(tables: Tables, reason: str, stage: str | None) -> DataError:
    """What to say where there is nothing: every reason that there is, with its count."""
    there = [f"{r} ({s}, {n:,})" for s, r, n in reasons(tables)]
    return DataError(
        f"nothing was removed, edited or quarantined for {reason!r}" + (f" by {stage}" if stage else ""),
        fix=f"Reasons here: {', '.join(there)}." if there else "Nothing was removed at all.",
    )


def _with(tables: Tables) -> Sequence[str]:
    return [stage for stage in CHAIN if tables.has(stage, "documents")]


def _beside_representative(tables: Tables, one: Example, chars: int) -> Example:
    pairs = duplicate_pairs(
        tables,
        1,
        chars,
        where="doc_id = ? AND source = ? AND source_id = ?",
        parameters=(one.doc_id, one.source, one.source_id),
    )
    if not pairs:
        return one
    pair = pairs[0]
    place = pair.representative_source or "in an index"
    note = f"{likeness(pair.reason, pair.similarity)} {pair.representative} ({place}): {pair.representative_beginning}"
    return Example(one.doc_id, one.source, one.source_id, one.n_bytes, one.beginning, {}, note)


def _edited(
    tables: Tables, stage: str, change: str, source: str | None, n: int, chars: int, seed: int
) -> list[Example]:
    """Documents that a stage edited in this way: the place of the first difference, before and after."""
    if not tables.has(stage, "edits"):
        return []
    condition = "list_contains(map_keys(changes), ?)" + (" AND source = ?" if source is not None else "")
    (row,) = tables.rows(
        "SELECT arg_min({doc_id: doc_id, source: source, source_id: source_id, new_doc_id: new_doc_id, "
        f"bytes_before: bytes_before, times: changes[?]}}, {draw(seed)}, {int(n)}) AS drawn "
        f"FROM {tables.scan(stage, 'edits')} WHERE {condition}",
        [change, change, *([source] if source is not None else [])],
    )
    drawn: list[dict[str, Any]] = row["drawn"] or []
    before = beginnings(tables, stage, [one["doc_id"] for one in drawn], 100_000)
    made = [one["new_doc_id"] for one in drawn if one["new_doc_id"]]
    after = beginnings(tables, stage, made, 100_000, after=True)
    return [_edit(one, before, after, chars) for one in drawn]


def _edit(
    one: dict[str, Any], before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]], chars: int
) -> Example:
    _, old = before.get(one["doc_id"], (0, ""))
    _, new = after.get(one["new_doc_id"] or "", (0, ""))
    at = max(0, (parting(old, new) or 0) - 40)
    times = one["times"][0] if isinstance(one["times"], list) else one["times"]
    became = f"became {one['new_doc_id']}: {shorten(new[at:], chars)}" if one["new_doc_id"] else "nothing was left"
    note = f"{times:,} times; {became}"
    return Example(
        one["doc_id"], one["source"], one["source_id"], one["bytes_before"], shorten(old[at:], chars), {}, note
    )
