"""An MLflow for each test, and a picture of what it holds that can be compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from flows.environment import mlflow_database, mlflow_uri


def new_database(template: Path, workspace: Path, name: str = "mlflow.db") -> str:
    """A fresh MLflow database inside `workspace` (the migrations ran once, for the template). Returns its address."""
    path = mlflow_database(workspace).with_name(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, path)
    return mlflow_uri(workspace).replace("mlflow.db", name)


def open_client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


class PowerCut(BaseException):
    """The process ends here: nothing of ours may catch it."""


class FailingClient:
    """Passes calls on to a real client; after call number `limit` was carried out, `error` is raised instead of its
    answer coming back."""

    def __init__(self, client: MlflowClient, limit: int | None = None, error: BaseException | None = None) -> None:
        self.client, self.limit, self.error = client, limit, error or PowerCut()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            self.calls.append(name)
            if self.limit is not None and len(self.calls) >= self.limit:
                raise self.error
            return answer

        return call


#: Ids differ from one database to the next.
OWN_IDS = {"mlflow.parentRunId", "groundup.made_by_run"}


def picture(client: MlflowClient, experiment: str = "tiny") -> dict[str, Any]:
    """Everything that MLflow holds of an experiment and in its registry, without ids."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs: dict[str, list[Any]] = {}
    names = {}
    all_runs = client.search_runs([found.experiment_id], run_view_type=ViewType.ALL)
    for run in all_runs:
        names[run.info.run_id] = f"{run.data.tags['groundup.run_id']}/{run.data.tags['groundup.stage']}"
    for run in all_runs:
        parent = run.data.tags.get("mlflow.parentRunId")
        points = [
            (p.key, p.step, p.timestamp, p.value)
            for key in run.data.metrics
            for p in client.get_metric_history(run.info.run_id, key)
        ]
        runs.setdefault(names[run.info.run_id], []).append(
            {
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "parent": names.get(parent) if parent else None,
                "params": dict(run.data.params),
                "tags": {k: v for k, v in run.data.tags.items() if k not in OWN_IDS},
                "points": sorted(points),
                "inputs": sorted(
                    (i.dataset.name, i.dataset.digest, sorted((t.key, t.value) for t in i.tags))
                    for i in run.inputs.dataset_inputs
                ),
                "models": len(run.outputs.model_outputs) if run.outputs else 0,
                "files": sorted(files_of(client, run.info.run_id)),
            }
        )
    registry = {
        model.name.removeprefix(f"{experiment}-"): {
            "aliases": {alias: str(version) for alias, version in model.aliases.items()},
            "versions": sorted(
                (str(v.version), v.source, names.get(v.run_id), sorted(v.tags.items()))
                for v in client.search_model_versions(f"name = '{model.name}'")
            ),
        }
        for model in client.search_registered_models(f"name LIKE '{experiment}-%'")
    }
    models = client.search_logged_models([found.experiment_id])
    return {
        "runs": runs,
        "registry": registry,
        "models": sorted((m.name.removeprefix(f"{experiment}-"), str(m.status)) for m in models),
    }


def files_of(client: MlflowClient, run_id: str, folder: str | None = None) -> list[str]:
    found = []
    for file in client.list_artifacts(run_id, folder):
        found += files_of(client, run_id, file.path) if file.is_dir else [file.path]
    return found
