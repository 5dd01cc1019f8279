"""The end of a run: numbers with their baselines, times, places, and commands that can be copied."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.commands.summary import closing_summary, program
from flows.run_record import RunRecord, StageRecord

CARD: dict[str, Any] = {
    "language_model": {"bits_per_byte": 1.781, "baselines": {"byte_unigram": 4.5, "xz_validation": 2.69}},
    "classification": {
        "scores": {
            "pretrained": {"accuracy": 0.83, "macro_f1": 0.8},
            "from_scratch": {"accuracy": 0.7, "macro_f1": 0.6},
            "multinomial": {"accuracy": 0.818, "macro_f1": 0.747},
        }
    },
    "assistant": {"loss_before": 4.2, "loss_after": 2.1},
}


def make_record(workspace: Path, status: Any, card: Any = CARD) -> RunRecord:
    record = RunRecord.create(workspace, "tiny", {"evaluate": {"prompts": ["The city of"]}}, run_id="r1")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for name, seconds in (("mix", 0.2), ("pretrain", 130.0), ("classifier", 20.0), ("evaluate", 5.0)):
        folder = workspace / "artifacts" / name / "abc"
        (folder / "model").mkdir(parents=True)
        stage = StageRecord(name=name, title=name, fingerprint="abc", path=str(folder), action="run")
        stage.status, stage.started, stage.finished = status, began, began + timedelta(seconds=seconds)
        record.stages.append(stage)
    (workspace / "artifacts" / "evaluate" / "abc" / "scorecard.json").write_text(json.dumps(card), encoding="utf-8")
    (workspace / "artifacts" / "evaluate" / "abc" / "scorecard.md").write_text("#", encoding="utf-8")
    return record


def test_what_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GROUNDUP_WORKSPACE", raising=False)
    lines = closing_summary(make_record(tmp_path / "workspace", "completed"), seconds=161)
    assert lines == [
        "tiny: done in 2 min 41 s",
        "",
        "Scores",
        "  bits per byte (less is better)   1.781  xz 2.690, byte frequencies 4.500",
        "  accuracy (more is better)        0.830  from scratch 0.700, naive Bayes 0.818",
        "  macro-F1                         0.800  from scratch 0.600, naive Bayes 0.747",
        "  loss of the right answers        2.100  before tuning 4.200",
        "",
        "Times",
        "  pretrain 2 min 10 s, classifier 20 s, evaluate 5.0 s",
        "",
        "Where",
        "  model       workspace/artifacts/pretrain/abc/model",
        "  classifier  workspace/artifacts/classifier/abc/model",
        "  scorecard   workspace/artifacts/evaluate/abc/scorecard.md",
        "  this run    workspace/runs/r1/run.json",
        "",
        "Next",
        '  groundup generate --prompt "The city of"   # continue a text',
        '  groundup classify "A text of yours."       # label a text',
        "  groundup lineage                           # from the model down to the source files",
        "  groundup ui                                # the run in Prefect and MLflow, on localhost",
    ]


def test_all_reused(tmp_path: Path) -> None:
    lines = closing_summary(make_record(tmp_path, "reused"), seconds=8.24)
    assert lines[0] == "tiny: all 4 stages reused, in 8.2 s"
    assert "Times" not in lines


def test_another_workspace_is_part_of_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = closing_summary(make_record(tmp_path / "my work", "completed"), seconds=1)
    commands = [line for line in lines if line.startswith("  groundup")]
    assert commands and all("--workspace 'my work'" in line for line in commands)


@pytest.mark.parametrize("card", [{}, [], {"language_model": {"baselines": {}}}, {"classification": None}])
def test_a_scorecard_of_another_kind_is_left_to_its_page(tmp_path: Path, card: Any) -> None:
    lines = closing_summary(make_record(tmp_path, "completed", card), seconds=1)
    assert "Scores" not in lines
    assert any("scorecard.md" in line for line in lines)


def test_the_next_commands_can_be_typed_as_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / ".venv" / "bin" / "groundup"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [".venv/bin/groundup", "run"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == ".venv/bin/groundup"
    monkeypatch.setenv("PATH", str(command.parent))
    assert program() == "groundup"
