"""Several processes under torchrun: what they come to is told, and nobody is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.train.launch import summary

PROCESSES = 2


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ([75, 75], 75),
        ([75, 76], 76),  # one had no memory, the other was told to stop
        ([1, 78], 78),
        ([1, -9], 137),  # one was killed, the other lost it
        ([1, 75], 1),
    ],
)
def test_the_most_telling_exit_code_counts(codes: list[int], told: int) -> None:
    assert summary(codes) == summary(reversed(codes)) == told


def request(toy: Any, out: Path) -> dict[str, Any]:
    return {
        "stage": "pretrain",
        "config": {
            "model": toy.model.model_dump(mode="json"),
            "train": {"steps": 100_000, "batch_tokens": 256, "eval_every": 50_000},
        },
        "inputs": {"shards": str(toy.shards), "tokenizer": str(toy.tokenizer)},
        "out": str(out),
        "runtime": {"device": "cpu", "threads": 1, "log_every": 1, "parallel": {"processes": PROCESSES}},
    }


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def events(out: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (out / "events.jsonl").read_text().splitlines()]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_stops_politely_and_goes_on_and_a_killed_process_brings_all_down(toy: Any, tmp_path: Path) -> None:
    out, path = tmp_path / "out", tmp_path / "request.json"
    path.write_text(json.dumps(request(toy, out)))

    def start(steps: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "llm_core.train.launch", str(PROCESSES), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        log = out / "metrics.jsonl"
        wait_until(lambda: process.poll() is not None or (log.exists() and log.read_bytes().count(b"\n") >= steps))
        return process

    process = start(3)
    process.send_signal(signal.SIGTERM)
    told, complaints = process.communicate(timeout=300)
    assert process.returncode == 75, complaints.decode()[-3000:]
    messages = [json.loads(line) for line in told.splitlines()]  # nothing else is on stdout, from whichever process
    assert messages[-1]["error"]["exit_code"] == 75
    assert events(out)[-1] == "preempted"
    before = sum(1 for _ in (out / "metrics.jsonl").open())

    process = start(before + 1)
    ranks = children_of(process.pid)
    assert len(ranks) == PROCESSES
    os.kill(ranks[1], signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGKILL
    wait_until(lambda: not any(is_alive(pid) for pid in ranks))
    assert "resumed" in events(out)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > before
