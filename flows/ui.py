"""The Prefect and MLflow servers over a workspace, on this machine only, for as long as someone looks.

Runs made with the embedded default wrote into the workspace's own databases; these servers open the same files, so the
runs show up. Both listen on 127.0.0.1, each in a process group of its own, and every process of both groups is gone
when :func:`serve_uis` returns, whatever way it leaves.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.errors import UserError
from flows.servers import HOST, ServerPlan, log_tail, port_is_free, running

PREFECT_PORT, MLFLOW_PORT = 4200, 5000


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


def mlflow_page(url: str) -> str:
    """The page of the experiment that changed last; MLflow opens on pages about agents unless it is told otherwise."""
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1, "order_by": ["last_update_time DESC"], "filter": _NOT_DEFAULT}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    page = f"{url}/#/experiments"
    with contextlib.suppress(OSError, ValueError, LookupError), opener.open(request, timeout=10) as response:
        page += f"/{int(json.load(response)['experiments'][0]['experiment_id'])}/runs"
    return f"{page}?workflowType=machine_learning"


#: MLflow makes an experiment of that name by itself; nobody runs anything in it.
_NOT_DEFAULT = "name != 'Default'"


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
                say(f"  MLflow   {mlflow_page(plans[1].url)}  the curves, the comparison of runs, the registry")
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
