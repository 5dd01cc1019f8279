"""The Prefect and MLflow servers over a workspace, on this machine only, for as long as someone looks.

Runs made with the embedded default wrote into the workspace's own databases; these servers open the same files, so the
runs show up. Both listen on 127.0.0.1, each in a process group of its own, and every process of both groups is gone
when :func:`serve_uis` returns, whatever way it leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows.errors import UserError

HOST = "127.0.0.1"
PREFECT_PORT, MLFLOW_PORT = 4200, 5000
#: A loaded two-core machine needs half a minute for MLflow, and Prefect migrates a new database first.
START_SECONDS = 120.0
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class ServerPlan:
    """How one server is started, and how to know that it answers."""

    name: str
    command: list[str]
    environment: dict[str, str]
    url: str
    health: str
    log: Path


@dataclass
class RunningServer:
    plan: ServerPlan
    process: subprocess.Popen[bytes]


def port_is_free(port: int) -> bool:
    """Nobody listens on 127.0.0.1:``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port in TIME_WAIT after a restart counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_port(wanted: int | None, default: int, taken: frozenset[int] = frozenset()) -> int:
    """``wanted`` exactly, or the first free port from ``default`` on.

    Raises:
        UserError: the wanted port, or every one of the hundred after the default, is in use.
    """
    if wanted is not None:
        if wanted in taken or not port_is_free(wanted):
            raise UserError(f"port {wanted} is in use", where=HOST, fix="name another one, or leave the option out")
        return wanted
    for port in range(default, default + 100):
        if port not in taken and port_is_free(port):
            return port
    raise UserError(f"no free port from {default} to {default + 99}", where=HOST, fix="name one that is free")


def prefect_plan(workspace: Path, port: int, environment: Mapping[str, str]) -> ServerPlan:
    """Prefect's server over ``PREFECT_HOME`` of the workspace, where embedded runs left their database."""
    env = dict(environment)
    # The page asks the API that it came from; an address of another server must not get in between.
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL", "PREFECT_UI_API_URL", "PREFECT_LOGGING_CONFIG_PATH"):
        env.pop(name, None)
    env["PREFECT_SERVER_UI_API_URL"] = f"http://{HOST}:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    return ServerPlan(
        name="Prefect",
        command=command,
        environment=env,
        url=f"http://{HOST}:{port}",
        health=f"http://{HOST}:{port}/api/ready",  # unlike /health, this one asks the database too
        log=workspace / "logs" / "ui-prefect.log",
    )


def mlflow_plan(workspace: Path, port: int, environment: Mapping[str, str]) -> ServerPlan:
    """MLflow's server over the workspace's SQLite file, one worker: 2 processes instead of 10."""
    folder = workspace / "mlflow"
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    env = {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # The server is told by its options; an address of another server in the environment must not get in between.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI"):
        env.pop(name, None)
    return ServerPlan(
        name="MLflow",
        command=command,
        environment=env,
        url=f"http://{HOST}:{port}",
        health=f"http://{HOST}:{port}/health",
        log=workspace / "logs" / "ui-mlflow.log",
    )


def start(plan: ServerPlan) -> RunningServer:
    """Start one server in a session of its own: Ctrl-C reaches us alone, and we stop the whole group."""
    plan.log.parent.mkdir(parents=True, exist_ok=True)
    log: IO[bytes]
    with plan.log.open("ab") as log:
        process = subprocess.Popen(
            plan.command,
            env=plan.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return RunningServer(plan, process)


def answers(url: str, timeout: float = 2.0) -> bool:
    """The address says 200. Proxies are left out: this is our own machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def log_tail(path: Path, lines: int = 8) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    return ""


def wait_until_ready(servers: list[RunningServer], stopped: threading.Event, seconds: float = START_SECONDS) -> None:
    """Return when every server answers, or when ``stopped`` is set.

    Raises:
        UserError: one of them ended, or took too long; with the last lines of its log.
    """
    deadline = time.monotonic() + seconds
    waiting = list(servers)
    while waiting and not stopped.is_set():
        for server in list(waiting):
            if server.process.poll() is not None or time.monotonic() > deadline:
                ended = server.process.poll() is not None
                raise UserError(
                    f"the {server.plan.name} server "
                    + (f"ended at once (exit code {server.process.returncode})" if ended else "doesn't answer")
                    + f"; the end of its log:\n{log_tail(server.plan.log)}",
                    where=str(server.plan.log),
                    fix="`groundup doctor` checks the versions that it needs",
                    exit_code=1,
                )
            if answers(server.plan.health):
                waiting.remove(server)
        if waiting:
            stopped.wait(0.3)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def stop(servers: list[RunningServer], seconds: float = STOP_SECONDS) -> None:
    """SIGTERM to each server's whole group, SIGKILL to what is left after ``seconds``; no process stays behind."""
    for server in servers:
        _signal_group(server, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    # The group outlives its leader while a worker of it is still closing down.
    while time.monotonic() < deadline and any(_group_left(server) for server in servers):
        time.sleep(0.1)
    for server in servers:
        if _group_left(server):
            _signal_group(server, signal.SIGKILL)
        server.process.wait()


def _group_left(server: RunningServer) -> bool:
    server.process.poll()  # reaps the leader, so that it doesn't count as alive
    return group_is_alive(server.process.pid)


def _signal_group(server: RunningServer, number: signal.Signals) -> None:
    # The leader's pid is the group's id, and stays taken while any member lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.process.pid, number)


@contextmanager
def running(plans: list[ServerPlan], stopped: threading.Event) -> Iterator[list[RunningServer]]:
    """All servers started and answering (unless ``stopped`` came first); all gone at the end."""
    servers: list[RunningServer] = []
    try:
        for plan in plans:
            servers.append(start(plan))
        wait_until_ready(servers, stopped)
        yield servers
    finally:
        stop(servers)


@contextmanager
def signals_set(stopped: threading.Event) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal set ``stopped``.

    An exception out of a signal handler could hit between the birth of a server and the note of its pid; a flag can't.
    """
    numbers = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_uis(
    workspace: Path,
    *,
    prefect_port: int | None = None,
    mlflow_port: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Start both servers over ``workspace``, say where they are, and stay until a signal comes.

    Raises:
        UserError: a port is in use, or a server didn't start or ended by itself.
    """
    first = choose_port(prefect_port, PREFECT_PORT)
    second = choose_port(mlflow_port, MLFLOW_PORT, frozenset({first}))
    plans = [prefect_plan(workspace, first, os.environ), mlflow_plan(workspace, second, os.environ)]
    (workspace / "mlflow" / "artifacts").mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    with signals_set(stopped):
        say("Starting both servers (the first time takes up to half a minute) ...")
        with running(plans, stopped) as servers:
            if not stopped.is_set():
                say(f"\n  Prefect  {plans[0].url}/runs  the runs, stage by stage, with their reports")
                say(f"  MLflow   {plans[1].url}/#/experiments  the curves, the comparison of runs, the registry")
                say("\nCtrl-C stops both.")
            while not stopped.wait(0.5):
                for server in servers:
                    if server.process.poll() is not None:
                        raise UserError(
                            f"the {server.plan.name} server ended by itself (exit code {server.process.returncode}); "
                            f"the end of its log:\n{log_tail(server.plan.log)}",
                            where=str(server.plan.log),
                            exit_code=1,
                        )
