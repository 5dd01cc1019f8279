"""`groundup track sync`: tells MLflow about every run of a workspace, then reads back whether it knows them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.passwords import without_password
from flows.run_record import RunRecord, all_runs
from flows.tracking import metric_log, snapshot
from flows.tracking.connection import connect, is_unknown, is_unreachable, resolve_uri, short
from flows.tracking.ledger import Ledger, exclusive, ledger_path, lock_path, makers
from flows.tracking.reconcile import PARENT, find_runs, reconcile

if TYPE_CHECKING:
    from mlflow import MlflowClient

WORKED_ON = frozenset({"running", "completed", "failed", "interrupted"})


@dataclass
class SyncReport:
    """What :func:`sync` did and found."""

    uris: list[str] = field(default_factory=list)
    """The MLflow addresses that were written to, without passwords."""
    runs: int = 0
    """Runs of the workspace that MLflow now has been told about."""
    added_runs: int = 0
    """MLflow runs (pipeline runs and stages) that weren't there before."""
    added_points: int = 0
    """Metric points that weren't there before."""
    points: int = 0
    """Metric points that the workspace has and that were read back from MLflow."""
    missing: list[str] = field(default_factory=list)
    """What MLflow still lacks, a line each."""
    busy: list[str] = field(default_factory=list)
    """Runs that go on at this moment; their own mirror tells MLflow about them."""
    deleted: list[str] = field(default_factory=list)
    """Runs that somebody deleted in MLflow; they are left alone."""
    failed: list[str] = field(default_factory=list)
    """Runs that couldn't be told, with the reason."""
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        return not self.missing and not self.failed

    def summary(self) -> str:
        """One line for people."""
        new = f"{self.added_runs} runs and {self.added_points:,} points of them new"
        parts = [f"{self.runs} pipeline runs with {self.points:,} metric points are in MLflow ({new})"]
        rest = {
            "still running": self.busy,
            "deleted in MLflow and left alone": self.deleted,
            "failed": self.failed,
            "incomplete": self.missing,
        }
        return ", ".join(parts + [f"{len(items)} {what}" for what, items in rest.items() if items])

    def __str__(self) -> str:
        return "\n".join([self.summary(), *self.failed, *self.missing])


def sync(
    workspace: str | Path,
    tracking_uri: str | None = None,
    *,
    client: Callable[[str], MlflowClient] = connect,
    log: Callable[[str], None] = lambda line: None,
) -> SyncReport:
    """Replay every run of a workspace into MLflow. Call it as often as you like.

    Args:
        tracking_uri: None means what the config of each run says (`runtime.tracking.uri`), otherwise
            `MLFLOW_TRACKING_URI`, otherwise the database of the workspace.
        log: takes a line for each run.

    Raises:
        UserError: the address can't be used. A server that is down is no error here: see `SyncReport.failed`.
    """
    began = time.monotonic()
    workspace = Path(workspace).absolute()
    records = all_runs(workspace)
    limits = continued_at(records)
    report = SyncReport()
    connections: dict[str, MlflowClient] = {}
    unanswered: dict[str, int] = {}
    for record in records:
        uri = resolve_uri(tracking_uri or configured_uri(record), workspace)
        if (address := without_password(uri)) not in report.uris:
            report.uris.append(address)
        with exclusive(lock_path(record.path)) as held:
            if not held:
                report.busy.append(record.run_id)
                continue
            try:
                if unanswered.get(uri, 0) >= 2:  # it is down; asking it about each of a thousand runs would take hours
                    raise ConnectionError(f"{address} didn't answer for the runs before this one")
                if uri not in connections:
                    connections[uri] = client(uri)
                _sync_run(record, limits.get(record.run_id, {}), uri, connections[uri], report)
            except Exception as error:
                unanswered[uri] = unanswered.get(uri, 0) + int(is_unreachable(error))
                report.failed.append(f"{record.run_id}: {short(error)}")
                log(report.failed[-1])
            else:
                unanswered[uri] = 0
                log(f"{record.run_id}: {record.name}")
    report.seconds = time.monotonic() - began
    return report


def configured_uri(record: RunRecord) -> str | None:
    """`runtime.tracking.uri` of the run's config."""
    tracking = (record.config.get("runtime") or {}).get("tracking") or {}
    return tracking.get("uri") or None


def _sync_run(record: RunRecord, until: dict[str, float], uri: str, client: MlflowClient, report: SyncReport) -> None:
    ledger = Ledger(ledger_path(record.path), uri)
    known = remembered_runs(ledger)
    state = _lifecycle(client, known[PARENT]) if PARENT in known else "unknown"
    if state == "unknown":  # nothing is remembered, or it is of another database or an old backup
        ledger.forget()
        known = _existing_runs(snapshot.take(record.path), client)
        state = _lifecycle(client, known[PARENT]) if PARENT in known else "active"
    if state == "deleted":
        report.deleted.append(record.run_id)
        return
    before = sum(len(found) for _, _, _, found in _read_back(record, until, client, known))
    made_by = makers(record.path.parent.parent, ledger.target)

    def tell() -> list[ReadBack]:
        reconcile(record.path, client, ledger, until=until, made_by=made_by, dead=True)
        return list(_read_back(record, until, client, remembered_runs(ledger)))

    after = tell()
    if any(_lacks(found) for found in after):  # the ledger believes what isn't so: MLflow lost it later
        ledger.forget()
        after = tell()
    count = sum(len(found) for _, _, _, found in after)
    report.runs += 1
    report.added_runs += len(set(remembered_runs(ledger).values()) - set(known.values()))
    report.added_points += count - before
    report.points += count
    report.missing += [
        f"{record.run_id}: {stage} lacks {_lacks(found):,} of {len(found[2]):,} points of {key}"
        for found in after
        for stage, key in [found[:2]]
        if _lacks(found)
    ]


#: Stage, metric, the steps on disk, the steps in MLflow.
ReadBack = tuple[str, str, set[int], list[int]]


def _lacks(found: ReadBack) -> int:
    return len(found[2] - set(found[3]))


def _existing_runs(run: snapshot.RunSnapshot, client: MlflowClient) -> dict[str, str]:
    experiment = client.get_experiment_by_name(run.project)
    return find_runs(client, experiment.experiment_id, run.record.run_id) if experiment else {}


def remembered_runs(ledger: Ledger) -> dict[str, str]:
    return {key.removeprefix("run/"): str(value) for key, value in ledger.section.items() if key.startswith("run/")}


def _lifecycle(client: MlflowClient, run_id: str) -> str:
    """`active`, `deleted` (by a person, in MLflow) or `unknown`."""
    try:
        return str(client.get_run(run_id).info.lifecycle_stage)
    except Exception as error:
        if is_unknown(error):
            return "unknown"
        raise


def _read_back(
    record: RunRecord, until: dict[str, float], client: MlflowClient, runs: dict[str, str]
) -> Iterator[ReadBack]:
    """Ask MLflow what it knows of every metric that is on disk."""
    for stage in record.stages:
        if stage.status not in WORKED_ON:
            continue
        expected = metric_log.expected_steps(Path(stage.path) / "metrics.jsonl", until.get(stage.name))
        for key, steps in expected.items():
            history = client.get_metric_history(runs[stage.name], key) if stage.name in runs else []
            yield stage.name, key, steps, [point.step for point in history]


def continued_at(records: list[RunRecord]) -> dict[str, dict[str, float]]:
    """run_id -> stage -> unix time at which a later run went on in the same folder.

    What was measured from then on belongs to that later run, although it stands in the same `metrics.jsonl`.
    """
    limits: dict[str, dict[str, float]] = {}
    next_start: dict[str, float] = {}
    for record in sorted(records, key=lambda record: record.started, reverse=True):
        own = {stage.name: next_start[stage.path] for stage in record.stages if stage.path in next_start}
        if own:
            limits[record.run_id] = own
        for stage in record.stages:
            if stage.status in WORKED_ON:
                next_start[stage.path] = (stage.started or record.started).timestamp()
    return limits
