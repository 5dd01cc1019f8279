"""Servers that die or were never there: MLflow's costs a run nothing, Prefect's is missed with a clear message."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from threading import Event

import pytest

from flows.embedded import free_port
from flows.environment import settings
from flows.servers import running
from flows.ui import mlflow_plan
from tests.system.conftest import LONG, Place, has_checkpoint
from tests.system.tiny_experiment import Ended, artifact, environment, finished, groundup, sha256, start, wait_for


@pytest.mark.slow
def test_mlflow_killed_in_mid_training(place: Place, untouched_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    for name, value in settings(place.folder).items():
        monkeypatch.setenv(name, value)
    folder = place.folder / "server"
    (folder / "mlflow").mkdir(parents=True)
    plan = mlflow_plan(folder, free_port(), environment(**settings(folder)))
    sections = {**LONG, "runtime": {**LONG["runtime"], "tracking": {"enabled": True}}}
    servers = {"PREFECT_API_URL": place.prefect_url, "MLFLOW_TRACKING_URI": plan.url}
    with running([plan], Event()) as (server,):
        process = start("run", place.config(**sections), "--plain", **servers)
        wait_for(lambda: has_checkpoint(place.workspace), process)
        os.killpg(server.process.pid, signal.SIGKILL)
        ended = Ended(process)
    assert ended.code == 0, str(ended)
    assert "groundup track sync" in ended.stdout + ended.stderr, str(ended)
    trained = artifact(place.workspace, "pretrain")
    assert sha256(trained / "model" / "model.safetensors") == untouched_weights

    sync = ["track", "sync", "--workspace", place.workspace]
    down = groundup(*sync, **servers)
    assert down.code != 0 and "Traceback" not in down.stdout + down.stderr, str(down)

    with running([plan], Event()):
        synced = groundup(*sync, **servers)
        assert synced.code == 0, str(synced)
        client = MlflowClient(plan.url)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        (run,) = [run for run in runs if run.data.tags.get("groundup.stage") == "pretrain"]
        written = _points(trained / "metrics.jsonl", "train/loss")
        assert [p.step for p in client.get_metric_history(run.info.run_id, "train/loss")] == written
        assert len(written) >= LONG["pretrain"]["steps"] // 10
        assert all(one.info.status == "FINISHED" for one in runs)


def _points(path: Path, name: str) -> list[int]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [line["step"] for line in lines if name in line]


@pytest.mark.slow
def test_prefect_out_of_reach(place: Place) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    place.run(PREFECT_API_URL=url).refused(69, "Prefect's server can't be reached", url, "unset PREFECT_API_URL")
    assert finished(place.workspace) == set()
