"""`groundup watch`: what it reads from logs that grow, are cut, or are half-written, and what it shows."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from flows.lineage.lock import ArtifactLock
from flows.training_view import LinesTail, TrainingView, drawn


def append(path: Path, *lines: dict[str, Any], end: str = "") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.write(end)


def metric(step: int, loss: float | None, **more: float) -> dict[str, Any]:
    return {"step": step, "tokens": step * 100, "time": 1000.0 + 2 * step, "train/loss": loss, **more}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """An artifact on its way: 40 of 100 steps."""
    folder = tmp_path / "artifacts" / "pretrain" / "0123456789ab"
    folder.mkdir(parents=True)
    append(folder / "events.jsonl", {"time": 1000.0, "step": 0, "event": "started", "steps": 100})
    lines = [metric(step, 8 / step, **{"train/grad_norm": 1.0, "perf/mfu": 0.412}) for step in range(1, 41)]
    lines.insert(20, {"step": 20, "tokens": 2000, "time": 1040.5, "val/loss": 0.7, "val/bits_per_byte": 1.5})
    lines.append({"step": 40, "tokens": 4000, "time": 1090.0, "val/loss": 0.9, "val/bits_per_byte": 1.9})
    append(folder / "metrics.jsonl", *lines, end='{"step": 41, "tok')
    return folder


def frame(view: TrainingView, width: int = 100, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(view.render(width=width, **options))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def line_with(word: str, lines: list[str]) -> str:
    return next(line for line in lines if word in line)


def test_a_frame_tells_all(training: Path) -> None:
    append(
        training / "events.jsonl",
        *({"time": 1000.0, "step": step, "event": "checkpoint", "path": "x"} for step in (10, 20)),
        {"time": 1000.0, "step": 33, "event": "spike_skipped", "batch": "\x1b[31m[red]33"},
    )
    lock = ArtifactLock(training)
    lock.acquire()
    (training / "unfinished.json").write_text("{}")
    view = TrainingView(training)
    view.refresh()
    lines = frame(view)
    lock.release()
    assert lines[0] == (
        "pretrain/0123456789ab  training  step 40 of 100 (40%)  4,000 tokens  2 min 00 s left"  # 2 s a step
    )
    assert line_with("loss 0.2", lines) == "loss 0.2000"
    assert line_with("validation loss", lines).split()[2] == "0.9"
    assert line_with("validation loss", lines).endswith("best 0.7 at step 20")
    assert "41.2%" in line_with("mfu", lines)
    assert "▁" in line_with("gradient norm", lines)
    assert not any("step       10" in line for line in lines), "of checkpoints in a row the last one is told"
    assert line_with("step       20", lines).endswith("checkpoint")
    assert line_with("spike", lines).endswith("spike skipped  batch [red]33")
    assert view.status() == "stopped", "its writer has left"


def test_a_narrow_terminal_without_unicode(training: Path) -> None:
    view = TrainingView(training)
    view.refresh()
    lines = frame(view, width=50, utf8=False)
    curve = "\n".join(line for line in lines if "━" not in line and "╺" not in line)  # the bar is rich's own
    assert curve.isascii() and all(len(line) <= 50 for line in lines)


def test_nothing_and_half_of_something_are_shown_as_such(tmp_path: Path) -> None:
    view = TrainingView(tmp_path)
    view.refresh()
    assert frame(view)[0].endswith("  stopped") and view.status() == "stopped"
    (tmp_path / "metrics.jsonl").write_bytes(b'\xff\x00{"step":\n[1]\n{"step": "x"}\n{"step": 3, "train/loss": null}\n')
    (tmp_path / "events.jsonl").write_text('{"event": "started"}\nnull\n{"ev')
    view.refresh()
    lines = frame(view)
    assert "step 3" in lines[0] and view.series["train/loss"].values == [None]
    assert view.status() == "training", "outside of a workspace what was written just now counts"


def test_lines_are_told_once_and_again_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = LinesTail(path)
    assert tail.read() == (False, [])
    append(path, {"a": 1}, {"a": 2}, end='{"a":')
    assert tail.read() == (False, [{"a": 1}, {"a": 2}])
    assert tail.read() == (False, [])
    append(path, end=" 3}\n")
    assert tail.read() == (False, [{"a": 3}])
    path.write_text('{"a": 1}\n{"a": 9}\n{"a": 8}\n{"a": 7}\n')  # cut and written on, to more than it had
    assert tail.read() == (True, [{"a": 1}, {"a": 9}, {"a": 8}, {"a": 7}])
    path.unlink()
    assert tail.read() == (True, [])


def test_a_resume_takes_back_what_it_writes_anew(training: Path) -> None:
    view = TrainingView(training)
    view.refresh()
    kept = (training / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:10]
    (training / "metrics.jsonl").write_bytes(b"".join(kept))
    append(training / "metrics.jsonl", metric(11, 5.0))
    append(training / "events.jsonl", {"time": 1.0, "step": 10, "event": "resumed"})
    view.refresh()
    assert view.step == 11 and view.series["train/loss"].steps == list(range(1, 12))
    assert view.steps == 100 and [event["event"] for event in view.events] == ["started", "resumed"]


def test_curves_are_drawn_to_scale() -> None:
    assert drawn([0, 0.5, 1], 0, 1, 1, utf8=True) == ["▁▅█"]
    assert drawn([0, 1], 0, 1, 2, utf8=True) == [" █", "▁█"]
    assert drawn([3, 3], 3, 3, 1, utf8=True) == ["▁▁"]
    assert drawn([9, -9], 0, 1, 1, utf8=False) == ["#."], "what lies outside is drawn at the edge"


def test_watch_finds_the_training_that_is_meant(training: Path, tmp_path: Path) -> None:
    def once(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["watch", "--once", "-w", str(tmp_path), *arguments])
        return result.exit_code, result.output

    for ref in ([], ["pretrain"], ["pretrain/0123"], ["0123456789abcdef"], [str(training)]):
        code, output = once(*ref)
        assert code == 0 and "pretrain/0123456789ab" in output, ref
    other = tmp_path / "artifacts" / "classifier" / "ffff00000000"
    other.mkdir(parents=True)
    append(other / "metrics.jsonl", metric(1, 1.0))
    assert "classifier/ffff" in once()[1], "the one written last"
    lock = ArtifactLock(training)
    lock.acquire()
    assert "pretrain/0123" in once()[1], "the one that runs"
    lock.release()
    code, output = once("assistant")
    assert code != 0 and "no training 'assistant'" in output


def test_watch_lives_on_a_terminal_and_ends_with_the_training(training: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flows.cli", "watch", str(training), "--every", "0.1"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40", "PYTHONUTF8": "1"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while b"training" not in seen:
            seen += os.read(ours, 4096)
        append(training / "events.jsonl", {"time": time.time(), "step": 100, "event": "finished"})
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
    finally:
        process.kill() if process.poll() is None and b"finished" not in seen else None
    assert process.wait(30) == 0
    assert b"finished" in seen and b"Traceback" not in seen
