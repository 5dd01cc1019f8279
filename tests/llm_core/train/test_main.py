"""The trainer as a child process, killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llm_core.train.loop import Trained

STEPS = 120


class Child:
    def __init__(self, request: dict[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "request.json"
        path.write_text(json.dumps(request))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llm_core.train", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait(self) -> tuple[int, list[dict[str, Any]], str]:
        out, err = self.process.communicate(timeout=200)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()

    def send_when(self, path: Path, lines: int, number: int) -> None:
        """Send a signal once ``path`` has that many lines."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            if path.exists() and path.read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.005)
        self.process.send_signal(number)


def request(toy: Any, out: Path, **runtime: Any) -> dict[str, Any]:
    return {
        "stage": "pretrain",
        "config": {
            "model": toy.model.model_dump(mode="json") | {"dropout": 0.1},
            "train": {
                "steps": STEPS,
                "batch_tokens": 256,
                "eval_every": 25,
                "optimizer": {"name": "muon", "lr": 0.003},
                "schedule": {"warmup_steps": 5},
            },
        },
        "inputs": {"shards": str(toy.shards), "tokenizer": str(toy.tokenizer)},
        "out": str(out),
        "runtime": {"device": "cpu", "threads": 1, "log_every": 1, "micro_batch_rows": 3, **runtime},
    }


def losses(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time" and not k.startswith("perf/")} for line in lines]


def events(out: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (out / "events.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_killed_and_terminated_again_and_again_it_ends_with_the_same_bits(toy: Any, tmp_path: Path) -> None:
    code, messages, stderr = Child(request(toy, tmp_path / "whole"), tmp_path / "a").wait()
    assert code == 0, stderr
    assert messages[-1]["counters"]["steps"] == STEPS
    assert any("progress" in message for message in messages)

    broken = tmp_path / "broken"
    demand = request(toy, broken, checkpoint_every_seconds=0.05)
    for lines in (7, 41):
        child = Child(demand, tmp_path / "b")
        child.send_when(broken / "metrics.jsonl", lines, signal.SIGKILL)
        assert child.wait()[0] == -signal.SIGKILL
    child = Child(demand, tmp_path / "b")
    child.send_when(broken / "metrics.jsonl", 80, signal.SIGTERM)
    code, messages, stderr = child.wait()
    assert code == 75, stderr
    assert messages[-1]["error"]["exit_code"] == 75 and messages[-1]["error"]["type"] == "Preempted"
    assert "Traceback" not in stderr
    assert events(broken)[-1] == "preempted"
    code, _, stderr = Child(demand, tmp_path / "b").wait()
    assert code == 0, stderr

    assert events(broken).count("resumed") >= 2
    assert losses(broken) == losses(tmp_path / "whole")
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (broken, tmp_path / "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_errors_have_their_exit_codes_and_no_traceback(toy: Any, tmp_path: Path) -> None:
    too_long = request(toy, tmp_path / "out")
    too_long["config"]["model"]["context_length"] = 100_000
    code, messages, stderr = Child(too_long, tmp_path / "a").wait()
    assert code == 78 and "context" in messages[-1]["error"]["message"] and "Traceback" not in stderr

    code, messages, _ = Child({"stage": "guess"}, tmp_path / "b").wait()
    assert code == 78 and messages[-1]["error"]["exit_code"] == 78


def test_counters_are_flat() -> None:
    trained = Trained(3, 40, 1.5, {"loss": 1.25}, 99.94, 0, 0)
    assert trained.counters()["validation_loss"] == 1.25
    assert all(isinstance(value, int | float | str) for value in trained.counters().values())
