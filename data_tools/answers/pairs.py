"""Duplicates side by side: what was removed, what stays in its place, and where the two part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data_tools.answers.removals import draw, shorten
from data_tools.answers.tables import Tables

#: Characters of a text that are searched for the first difference.
_COMPARED_CHARS = 20_000
#: Of what stands before the difference, shown so that a reader finds the place.
_CONTEXT_CHARS = 60


@dataclass(frozen=True)
class DuplicatePair:
    """A removed document and its representative."""

    doc_id: str
    source: str
    source_id: str
    representative: str
    representative_source: str
    """Source and id of the representative; empty where it stands in an index of earlier documents."""
    reason: str
    similarity: float
    cluster_size: int
    beginning: str
    representative_beginning: str
    parts_at: int | None
    """Character from which on the two texts differ; None if they don't within the part that was compared."""
    difference: str = ""
    representative_difference: str = ""
    """Both texts around that character."""


def duplicate_pairs(
    tables: Tables,
    n: int,
    chars: int,
    *,
    by: Literal["similarity", "draw"] = "draw",
    where: str = "reason LIKE '%near'",
    parameters: Sequence[Any] = (),
) -> tuple[DuplicatePair, ...]:
    """Up to ``n`` near duplicates: those of the lowest similarity, or a draw that is the same every time."""
    if not n or not tables.has("deduplicate", "duplicates"):
        return ()
    order = f"exact_similarity, {draw(0)}" if by == "similarity" else draw(0)
    found = tables.rows(
        "SELECT doc_id, source, source_id, representative, reason, exact_similarity, cluster_size "
        f"FROM {tables.scan('deduplicate', 'duplicates')} WHERE {where} ORDER BY {order} LIMIT {int(n)}",
        parameters,
    )
    return pairs_of(tables, found, chars)


def pairs_of(tables: Tables, duplicates: list[dict[str, Any]], chars: int) -> tuple[DuplicatePair, ...]:
    """Rows of ``duplicates/`` with both texts."""
    before = tables.before("deduplicate")
    ids = sorted({row[name] for row in duplicates for name in ("doc_id", "representative")})
    texts: dict[str, dict[str, Any]] = {}
    if before is not None and ids:
        # Of several copies of the representative it is the one that stayed that is named.
        kept = "deduplicate" if tables.has("deduplicate", "documents") else before
        for stage in (before, kept):
            for row in tables.rows(
                f"SELECT doc_id, arg_min(concat(source, '/', source_id), concat(source, '/', source_id)) AS place, "
                f"any_value(left(text, {_COMPARED_CHARS})) AS text FROM {tables.scan(stage, 'documents')} "
                f"WHERE doc_id IN ({', '.join('?' * len(ids))}) GROUP BY doc_id",
                ids,
            ):
                texts[row["doc_id"]] = row
    return tuple(_pair(row, texts, chars) for row in duplicates)


def _pair(row: dict[str, Any], texts: dict[str, dict[str, Any]], chars: int) -> DuplicatePair:
    ours = texts.get(row["doc_id"], {}).get("text") or ""
    theirs = texts.get(row["representative"], {}).get("text") or ""
    # A part begins anywhere in its whole: that they differ at once says nothing.
    at = parting(ours, theirs) if ours and theirs and row["reason"] != "contained" else None
    start = max(0, (at or 0) - _CONTEXT_CHARS)

    def around(text: str) -> str:
        return "" if at is None else ("… " if start else "") + shorten(text[start:], chars)

    return DuplicatePair(
        row["doc_id"],
        row["source"],
        row["source_id"],
        row["representative"],
        texts.get(row["representative"], {}).get("place", ""),
        row["reason"],
        row["exact_similarity"],
        row["cluster_size"],
        shorten(ours, chars),
        shorten(theirs, chars) if theirs else "(in an index of earlier documents)",
        at,
        around(ours),
        around(theirs),
    )


def likeness(reason: str, similarity: float) -> str:
    """In words, before the name of the representative."""
    return f"{similarity:.3f} of it stands in" if reason == "contained" else f"similarity {similarity:.3f} to"


def parting(one: str, other: str) -> int | None:
    """The first character at which two texts differ; None if they are equal as far as both go."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return None if len(one) == len(other) else min(len(one), len(other))
