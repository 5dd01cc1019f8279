"""Makes MLflow show one run as it is on disk. Call it as often as you like: what is there already stays as it is.

    experiment (the project)
      run of the pipeline          parameters, config, scorecard, headline numbers
        run of each stage          parameters, metrics with their steps, counters, data sets, small files, model

Every run carries the tags `groundup.run_id` and `groundup.stage`, and is looked up by them before it is made, so that a
crash after MLflow made it and before we noted that doesn't double it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment import mlflow_artifacts
from flows.passwords import hide_passwords
from flows.tracking import registry, snapshot
from flows.tracking.ledger import Ledger, digest
from flows.tracking.metric_log import Cursor, Point, metric_name, read_points
from flows.tracking.snapshot import RunSnapshot, StageSnapshot, milliseconds

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

#: MLflow's limits for one call.
METRICS_PER_CALL = 1000
PARAMS_PER_CALL = TAGS_PER_CALL = 100
COUNTERS_PER_CALL = 800  # together with the two before at most 1000
TAG_CHARS = 5000
#: MLflow shows digests of at most 36 characters; the full one is in a tag beside it.
DATASET_DIGEST_CHARS = 32

PARENT = "pipeline"


def reconcile(
    record_path: Path,
    client: MlflowClient,
    ledger: Ledger,
    *,
    until: Mapping[str, float] | None = None,
    made_by: Callable[[str], str | None] = lambda fingerprint: None,
    dead: bool = False,
) -> None:
    """Add to MLflow what it lacks about one run.

    Args:
        until: for a stage that a later run continued in the same folder: the unix time at which that one began.
        made_by: fingerprint -> MLflow run that made the artifact, for the link on reused stages.
        dead: nobody is working on this run any more, whatever its record says (a crash leaves it "running").

    Raises:
        Stopped: the ledger's time was over. What was done so far is noted.
        mlflow.exceptions.MlflowException, OSError: MLflow can't be reached, or refuses.
    """
    run = snapshot.take(record_path)
    Reconciliation(run, client, ledger, until or {}, made_by, dead).complete()


class Reconciliation:
    """One pass over one run."""

    def __init__(
        self,
        run: RunSnapshot,
        client: MlflowClient,
        ledger: Ledger,
        until: Mapping[str, float],
        made_by: Callable[[str], str | None],
        dead: bool,
    ) -> None:
        self.run = run
        self.record = run.record
        self.client = client
        self.ledger = ledger
        self.until = until
        self.made_by = made_by
        self.dead = dead
        self._known: dict[str, str] | None = None

    def complete(self) -> None:
        parent = self.mlflow_run(PARENT, None)
        self.pipeline(parent)
        for stage in self.run.stages:
            if stage.record.status != "pending":
                self.stage(stage, self.mlflow_run(stage.name, stage))
        self.end(PARENT, parent, self.record.status, self.record.finished)

    # --- experiments and runs -----------------------------------------------------------------------------------

    def experiment(self) -> str:
        """Id of the project's experiment."""
        known = self.ledger.get("experiment")
        if known is None:
            known = experiment_id(self.client, self.run.project, self.run.workspace, self.ledger)
            self.ledger.put("experiment", known)
        return str(known)

    def mlflow_run(self, name: str, stage: StageSnapshot | None) -> str:
        """Id of the MLflow run of the pipeline or of one of its stages; looked up, then made."""
        known = self.ledger.get(f"run/{name}")
        if known is None:
            known = self.known_runs().get(name) or self.create_run(name, stage)
            self.ledger.put(f"run/{name}", known)
        return str(known)

    def known_runs(self) -> dict[str, str]:
        """Stage -> id of the runs that MLflow has of this pipeline run."""
        if self._known is None:
            self.ledger.check_time()
            self._known = find_runs(self.client, self.experiment(), self.record.run_id)
        return self._known

    def create_run(self, name: str, stage: StageSnapshot | None) -> str:
        started = stage.record.started if stage else None
        tags = {"groundup.run_id": self.record.run_id, "groundup.stage": name}
        if stage is not None:
            tags |= {"mlflow.parentRunId": str(self.ledger.get(f"run/{PARENT}"))}
        self.ledger.check_time()
        run = self.client.create_run(
            self.experiment(),
            start_time=milliseconds(started or self.record.started),
            tags=tags,
            run_name=stage.record.title if stage else f"{self.record.name} {self.record.run_id}",
        )
        return str(run.info.run_id)

    def end(self, name: str, run_id: str, status: str, finished: Any) -> None:
        """Give the run the state of the record. What is "running" although nobody works on it was killed."""
        state = snapshot.STAGE_STATUS[status]
        if state == "RUNNING":
            if not self.dead and self.record.status == "running":
                return
            state = "KILLED"
        end_time = milliseconds(finished) or int(self.record.path.stat().st_mtime * 1000)
        self.ledger.ensure(
            f"{name}/status", [state], lambda: self.client.set_terminated(run_id, status=state, end_time=end_time)
        )

    # --- the run of the pipeline --------------------------------------------------------------------------------

    def pipeline(self, run_id: str) -> None:
        """Parameters and config; the scorecard and its numbers once there are any: what a person looks for first."""
        tags = {"mlflow.source.name": "groundup run", "mlflow.source.type": "LOCAL"}
        tags |= code_tags(self.run.provenance())
        if self.record.prefect_flow_run_id:
            tags["prefect.flow_run_id"] = self.record.prefect_flow_run_id
        if self.record.error:
            tags["groundup.error"] = self.record.error
        points: list[Point] = []
        evaluate = self.run.find("evaluate")
        if evaluate is not None and evaluate.manifest is not None:
            card = evaluate.folder / "scorecard.md"
            if card.is_file():
                tags["mlflow.note.content"] = card.read_text(encoding="utf-8")
            points = self.numbers("scorecard", evaluate)
            self.small_files(PARENT, run_id, evaluate)
        self.describe(PARENT, run_id, self.run.params(), tags, points)
        self.text(PARENT, run_id, "config.resolved.yaml", hide_passwords(_yaml(self.record.config)))

    # --- the run of a stage -------------------------------------------------------------------------------------

    def stage(self, stage: StageSnapshot, run_id: str) -> None:
        record = stage.record
        tags = {"groundup.fingerprint": record.fingerprint, "groundup.path": record.path}
        if self.record.prefect_flow_run_id:
            tags["prefect.flow_run_id"] = self.record.prefect_flow_run_id
        if stage.reused:
            tags["reused"] = "true"
            if maker := self.made_by(record.fingerprint):
                tags["groundup.made_by_run"] = maker
        if record.error:
            tags["groundup.error"] = record.error
        if stage.manifest is not None:
            tags["groundup.digest"] = stage.manifest.digest
            tags |= code_tags(stage.manifest.provenance)
            tags |= {f"counter.{k}": v for k, v in stage.counters.items() if isinstance(v, str)}
        finished = record.status in ("completed", "reused")
        self.describe(stage.name, run_id, stage.params, tags, self.numbers("counters", stage) if finished else [])
        self.datasets(stage, run_id)
        if not stage.reused:
            self.metrics(stage, run_id)
            self.small_files(stage.name, run_id, stage)
        if record.status == "completed":
            self.ledger.ensure(f"{stage.name}/made", record.fingerprint, lambda: self.remember_maker(stage, run_id))
        if finished:
            registry.register(self.run, stage, run_id, self.experiment(), self.client, self.ledger)
        self.end(stage.name, run_id, record.status, record.finished)

    def remember_maker(self, stage: StageSnapshot, run_id: str) -> None:
        """So that the runs that reuse the artifact can link to this one."""
        made = self.ledger.get("made") or {}
        self.ledger.put("made", made | {stage.record.fingerprint: run_id})

    def metrics(self, stage: StageSnapshot, run_id: str) -> None:
        """Copy `metrics.jsonl` from where the last pass ended."""
        place = f"{stage.name}/cursor"
        while True:
            cursor = Cursor.of(self.ledger.get(place))
            points, after = read_points(stage.metrics_file, cursor, METRICS_PER_CALL // 2, self.until.get(stage.name))
            if after is cursor:
                return
            self.log_points(run_id, points)
            self.ledger.put(place, after.as_dict())

    def numbers(self, prefix: str, stage: StageSnapshot) -> list[Point]:
        """Counters as metrics. Their time is that of the record, so that telling them twice changes nothing."""
        when = milliseconds(stage.record.finished or self.record.started) or 0
        return [
            Point(metric_name(f"{prefix}/{key}"), float(value), 0, when)
            for key, value in stage.counters.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]

    def datasets(self, stage: StageSnapshot, run_id: str) -> None:
        marks = [[dataset.name, dataset.digest] for dataset in stage.datasets]
        if marks:
            self.ledger.ensure(f"{stage.name}/datasets", marks, lambda: self.log_datasets(run_id, stage))

    # --- calls to MLflow ----------------------------------------------------------------------------------------

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.milliseconds, point.step) for point in points]
        for batch in _batches(metrics, METRICS_PER_CALL):
            self.ledger.check_time()
            self.client.log_batch(run_id, metrics=batch)

    def log_datasets(self, run_id: str, stage: StageSnapshot) -> None:
        from mlflow.entities import Dataset, InputTag
        from mlflow.entities import DatasetInput as MlflowDatasetInput

        inputs = [
            MlflowDatasetInput(
                Dataset(
                    name=dataset.name,
                    digest=dataset.digest[:DATASET_DIGEST_CHARS],
                    source_type="local",
                    source=_json({"uri": dataset.path}),
                    profile=_json(dict(dataset.counters)),
                ),
                [InputTag("mlflow.data.context", dataset.context), InputTag("groundup.digest", dataset.digest)],
            )
            for dataset in stage.datasets
        ]
        self.client.log_inputs(run_id, inputs)

    def describe(
        self, name: str, run_id: str, params: Mapping[str, str], tags: Mapping[str, str], points: Sequence[Point]
    ) -> None:
        """Everything about a run that fits into one call."""
        from mlflow.entities import Metric, Param, RunTag

        # A stage's parameters are a function of its fingerprint and never change. So what counts is that they were
        # told, not their exact text (which a later version of this code may write otherwise).
        facts = {
            f"{name}/params": sorted(params),
            f"{name}/tags": dict(tags),
            f"{name}/numbers": [[point.key, point.value] for point in points],
        }

        def tell(new: set[str]) -> None:
            self.log(
                run_id,
                [Param(metric_name(k), v) for k, v in params.items()] if f"{name}/params" in new else [],
                [RunTag(metric_name(k), v[:TAG_CHARS]) for k, v in tags.items()] if f"{name}/tags" in new else [],
                [Metric(p.key, p.value, p.milliseconds, p.step) for p in points] if f"{name}/numbers" in new else [],
            )

        self.ledger.ensure_all(facts, tell)

    def log(self, run_id: str, params: list[Param], tags: list[RunTag], metrics: list[Metric]) -> None:
        from mlflow.exceptions import MlflowException

        while params or tags or metrics:
            some_tags, some_metrics = tags[:TAGS_PER_CALL], metrics[:COUNTERS_PER_CALL]
            self.ledger.check_time()
            try:
                self.client.log_batch(run_id, some_metrics, params[:PARAMS_PER_CALL], some_tags)
            except MlflowException as error:
                # MLflow refuses to change a parameter; then the text that it has stays, and the rest is told alone.
                if error.error_code != "INVALID_PARAMETER_VALUE" or not params:
                    raise
                self.client.log_batch(run_id, some_metrics, (), some_tags)
            params, tags = params[PARAMS_PER_CALL:], tags[TAGS_PER_CALL:]
            metrics = metrics[COUNTERS_PER_CALL:]

    def text(self, name: str, run_id: str, file: str, text: str) -> None:
        self.ledger.ensure(f"{name}/file/{file}", digest(text), lambda: self.client.log_text(run_id, text, file))

    def small_files(self, name: str, run_id: str, stage: StageSnapshot) -> None:
        for output in stage.small_files():
            path, folder = stage.folder / output.path, str(Path(output.path).parent)
            where = None if folder == "." else folder
            if path.is_file():
                self.ledger.ensure(
                    f"{name}/file/{output.path}",
                    output.sha256,
                    lambda path=path, where=where: self.client.log_artifact(run_id, str(path), where),  # type: ignore[misc]
                )


def experiment_id(client: MlflowClient, name: str, workspace: Path, ledger: Ledger) -> str:
    """The experiment of that name, made if it isn't there. Two processes may try at once."""
    from mlflow.exceptions import MlflowException

    ledger.check_time()
    found = client.get_experiment_by_name(name)
    if found is None:
        # Without a server MLflow would put files into the folder that the command was called in.
        local = ledger.target.split("://")[0] not in ("http", "https", "databricks")
        location = (mlflow_artifacts(workspace) / metric_name(name).replace("/", "-")).as_uri() if local else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RuntimeError(
            f"the experiment {name!r} was deleted in MLflow; `mlflow experiments restore -x {found.experiment_id}` "
            "brings it back, or give the config another name"
        )
    return str(found.experiment_id)


def find_runs(client: MlflowClient, experiment: str, run_id: str) -> dict[str, str]:
    """Stage (and `pipeline`) -> id of the MLflow runs that belong to pipeline run `run_id`."""
    from mlflow.entities import ViewType

    found: dict[str, str] = {}
    # Runs that a person deleted in MLflow count too: they must not come back.
    wanted = f"tags.`groundup.run_id` = '{run_id}'"
    for run in client.search_runs([experiment], wanted, run_view_type=ViewType.ALL, max_results=1000):
        found[run.data.tags["groundup.stage"]] = run.info.run_id
    return found


def code_tags(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Which code it was, in the places where MLflow's pages look for it."""
    git = provenance.get("git") or {}
    if not git.get("commit"):
        return {}
    tags = {"mlflow.source.git.commit": str(git["commit"]), "groundup.git_dirty": str(bool(git.get("dirty"))).lower()}
    if git.get("dirty"):
        tags["groundup.git_difference"] = str(git["dirty"])
    return tags


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
