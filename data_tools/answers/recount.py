"""The stages' counters, counted again from the tables that they left: what the data card is made from.

A number on the card is therefore a number that anybody can count in the Parquet files beside it.
"""

from __future__ import annotations

from collections import Counter

from data_tools.answers.removals import reason_counts
from data_tools.answers.tables import CHAIN, Tables


def recount(tables: Tables) -> dict[str, dict[str, int]]:
    """Stage to ``documents_in``, ``documents_out``, ``bytes_in``, ``bytes_out``, ``removed.<reason>``, and the last
    three by source. Of the mixture, each document counts once, however often it is repeated."""
    counted: dict[str, Counter[str]] = {}
    came: tuple[int, int] | None = None
    for stage in CHAIN:
        if not tables.has(stage, "documents"):
            continue
        counts = counted.setdefault(stage, Counter())
        once = "WHERE repetition = 0" if stage == "mix" else ""
        for row in tables.rows(
            f"SELECT source, count(*) AS documents, sum(n_bytes)::BIGINT AS bytes "
            f"FROM {tables.scan(stage, 'documents')} {once} GROUP BY source ORDER BY source"
        ):
            counts[f"source.{row['source']}.documents_out"] = row["documents"]
            counts[f"source.{row['source']}.bytes_out"] = row["bytes"]
            counts["documents_out"] += row["documents"]
            counts["bytes_out"] += row["bytes"]
        stays = counts["documents_out"], counts["bytes_out"]
        counts["documents_in"], counts["bytes_in"] = came or stays
        came = stays
    for row in reason_counts(tables):
        counts = counted.setdefault(row["stage"], Counter())
        counts[f"removed.{row['reason']}"] += row["documents"]
        counts[f"source.{row['source']}.removed.{row['reason']}"] += row["documents"]
        if row["stage"] == "ingest":
            counts["documents_in"] += row["documents"]
    return {stage: dict(counts) for stage, counts in counted.items()}
