"""How many documents came through each stage, and why the others didn't: from the stages' counters to a table."""

from __future__ import annotations

from collections.abc import Mapping

#: Stages that documents pass through, in the order of the chain, and what a person calls them.
STAGES = {
    "ingest": "read",
    "annotate": "measured",
    "select": "filtered",
    "clean": "edited",
    "deduplicate": "deduplicated",
    "decontaminate": "kept apart from the evaluation sets",
    "mix": "split",
}

FunnelRow = dict[str, str | int]


def funnel(counters: Mapping[str, Mapping[str, int | float | str]]) -> list[FunnelRow]:
    """One row for each stage of the chain that has counters.

    Args:
        counters: stage name to what its ``run`` returned.

    Returns:
        Rows with ``stage``, ``step`` (in words), ``documents`` and ``bytes`` that came out, ``removed`` documents, and
        ``reasons`` ("language 16,194, too-few-words 203"; several can apply to one document).
    """
    rows: list[FunnelRow] = []
    for stage, step in STAGES.items():
        if stage not in counters:
            continue
        counts = counters[stage]
        documents_in, documents_out = int(counts.get("documents_in", 0)), int(counts.get("documents_out", 0))
        rows.append(
            {
                "stage": stage,
                "step": step,
                "documents": documents_out,
                "bytes": int(counts.get("bytes_out", 0)),
                "removed": documents_in - documents_out,
                "reasons": ", ".join(f"{reason} {count:,}" for reason, count in removal_reasons(counts).items()),
            }
        )
    return rows


def removal_reasons(counts: Mapping[str, int | float | str]) -> dict[str, int]:
    """The ``removed.<reason>`` counters that aren't zero, most frequent first."""
    reasons = {
        name.removeprefix("removed."): int(count)
        for name, count in counts.items()
        if name.startswith("removed.") and int(count)
    }
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
