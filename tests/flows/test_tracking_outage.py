"""MLflow's server dies, hangs or refuses while a run goes on: the run doesn't notice, and nothing is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.config import TrackingConfig
from flows.environment import settings
from flows.tracking import Mirror, sync
from flows.tracking.ledger import ledger_path
from tests.flows.tracking_pipeline import SHORT, Pipeline


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` on SQLite, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        database = f"sqlite:///{(self.folder / 'server.db').as_posix()}"
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", database, "--artifacts-destination", str(self.folder / "artifacts")]
        return [sys.executable, "-m", "mlflow", "server", *where, *store]

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"},
            )
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError((self.folder / "log.txt").read_text())

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_training_loses_no_metric(tmp_path: Path, server: Server) -> None:
    from mlflow import MlflowClient

    from flows.tracking.reconcile import find_runs

    said: list[str] = []
    pipeline = Pipeline(tmp_path, SHORT)
    mirror = Mirror(pipeline.path, TrackingConfig(uri=server.uri), said.append, poll_seconds=0.1).start()
    pipeline.begin("mix")
    pipeline.finish("mix")
    pipeline.begin("pretrain")
    pipeline.measure("pretrain", 1, 30)
    while "pretrain/cursor" not in (
        ledger_path(pipeline.path).read_text() if ledger_path(pipeline.path).exists() else ""
    ):
        time.sleep(0.1)
    server.kill()
    pipeline.measure("pretrain", 31, 60)
    pipeline.finish("pretrain")
    pipeline.begin("evaluate")
    pipeline.finish("evaluate")
    pipeline.end()
    assert not mirror.stop(20)
    assert "run goes on" in said[0] and "groundup track sync" in said[-1]

    down = sync(tmp_path, server.uri)  # still down: it is said, not raised
    assert not down.complete and down.failed

    server.start()
    report = sync(tmp_path, server.uri)
    assert report.complete, str(report)
    assert 0 < report.added_points < report.points
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("tiny")
    runs = find_runs(client, experiment.experiment_id, pipeline.record.run_id)
    assert set(runs) == {"pipeline", *SHORT}
    steps = [point.step for point in client.get_metric_history(runs["pretrain"], "train/loss")]
    assert steps == list(range(1, 61))
    assert all(client.get_run(run).info.status == "FINISHED" for run in runs.values())
    assert {file.path for file in client.list_artifacts(runs["pipeline"])} >= {"scorecard.md", "config.resolved.yaml"}
    version = client.get_model_version_by_alias("tiny-base", "candidate")
    assert version.tags["groundup.path"] == str(pipeline.folder("pretrain") / "model")
    again = sync(tmp_path, server.uri)
    assert (again.added_runs, again.added_points, again.complete) == (0, 0, True)


def test_a_server_that_hangs_does_not_hold_up_the_end_of_the_run(tmp_path: Path, silent_server: socket.socket) -> None:
    said: list[str] = []
    pipeline = Pipeline(tmp_path, ("mix",)).whole()
    uri = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
    mirror = Mirror(pipeline.path, TrackingConfig(uri=uri), said.append).start()
    connection, _ = silent_server.accept()  # now the mirror waits for an answer
    with connection:
        assert not mirror.stop(0.5)
        assert mirror.working  # it still waits, and stop() came back all the same
    assert "nothing is lost" in said[-1]


def test_a_dead_server_never_raises_into_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    pipeline = Pipeline(tmp_path, SHORT)
    uri = f"http://127.0.0.1:{free_port()}"
    mirror = Mirror(pipeline.path, TrackingConfig(uri=uri), said.append, poll_seconds=0.05).start()
    pipeline.whole()
    assert not mirror.stop(60)
    assert not mirror.working
    # One line when it begins and one at the end, however often it was tried.
    assert len(said) == 2 and all("groundup track sync" in line for line in said)


def test_a_log_callback_that_raises_and_a_record_that_is_torn_reach_nobody(tmp_path: Path) -> None:
    def broken(line: str) -> None:
        raise RuntimeError("the display is gone")

    record = tmp_path / "runs" / "r" / "run.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"run_id": ')
    mirror = Mirror(record, TrackingConfig(), broken, poll_seconds=0.01).start()
    assert not mirror.stop(60)


def test_the_file_store_is_refused_with_one_line(tmp_path: Path) -> None:
    said: list[str] = []
    pipeline = Pipeline(tmp_path, ("mix",)).whole()
    assert not Mirror(pipeline.path, TrackingConfig(uri="./mlruns"), said.append).start().stop(60)
    assert "file store" in said[0]
