"""The record of a run can be read at any time, and says what is true at that time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.run_record import RunRecord, StageRecord, all_runs, newest


def stage() -> StageRecord:
    return StageRecord(name="mix", title="Mix", fingerprint="a" * 64, path="/x", action="run")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, "small", {"pretrain": {"steps": 3}}, stages=[stage()])
    record.stage("mix").status = "completed"
    record.stage("mix").counters = {"documents": 3, "loss": 0.5, "best": "a"}
    record.status, record.finished = "completed", datetime.now(UTC)
    record.save()
    loaded = RunRecord.load(record.path)
    assert loaded == record == RunRecord.load(record.path.parent)
    assert loaded.stage("mix").counters == {"documents": 3, "loss": 0.5, "best": "a"}
    with pytest.raises(KeyError):
        loaded.stage("pretrain")


def test_a_status_that_doesnt_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        stage().status = "nearly"  # type: ignore[assignment]


def test_the_newest_run_is_the_one_that_began_last(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    first = RunRecord.create(tmp_path, "first", {})
    second = RunRecord.create(tmp_path, "second", {})
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    found = newest(tmp_path)
    assert found is not None and found.run_id == second.run_id
    assert [run.run_id for run in all_runs(tmp_path)] == [first.run_id, second.run_id]
