"""Carries out one run: every stage as a Prefect task, every change in the run's record, and every way to leave it.

The flow files only say which stages there are; how a stage is reused, written, reported and stopped stands here.
"""

from __future__ import annotations

import errno
import importlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State

from flows import reports
from flows.config import PipelineConfig
from flows.display import current_display
from flows.errors import EXIT_PREEMPTED, disk_full, exit_code_of, explain, is_disk_full
from flows.launch import run_in_child
from flows.lineage.manifest import Manifest
from flows.lineage.plan import PlannedStage, needed, source_records
from flows.lineage.store import Store, Writer
from flows.run_record import RunRecord, StageRecord
from flows.tracking import Mirror

Chain = Callable[["Run"], None]

#: Seconds between two progress lines of a stage in Prefect's log. Every line is a row in its database.
LOG_EVERY = 15.0

#: Seconds before each retry after an infrastructure error.
RETRY_DELAYS: list[float] = [5.0, 30.0]

_UNREACHABLE = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT}
    | {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ESTALE}
)


def conduct(
    config: PipelineConfig, chain: Chain, *, until: Sequence[str] = (), verify: bool = False
) -> dict[str, Any] | State:
    """Run ``chain`` and return what came out, stage by stage; for an error that people can act on, a Failed state
    that says so (Prefect then shows the sentence and no traceback; the caller of the flow gets the error itself).

    Args:
        until: stop after these stages (and run only what they need); all of them if empty.
        verify: hash every byte of what is reused.
    """
    try:
        with Run(config, until=until, verify=verify) as run:
            chain(run)
        return run.result()
    except Exception as error:
        return failed_state(error)


def failed_state(error: Exception) -> State:
    """Failed with a sentence for people.

    Raises:
        Exception: the error itself where there is no such sentence: a bug, which needs its traceback.
    """
    told = explain(error)
    if told is None:
        raise error
    return Failed(message=told, data=error, name="Interrupted" if exit_code_of(error) == EXIT_PREEMPTED else "Failed")


def is_infrastructure_error(error: object) -> bool:
    """True for what may be over in a moment: a connection refused, a network disk that stalls."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return True
    import httpx

    return isinstance(error, httpx.TransportError)


def _worth_a_retry(task: object, task_run: object, state: State) -> bool:
    return is_infrastructure_error(state.data)


class Run:
    """One run of the pipeline. Inside its ``with`` block, ``run("mix", documents)`` carries out a stage."""

    def __init__(self, config: PipelineConfig, *, until: Sequence[str] = (), verify: bool = False) -> None:
        self.config, self.verify = config, verify
        self.store = Store(config.workspace)
        self.planned = needed(self.store.plan(config, verify=verify), until)
        self.fingerprints = {name: planned.fingerprint for name, planned in self.planned.items()}
        self.manifests: dict[str, Manifest] = {}
        self.display = current_display()
        self._error: Exception | None = None

    def __enter__(self) -> Run:
        self.record = RunRecord.create(
            self.store.workspace, self.config.name, self.config.model_dump(mode="json"), stages=self._stage_records()
        )
        last = next(reversed(self.fingerprints.values()))
        self.record.prefect_flow_run_id = reports.name_flow_run(f"{self.config.name}-{last[:6]}")
        self.record.save()
        self.mirror = Mirror(self.record.path, self.config.runtime.tracking, self.display.log).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.record.finished = datetime.now(UTC)
            self.record.error = None if error is None else explain(error) or repr(error)
            self.record.status = "completed" if error is None else _status_of(error)
            self.record.save()
        except OSError:
            # A full disk: the record keeps "running", and what stopped the run must not be hidden by this.
            if error is None:
                raise
        finally:
            # The mirror may be in a call; a person who pressed Ctrl-C doesn't wait for it.
            self.mirror.stop() if error is None or isinstance(error, Exception) else self.mirror.stop(2.0)

    def __call__(self, name: str, *after: State | None) -> State | None:
        """Have stage ``name``: reused, resumed or run. None if this run has no such stage.

        Args:
            after: the stages that it reads, so that Prefect draws the graph.

        Raises:
            Exception: what the stage failed with.
        """
        planned = self.planned.get(name)
        if planned is None:
            return None
        self._error = None

        @task(
            name=planned.title,
            task_run_name=planned.title,
            # No tags: for a task with tags Prefect asks its server for a slot, and fails the task if that is slow.
            description=f"{planned.stage.door}.run",
            cache_policy=NO_CACHE,  # Prefect would say "Cached" for files that are gone; the store looks at the files
            persist_result=False,
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=RETRY_DELAYS,
            retry_condition_fn=_worth_a_retry,
        )
        def run_stage(stage: str, fingerprint: str, folder: str) -> State:
            return self._attempt(planned)

        state = run_stage(
            name,
            planned.fingerprint,
            str(planned.path),
            return_state=True,
            wait_for=[one for one in after if one is not None],
        )
        if not state.is_completed():
            raise self._error or RuntimeError(f"{planned.title}: {state.message}")
        reports.after_stage(self, name)
        return state

    def result(self) -> dict[str, Any]:
        """What a caller of the flow gets: where everything is."""
        return {
            "run_id": self.record.run_id,
            "record": str(self.record.path),
            "stages": {
                stage.name: {"fingerprint": stage.fingerprint, "path": stage.path, "status": stage.status}
                for stage in self.record.stages
            },
        }

    # ------------------------------------------------------------------------------------------- one stage

    def _attempt(self, planned: PlannedStage) -> State:
        stage, began = planned.stage, time.monotonic()
        record = self.record.stage(stage.name)
        record.started, record.finished, record.error, record.status = datetime.now(UTC), None, None, "running"
        try:
            action, manifest = self._have(planned, record)
        except BaseException as error:
            told = disk_full(error, where=stage.name) if is_disk_full(error) else error
            record.finished = datetime.now(UTC)
            record.error, record.status = explain(told) or repr(told), _status_of(told)
            self._save_after_error()
            self.display.stage_finished(stage, record.status, {}, time.monotonic() - began)
            if not isinstance(told, Exception):
                raise
            self._error = told
            if is_infrastructure_error(told):
                raise told from None if told is error else error
            return failed_state(told)
        self.manifests[stage.name] = manifest
        record.finished, record.counters = datetime.now(UTC), dict(manifest.counters)
        record.status = "reused" if action == "reuse" else "completed"
        self.record.save()
        self.display.stage_finished(stage, record.status, manifest.counters, time.monotonic() - began)
        told_counters = ", ".join(f"{name} {value}" for name, value in list(manifest.counters.items())[:6])
        return Completed(name="Reused" if action == "reuse" else "Completed", message=told_counters or None)

    def _have(self, planned: PlannedStage, record: StageRecord) -> tuple[str, Manifest]:
        """Reuse the artifact or make it; returns what was done, and its manifest."""
        stage = planned.stage
        inputs = self.store.input_records(stage, self.fingerprints) + source_records(planned.files)
        digests = {one.name: one.digest for one in inputs}
        judged = self.store.judge(stage, planned.fingerprint, digests, verify=self.verify)
        record.action = judged.action
        if judged.manifest is not None:
            self.store.point_latest(stage.name, planned.fingerprint)
            return "reuse", judged.manifest
        get_run_logger().info("%s: %s", judged.action, planned.why)
        self.record.save()
        self.display.stage_started(stage)
        with self.store.writer(
            stage, planned.fingerprint, inputs, prefect_run_id=self.record.prefect_flow_run_id, verify=self.verify
        ) as writer:
            if writer.manifest is not None:  # another run finished it a moment ago
                return "reuse", writer.manifest
            counters = self._in_child(planned, writer) if stage.in_child else self._in_process(planned, writer)
            return judged.action, writer.publish(counters)

    def _in_process(self, planned: PlannedStage, writer: Writer) -> dict[str, int | float | str]:
        stage = planned.stage
        door = importlib.import_module(stage.door)
        runtime = self.config.data_runtime() if stage.door.startswith("data_tools.") else self.config.runtime.llm
        return dict(door.run(stage.config, self._folders(planned), writer.out, self._progress(planned), runtime))

    def _in_child(self, planned: PlannedStage, writer: Writer) -> dict[str, int | float | str]:
        stage, log = planned.stage, get_run_logger()

        def hear(line: str) -> None:
            self.display.log(line)
            log.info("%s", line)

        return run_in_child(
            stage.name,
            {
                "stage": stage.door.rpartition(".")[2],
                "config": stage.config.model_dump(mode="json"),
                "inputs": {name: str(folder) for name, folder in self._folders(planned).items()},
                "out": str(writer.out),
                "runtime": self.config.runtime.llm.model_dump(mode="json"),
            },
            progress=self._progress(planned),
            log=hear,
            folder=self.record.path.parent,
            started=writer.lock.adopt,
        )

    def _folders(self, planned: PlannedStage) -> dict[str, Path]:
        return {
            name: self.store.artifact_dir(producer, self.fingerprints[producer])
            for name, producer in planned.stage.inputs.items()
        }

    def _progress(self, planned: PlannedStage) -> Callable[[float, float | None, str], None]:
        log: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()
        said = time.monotonic()

        def progress(done: float, total: float | None, message: str = "") -> None:
            nonlocal said
            self.display.progress(planned.stage, done, total, message)
            if time.monotonic() - said >= LOG_EVERY:
                said = time.monotonic()
                log.info("%g%s %s", done, f" of {total:g}" if total is not None else "", message)

        return progress

    # ------------------------------------------------------------------------------------------- the record

    def _stage_records(self) -> list[StageRecord]:
        return [
            StageRecord(name=p.name, title=p.title, fingerprint=p.fingerprint, path=str(p.path), action=p.action)
            for p in self.planned.values()
        ]

    def _save_after_error(self) -> None:
        try:
            self.record.save()
        except OSError as error:  # the disk may be full: what the stage failed with is what people need to read
            get_run_logger().warning("the run's record can't be written: %s", error)


def _status_of(error: BaseException) -> Any:
    """`interrupted` for what the same command continues (Ctrl-C, SIGTERM, preemption), `failed` for the rest."""
    stopped = not isinstance(error, Exception) or exit_code_of(error) == EXIT_PREEMPTED
    return "interrupted" if stopped else "failed"
