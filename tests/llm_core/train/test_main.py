"""The trainer as a child process. (tests/system/test_training_kills.py kills it.)"""

import json
import os
import subprocess
import sys
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
