"""Prefect's API for the time of one run, where no server is set: what Prefect would start by itself, started by us.

Prefect's own temporary server shares our process group. On a terminal Ctrl-C then ends it together with us: the run
can't be recorded as stopped any more, and Prefect asks a dead server for minutes. It is also left behind when we are
killed. Ours sits in a session of its own, is there before Prefect is imported (both take seconds, and so they overlap),
and ends after the last event has been written.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.servers import HOST, ServerPlan, start, stop, wait_until_ready

VARIABLE = "PREFECT_API_URL"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def embedded_plan(workspace: Path, port: int, environment: Mapping[str, str]) -> ServerPlan:
    """The command of Prefect's own temporary server: the API without the web pages."""
    found = importlib.util.find_spec("prefect")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("prefect is not installed")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(found.origin).parent.parent), "--factory"]
    command += ["prefect.server.api.server:create_app", "--host", HOST, "--port", str(port)]
    command += ["--log-level", "error", "--lifespan", "on"]
    settings = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    url = f"http://{HOST}:{port}/api"
    log = workspace / "logs" / "prefect-server.log"
    return ServerPlan("Prefect", command, {**environment, **settings}, url, f"{url}/health", log)


@contextmanager
def embedded_prefect(workspace: Path) -> Iterator[Callable[[], None]]:
    """Start the server and point Prefect to it; yields a function that waits until it answers. Leaves no process.

    Does nothing where ``PREFECT_API_URL`` names a server already. Enter it before Prefect is imported.
    """
    if os.environ.get(VARIABLE):
        yield lambda: None
        return
    server = start(embedded_plan(workspace, free_port(), os.environ))
    os.environ[VARIABLE] = server.plan.url
    try:
        yield lambda: wait_until_ready([server], threading.Event())
    finally:
        os.environ.pop(VARIABLE, None)
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: the last events may be lost, no process is
            send_last_events()
        stop([server])


def send_last_events(seconds: float = 5.0) -> None:
    """Prefect records task runs by events from a background thread; wait until they are out."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=seconds, at_exit=True)
