"""Prefect's API inside a run: it outlives Ctrl-C until the run has been recorded, and never outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.embedded import VARIABLE, embedded_plan, embedded_prefect

PROGRAM = """
import sys, time
from pathlib import Path
from flows.embedded import embedded_prefect
from flows.environment import prepare_environment
from flows.servers import answers
import os
folder = Path(sys.argv[1])
prepare_environment(folder)
try:
    with embedded_prefect(folder) as wait:
        health = os.environ["PREFECT_API_URL"] + "/health"
        wait()
        print("ready", flush=True)
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(1.0)
            print("still there" if answers(health) else "gone", flush=True)
            raise
except KeyboardInterrupt:
    print("done" if not answers(health) else "left behind", flush=True)
"""


def test_a_server_that_is_set_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "http://prefect:4200/api")
    with embedded_prefect(tmp_path) as wait:
        wait()
        assert os.environ[VARIABLE] == "http://prefect:4200/api"
    assert list(tmp_path.iterdir()) == []


def test_the_server_keeps_to_this_machine_and_shows_no_pages(tmp_path: Path) -> None:
    plan = embedded_plan(tmp_path, 12345, {"PREFECT_HOME": "here"})
    assert plan.command[plan.command.index("--host") + 1] == "127.0.0.1"
    assert plan.environment["PREFECT_UI_ENABLED"] == "0"
    assert plan.environment["PREFECT_HOME"] == "here"


def begin(tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
def test_ctrl_c_reaches_the_server_last(tmp_path: Path) -> None:
    process, family = begin(tmp_path)
    assert family
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    said, _ = process.communicate(timeout=60)
    assert said.split("\n")[:2] == ["still there", "done"]
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a child that its parent died")
def test_kill_9_leaves_no_server(tmp_path: Path) -> None:
    process, family = begin(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(family, timeout=30)[1] == []
