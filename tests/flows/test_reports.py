"""Reports say what happened, and their troubles are nobody else's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from flows.lineage.manifest import Manifest
from flows.reports import courtesy, duplicate_rows, funnel_rows, reason_rows, validation_curve


def made_by(stage: str, counters: dict[str, int | float | str]) -> Manifest:
    now = datetime.now(UTC)
    return Manifest(
        stage=stage,
        version=1,
        fingerprint="a" * 64,
        config={},
        inputs=(),
        outputs=(),
        counters=counters,
        provenance={},
        started=now,
        finished=now,
    )


def test_the_funnel_shows_what_each_stage_left() -> None:
    rows = funnel_rows(
        {
            "ingest": made_by("ingest", {"documents_out": 200, "bytes_out": 5_000}),
            "select": made_by("select", {"documents_in": 200, "documents_out": 50, "bytes_out": 900}),
            "mix": made_by("mix", {"note": "counts nothing"}),
        }
    )
    assert [row["stage"] for row in rows] == ["ingest", "select"]
    assert rows[1] == {"stage": "select", "documents in": 200, "documents out": 50, "kept": "25.0%", "bytes out": 900}


def test_reasons_are_told_source_by_source_in_the_order_of_the_chain() -> None:
    counters: dict[str, int | float | str] = {"source.b.removed.x": 3, "source.a.removed.x": 3, "source.a.removed.y": 9}
    rows = reason_rows(
        {"deduplicate": made_by("deduplicate", {"source.a.removed.z": 99}), "select": made_by("select", counters)}
    )
    assert [(row["stage"], row["reason"], row["source"], row["documents"]) for row in rows] == [
        ("select", "y", "a", 9),
        ("select", "x", "a", 3),
        ("select", "x", "b", 3),
        ("deduplicate", "z", "a", 99),
    ]


def test_each_pair_of_duplicates_has_one_row() -> None:
    pair = {
        **{"source": "a", "source_id": "1", "representative_source": "", "representative": "ff", "similarity": 0.75049},
        **{"beginning": "one", "representative_beginning": "other"},
    }
    rows = duplicate_rows({"duplicates": {"closest_calls": [pair], "drawn": [pair, pair | {"source_id": "2"}]}})
    assert [row["removed"] for row in rows] == ["a/1", "a/2"]
    assert rows[0]["similarity"] == 0.75 and rows[0]["kept"] == "ff"
    assert duplicate_rows({}) == []


def test_a_report_that_fails_is_only_a_line_in_the_log(caplog) -> None:  # type: ignore[no-untyped-def]
    @courtesy
    def report() -> str:
        raise ConnectionError("the API is away")

    assert report() is None
    assert "the API is away" in caplog.text


def test_the_curve_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "val/loss": 1.0} for step in range(95)]
    path.write_text("".join(json.dumps(row) + "\n" + json.dumps({"step": row["step"]}) + "\n" for row in rows))
    curve = validation_curve(path)
    assert len(curve) <= 20 and curve[-1]["step"] == 94
    assert validation_curve(tmp_path / "missing.jsonl") == []
