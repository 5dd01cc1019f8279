"""Both web interfaces start over a workspace, answer, and leave no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from flows.errors import UserError
from flows.servers import HOST, ServerPlan, port_is_free, running, start, stop
from flows.ui import choose_port, mlflow_plan, prefect_plan


def taken_port() -> socket.socket:
    listener = socket.socket()
    listener.bind((HOST, 0))
    listener.listen()
    return listener


def test_a_port_in_use_is_passed_over_or_refused() -> None:
    with taken_port() as listener:
        port = listener.getsockname()[1]
        assert not port_is_free(port)
        assert choose_port(None, port) > port
        with pytest.raises(UserError, match="in use"):
            choose_port(port, 4200)


def test_two_servers_never_get_the_same_port() -> None:
    first = choose_port(None, 20_000)
    assert choose_port(None, first, frozenset({first})) != first
    with pytest.raises(UserError):
        choose_port(first, 5000, frozenset({first}))


def test_servers_look_at_the_workspace_and_at_nothing_else(tmp_path: Path) -> None:
    elsewhere = {
        "PREFECT_API_URL": "http://elsewhere/api",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "MLFLOW_TRACKING_URI": "http://elsewhere",
    }
    prefect, mlflow = prefect_plan(tmp_path, 4200, elsewhere), mlflow_plan(tmp_path, 5000, elsewhere)
    for plan in (prefect, mlflow):
        assert "elsewhere" not in " ".join(plan.command)
        assert plan.command[plan.command.index("--host") + 1] == HOST
    assert "PREFECT_API_URL" not in prefect.environment
    assert prefect.environment["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}" in mlflow.command
    assert "MLFLOW_TRACKING_URI" not in mlflow.environment
    assert mlflow.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


#: A server as MLflow's is: a parent, and the child that does the work and doesn't care about the parent's end.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def family(tmp_path: Path, child: str) -> ServerPlan:
    command = [sys.executable, "-c", FAMILY.format(child=child)]
    return ServerPlan("Family", command, dict(os.environ), "", "http://127.0.0.1:9/", tmp_path / "family.log")


@pytest.mark.parametrize("child", ["import time; print('up', flush=True); time.sleep(600)", STUBBORN])
def test_stop_takes_the_children_along(tmp_path: Path, child: str) -> None:
    server = start(family(tmp_path, child))
    deadline = time.monotonic() + 30
    while "up" not in (told := server.plan.log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    grandchild = psutil.Process(int(next(line for line in told.split() if line.isdigit())))
    stop([server], seconds=1.0)
    assert server.process.returncode is not None
    grandchild.wait(timeout=10)


def test_a_server_that_ends_at_once_is_explained(tmp_path: Path) -> None:
    plan = ServerPlan(
        "Broken",
        [sys.executable, "-c", "raise SystemExit('no such database')"],
        dict(os.environ),
        "",
        "http://127.0.0.1:9/",
        tmp_path / "logs" / "broken.log",
    )
    with pytest.raises(UserError, match="no such database") as caught, running([plan], threading.Event()):
        pass
    assert "broken.log" in str(caught.value)


@pytest.mark.slow
def test_both_servers_answer_and_are_gone_after_sigterm(tmp_path: Path) -> None:
    workspace = tmp_path / "work space"
    workspace.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "GROUNDUP_"))}
    command = [sys.executable, "-m", "flows.cli", "ui", "--workspace", str(workspace)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        addresses: dict[str, str] = {}
        for line in process.stdout:
            words = line.split()
            if words and words[0] in ("Prefect", "MLflow"):
                addresses[words[0]] = words[1]
            if "Ctrl-C" in line:
                break
        assert set(addresses) == {"Prefect", "MLflow"}
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        for name, path in (("Prefect", "/api/health"), ("MLflow", "/health")):
            root = "/".join(addresses[name].split("/")[:3])
            with urllib.request.urlopen(root + path, timeout=10) as response:
                assert response.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Both servers have stopped." in said
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert (workspace / "prefect" / "prefect.db").exists()
    assert (workspace / "mlflow" / "mlflow.db").exists()
