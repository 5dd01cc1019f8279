"""Registers trained models by reference: MLflow gets path, digest and lineage, never the weights.

    LoggedModel            the model on the page of the run that trained it
    registered model       `<project>-base`, `<project>-classifier`, `<project>-assistant`, a version for each training
    alias `candidate`      what the newest run of the project ended with (`champion` is given by a promotion)

A version stands for one artifact, known by its stage fingerprint and the sha256 of its weights: reusing a model in
another run makes no second version.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.tracking.ledger import Ledger
from flows.tracking.snapshot import RunSnapshot, StageSnapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Stage -> what its model is called in the registry. The classifier from scratch is a comparison, not a product.
REGISTERED = {"pretrain": "base", "classifier": "classifier", "assistant": "assistant"}
CANDIDATE = "candidate"
WEIGHTS = "model/model.safetensors"


def register(
    run: RunSnapshot, stage: StageSnapshot, run_id: str, experiment: str, client: MlflowClient, ledger: Ledger
) -> None:
    """Make sure that the model of `stage` is registered and, if no newer run says otherwise, the candidate.

    Raises:
        mlflow.exceptions.MlflowException: MLflow can't be reached, or refuses.
    """
    manifest = stage.manifest
    if stage.name not in REGISTERED or manifest is None:
        return
    weights = next((output for output in manifest.outputs if output.path == WEIGHTS), None)
    if weights is None:
        return
    name = registered_name(run.project, stage.name)
    tags = {
        "groundup.fingerprint": manifest.fingerprint,
        "groundup.sha256": weights.sha256,
        "groundup.path": str(stage.folder / "model"),
        "groundup.stage": stage.name,
        "groundup.run_id": run.record.run_id,
    }
    remembered = f"{stage.name}/version"

    def version() -> None:
        ledger.put(remembered, model_version(name, tags, run_id, experiment, client, ledger))

    ledger.ensure(f"{stage.name}/model", [name, manifest.fingerprint, weights.sha256], version)
    number, since = str(ledger.get(remembered)), run.record.started.isoformat()
    ledger.ensure(f"{stage.name}/alias", [name, number], lambda: nominate(name, number, since, client))


def registered_name(project: str, stage: str) -> str:
    """MLflow refuses `/` and `:` in the names of registered models."""
    return f"{project}-{REGISTERED[stage]}".replace("/", "-").replace(":", "-")


def model_version(
    name: str, tags: dict[str, str], run_id: str, experiment: str, client: MlflowClient, ledger: Ledger
) -> str:
    """The number of the version with these digests; made if there is none."""
    found = _versions(name, tags, client)
    if found:
        return str(min(found, key=lambda version: int(version.version)).version)
    ensure_registered_model(name, client)
    model = _logged_model(name, tags, run_id, experiment, client)
    # A server refuses a version whose source is a path on somebody's disk, so it is told the LoggedModel instead (which
    # has the path as a tag). Directly on a database the path itself is the better source: it can be loaded.
    server = ledger.target.startswith(("http://", "https://"))
    source = f"models:/{model.model_id}" if server else Path(tags["groundup.path"]).as_uri()
    ledger.check_time()
    made = client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model.model_id)
    return str(made.version)


def ensure_registered_model(name: str, client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def nominate(name: str, version: str, since: str, client: MlflowClient) -> None:
    """Point `candidate` at `version`, unless a run that began later put it elsewhere (runs are told in any order)."""
    from mlflow.exceptions import MlflowException

    try:
        current = client.get_model_version_by_alias(name, CANDIDATE)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        current = None
    if current is not None and current.tags.get("groundup.candidate_since", "") > since:
        return
    client.set_model_version_tag(name, version, "groundup.candidate_since", since)
    if current is None or str(current.version) != version:
        client.set_registered_model_alias(name, CANDIDATE, version)


def _versions(name: str, tags: dict[str, str], client: MlflowClient) -> list[Any]:
    wanted = f"name = '{name}' and tags.`groundup.fingerprint` = '{tags['groundup.fingerprint']}'"
    found = client.search_model_versions(wanted)
    return [version for version in found if version.tags.get("groundup.sha256") == tags["groundup.sha256"]]


def _logged_model(name: str, tags: dict[str, str], run_id: str, experiment: str, client: MlflowClient) -> Any:
    """The LoggedModel of this run, ready. One that a crash left behind is finished instead of made again."""
    from mlflow.entities import LoggedModelOutput

    found = client.search_logged_models(
        [experiment], filter_string=f"tags.`groundup.sha256` = '{tags['groundup.sha256']}' and name = '{name}'"
    )
    model = next(iter(found), None)
    if model is None:
        model = client.create_logged_model(
            experiment, name=name, source_run_id=run_id, tags=tags, model_type="language-model"
        )
    if str(model.status) != "READY":
        model = client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if not any(output.model_id == model.model_id for output in (outputs.model_outputs if outputs else ())):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model
