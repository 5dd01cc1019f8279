from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling, Completed, Crashed, Failed, Running, State

from flows import worker

RUN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else signal.default_int_handler)
Path(sys.argv[2], "started").touch()
try:
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    print("saving", flush=True)  # dies here of a broken pipe if nobody holds the other end
    Path(sys.argv[2], "saved").touch()
"""

WORKER = """
import os, subprocess, sys
run = [sys.executable, "-c", os.environ["RUN"], *sys.argv[1:]]
child = subprocess.Popen(run, stdout=subprocess.PIPE, start_new_session=True)
child.wait()
child.stdout.read()
"""


def start(folder: Path, manner: str, flow_run: UUID) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RUN": RUN, "PREFECT__FLOW_RUN_ID": str(flow_run)}
    process = subprocess.Popen([sys.executable, "-c", WORKER, manner, str(folder)], env=environment)
    deadline = time.monotonic() + 30
    while not (folder / "started").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


def test_a_stopped_worker_lets_its_runs_save_and_says_which_they_were(tmp_path: Path) -> None:
    flow_run = uuid4()
    process = start(tmp_path, "obedient", flow_run)
    (run,) = psutil.Process(process.pid).children()
    assert worker.stop(process, grace=30) == [flow_run]
    assert (tmp_path / "saved").exists()
    assert worker.is_gone(run)
    assert process.returncode is not None


def test_a_run_that_does_not_leave_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = start(tmp_path, "stubborn", uuid4())
    (run,) = psutil.Process(process.pid).children()
    try:
        worker.stop(process, grace=0.3)
        assert "1 runs did not leave in time" in capsys.readouterr().out
        assert process.returncode is not None
    finally:
        run.kill()


class Client:
    """Holds flow runs as the server does, and takes what it is told."""

    def __init__(self, *runs: FlowRun) -> None:
        self.runs = {run.id: run for run in runs}
        self.states: dict[UUID, State] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, run: UUID) -> FlowRun:
        return self.runs[run]

    def set_flow_run_state(self, run: UUID, state: State, force: bool = False) -> None:
        assert force  # the rules of the server would refuse to bring a crashed run back
        self.states[run] = state


def flow_run(state: State, run_count: int = 1) -> FlowRun:
    return FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        name="a",
        state=state,
        state_type=state.type,
        state_name=state.name,
        run_count=run_count,
    )


@pytest.mark.parametrize(
    ("state", "run_count", "becomes"),
    [
        (Running(), 1, StateType.SCHEDULED),
        (Running(), worker.MAX_STARTS, StateType.CRASHED),
        (Cancelling(), 1, StateType.CANCELLED),
    ],
)
def test_an_orphan_gets_a_state_that_is_true(state: State, run_count: int, becomes: StateType) -> None:
    run = flow_run(state, run_count)
    client: Any = Client(run)
    line = worker.adopt(client, run, wait=0)
    assert client.states[run.id].type == becomes
    assert client.states[run.id].name in line


def test_only_what_was_interrupted_is_queued_again(monkeypatch: pytest.MonkeyPatch) -> None:
    still, crashed, interrupted = flow_run(Running()), flow_run(Crashed()), flow_run(Failed(name="Interrupted"))
    done, failed = flow_run(Completed()), flow_run(Failed())
    client = Client(still, crashed, interrupted, done, failed)
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: client)
    worker.queue_again(list(client.runs))
    assert set(client.states) == {still.id, crashed.id, interrupted.id}
    assert {state.name for state in client.states.values()} == {"AwaitingRetry"}


def test_a_run_waits_until_its_locks_may_be_taken_over() -> None:
    run = flow_run(Running())
    client: Any = Client(run)
    worker.adopt(client, run, wait=130)
    scheduled = client.states[run.id].state_details.scheduled_time
    assert 100 < scheduled.timestamp() - time.time() <= 130
