"""How many documents came through each stage, and why the others didn't: from the stages' counters to tables.

A stage counts ``documents_in``, ``documents_out``, ``bytes_in``, ``bytes_out``, ``removed.<reason>``, and where it is
known the same by source: ``source.<name>.documents_out``, ``source.<name>.bytes_out``,
``source.<name>.removed.<reason>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Stages that documents pass through, in the order of the chain, and what a person calls them.
STAGES = {
    "ingest": "read",
    "annotate": "measured",
    "select": "filtered",
    "clean": "edited",
    "deduplicate": "deduplicated",
    "decontaminate": "kept apart from the evaluation sets",
    "mix": "mixed and split",
}

Counters = Mapping[str, int | float | str]
FunnelRow = dict[str, str | int]

# A source's name may hold dots itself.
_BY_SOURCE = re.compile(
    r"source\.(?P<name>.+?)\.(?P<counter>documents_out|bytes_out|quarantined|removed\.(?P<reason>.+))"
)


def funnel(counters: Mapping[str, Counters]) -> list[FunnelRow]:
    """One row for each stage of the chain that has counters.

    Args:
        counters: stage name to what its ``run`` returned.

    Returns:
        Rows with ``stage``, ``step`` (in words), ``documents`` and ``bytes`` that came out, ``removed`` documents, and
        ``reasons`` ("language/other 16,194, gopher/short 203"; several can apply to one document).
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


def removal_reasons(counts: Counters) -> dict[str, int]:
    """The ``removed.<reason>`` counters that aren't zero, most frequent first."""
    reasons = {
        name.removeprefix("removed."): int(count)
        for name, count in counts.items()
        if name.startswith("removed.") and int(count)
    }
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


@dataclass
class SourceCounts:
    """What one stage left of one source, and why the rest went."""

    documents: int = 0
    bytes: int = 0
    removed: dict[str, int] = field(default_factory=dict)


def by_source(counters: Mapping[str, Counters]) -> dict[str, dict[str, SourceCounts]]:
    """Source to stage to its counts, for the stages that tell their sources apart. Stages are in the chain's order,
    sources in their names'. A source of which a stage left nothing has a row of zeros there."""
    found: dict[str, dict[str, SourceCounts]] = {}
    for stage in STAGES:
        for name, count in counters.get(stage, {}).items():
            match = _BY_SOURCE.fullmatch(name)
            if match is None:
                continue
            counts = found.setdefault(match["name"], {}).setdefault(stage, SourceCounts())
            if match["counter"] == "documents_out":
                counts.documents = int(count)
            elif match["counter"] == "bytes_out":
                counts.bytes = int(count)
            elif match["reason"] and int(count):
                counts.removed[match["reason"]] = int(count)
    telling = [stage for stage in STAGES if any(stage in stages for stages in found.values())]
    return {source: {stage: found[source].get(stage, SourceCounts()) for stage in telling} for source in sorted(found)}
