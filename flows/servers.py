"""Servers that we start, wait for and stop with every process of theirs: Prefect's and MLflow's, on this machine only.

Each lives in a session of its own, so that Ctrl-C reaches us alone and we decide in which order things end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows.errors import UserError

HOST = "127.0.0.1"
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
            preexec_fn=die_with_parent(),
        )
    return RunningServer(plan, process)


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs between fork and exec, so that it gets SIGTERM when we are killed without a chance to stop it
    (Linux; elsewhere None)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    pr_set_pdeathsig, number = 1, int(signal.SIGTERM)

    def ask() -> None:
        prctl(pr_set_pdeathsig, number)

    return ask


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
