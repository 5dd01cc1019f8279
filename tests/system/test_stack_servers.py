"""The two servers, started as the stack starts them, on this machine and without a container engine.

The tests catch what no import and no health check shows: a scheduler that fails every minute while the page works, and
a tracking server that is healthy and answers every worker with 403.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STARTUP_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(url: str, host: str | None = None) -> int:
    """The HTTP status, 0 when nobody answers."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_for(happened: Callable[[], bool], seconds: float, what: str, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happened():
            return
        time.sleep(0.5)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s. The server said:\n{log.read_text()[-3000:]}")


@contextmanager
def server(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**clean, **environment},
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children go with it below
        )
        try:
            yield
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait(15)


@dataclass(frozen=True)
class Prefect:
    """A running server, and how to ask it."""

    api: str
    environment: dict[str, str]
    log: Path

    def python(self, *arguments: str) -> str:
        """The last word that a program of ours prints when it talks to this server."""
        environment = {**self.environment, "PREFECT_API_URL": self.api}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split()[-1]

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.api + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status), json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


SCHEDULE = """
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect import flow

@flow(name="nightly")
def nightly():
    pass

with get_client(sync_client=True) as client:
    flow_id = client.create_flow(nightly)
    cron = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), active=True)
    print(client.create_deployment(flow_id=flow_id, name="test", schedules=[cron]))
"""

COUNT = """
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

with get_client(sync_client=True) as client:
    runs = client.read_flow_runs()
    print(sum(run.auto_scheduled and run.state_type == StateType.SCHEDULED for run in runs))
"""


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home = tmp_path_factory.mktemp("prefect")
    environment = {
        "PREFECT_HOME": str(home / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    port = free_port()
    log = home / "prefect.log"
    with server(["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)], environment, log):
        ready = f"http://127.0.0.1:{port}/api/ready"
        wait_for(lambda: status_of(ready) == 200, STARTUP_SECONDS, "the start of Prefect's server", log)
        yield Prefect(f"http://127.0.0.1:{port}/api", {**os.environ, **environment}, log)


@pytest.mark.slow
def test_a_cron_schedule_makes_scheduled_runs(prefect: Prefect) -> None:
    prefect.python("-c", SCHEDULE)
    wait_for(lambda: int(prefect.python("-c", COUNT)) > 0, 90, "the first scheduled run", prefect.log)


@pytest.mark.slow
def test_deploying_everything_twice_fills_the_forms_and_starts_nothing(prefect: Prefect) -> None:
    prefect.python("-m", "flows.deployments", "deploy")
    nightly = prefect.ask("/deployments/name/prepare-data/nightly")[1]
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]
    schedule = nightly["schedules"][0]["id"]
    assert prefect.ask(f"/deployments/{nightly['id']}/schedules/{schedule}", {"active": True}, "PATCH")[0] == 204

    prefect.python("-m", "flows.deployments", "deploy")
    nightly = prefect.ask("/deployments/name/prepare-data/nightly")[1]
    assert [schedule["active"] for schedule in nightly["schedules"]] == [False]  # the file decides
    assert prefect.ask("/deployments/count", {})[1] >= 6

    quickstart = prefect.ask("/deployments/name/build-language-model/quickstart")[1]
    config = quickstart["parameters"]["config"]
    create = f"/deployments/{quickstart['id']}/create_flow_run"
    assert prefect.ask(create, {"parameters": {"config": config}})[0] == 201
    for wrong in ({**config, "no_such_key": 1}, {**config, "model": {**config["model"], "layers": 0}}):
        status, answer = prefect.ask(create, {"parameters": {"config": wrong}})
        assert status == 409, answer


@pytest.mark.slow
def test_mlflow_answers_its_service_name_and_refuses_a_foreign_host(tmp_path: Path) -> None:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    given = compose["services"]["mlflow"]["environment"]
    names = ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION")
    environment = {
        **{name: given[name] for name in names},
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
    port = free_port()
    log = tmp_path / "mlflow.log"
    command = ["mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    command += ["--serve-artifacts", f"--artifacts-destination={tmp_path / 'artifacts'}"]
    with server(command, environment, log):
        health = f"http://127.0.0.1:{port}/health"
        api = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
        wait_for(lambda: status_of(health) == 200, STARTUP_SECONDS, "the start of MLflow's server", log)
        assert status_of(api, host="mlflow:5000") == 200
        assert status_of(api, host=f"127.0.0.1:{port}") == 200
        assert status_of(api, host="example.com") == 403
        assert status_of(health, host="example.com") == 200  # why the health check asks for more than /health
