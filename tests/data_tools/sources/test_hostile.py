"""Two hundred inputs that were made to do harm, or that were broken on their way: none crashes or hangs ingest or
fills the memory, each record is accounted for, and what is good comes out, twice the same.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_tools.sources import KINDS
from tests.data_tools.sources.hostile import Case, all_cases

#: For one input, read twice: what hangs, hangs for longer. Most take a few hundredths of a second.
SECONDS = 60
#: The process with Arrow and all parsers takes about 200; documents have at most 1 MB here.
MEGABYTES = 600

CASES = all_cases()


class Worker:
    """Started again whenever it crashed or had to be killed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        if self.process is None:
            command = [sys.executable, "-m", "tests.data_tools.sources.hostile_worker"]
            root = Path(__file__).parents[3]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, bufsize=0, env={**os.environ}
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
            if not ready:
                self.stop()
                pytest.fail(f"no answer in {SECONDS} seconds")
            read = os.read(self.process.stdout.fileno(), 1 << 20)
            if not read:
                code = self.process.wait()
                self.process = None
                pytest.fail(f"ingest crashed (exit code {code}); its words are on stderr")
            answer += read
        return list(json.loads(answer))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def _missing(kind: str) -> bool:
    return importlib.util.find_spec(KINDS[kind].split(":")[0]) is None


def test_there_are_enough() -> None:
    assert len(CASES) >= 200


def _parameters() -> list[Any]:
    return [
        pytest.param(case, id=case.name.replace("/", "-"), marks=[pytest.mark.slow] if case.slow else [])
        for case in CASES
    ]


@pytest.mark.parametrize("case", _parameters())
def test_hostile_input(case: Case, worker: Worker, tmp_path: Path) -> None:
    if _missing(case.kind):
        pytest.skip(f"there is no source of kind {case.kind} yet")
    folder = tmp_path / "in"
    folder.mkdir()
    case.make(folder)
    (tmp_path / "beside.txt").write_text("untouched")
    hostile = {"kind": case.kind, "name": "hostile", "path": str(folder / case.path) if case.path else str(folder)}
    beside = {"kind": "text", "name": "beside", "path": str(tmp_path / "beside.txt")}
    request = {"sources": [{**hostile, **case.options}, beside], "out": str(tmp_path / "out")}
    answers = worker.ask({**request, "times": 2 if case.twice else 1})
    first = answers[0]
    counters = first["counters"]
    assert first["beside"] == ["untouched"]
    assert counters["documents_in"] == counters["documents_out"] + counters.get("quarantined", 0)
    assert (first["documents"], len(first["reasons"])) == (counters["documents_out"], counters.get("quarantined", 0))
    assert set(case.good) <= set(first["texts"]), first["reasons"]
    assert len(first["reasons"]) >= case.bad, first["texts"]
    assert "reader-error" not in first["reasons"], "a reader raised what it should have handled"
    assert {answer["digest"] for answer in answers} == {first["digest"]}
    assert max(answer["peak"] for answer in answers) < MEGABYTES
