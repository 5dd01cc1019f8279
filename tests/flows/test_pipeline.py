"""The flow from its first line to its last, through Prefect, with doors that do no work."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_tools.errors import DataError
from flows.config import PipelineConfig
from flows.errors import DiskFull, Preempted
from flows.lineage.store import Store
from flows.run_record import RunRecord, newest
from flows.stages import stages_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def prefect_api() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


def build(config: PipelineConfig, **kwargs: Any) -> dict[str, Any]:
    from flows.pipeline import build_language_model

    return build_language_model(config, **kwargs)


def the_run(config: PipelineConfig) -> RunRecord:
    record = newest(config.workspace)
    assert record is not None
    return record


def statuses(config: PipelineConfig) -> dict[str, str]:
    return {stage.name: stage.status for stage in the_run(config).stages}


def prefect_states(record: RunRecord) -> tuple[Any, dict[str, Any]]:
    """The flow run and the states of its task runs, as Prefect's pages would show them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    run = FlowRunFilter(id=FlowRunFilterId(any_=[record.prefect_flow_run_id]))  # type: ignore[list-item]
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while True:  # task runs arrive as events, a moment later
            (flow_run,) = client.read_flow_runs(flow_run_filter=run)
            tasks = {one.name: one.state for one in client.read_task_runs(flow_run_filter=run)}
            began = [stage for stage in record.stages if stage.status != "pending"]
            settled = len(tasks) == len(began) and all(state and state.is_final() for state in tasks.values())
            if settled or time.monotonic() > deadline:
                return flow_run, tasks
            time.sleep(0.3)


def reports_of(record: RunRecord) -> dict[str, str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[record.prefect_flow_run_id]))  # type: ignore[list-item]
    with get_client(sync_client=True) as client:
        return {str(one.key): str(one.data) for one in client.read_artifacts(artifact_filter=only)}


def test_a_run_makes_everything_and_the_next_one_reuses_it(
    small: PipelineConfig, doors: Any, fake_trainer: Path, told: Any
) -> None:
    result = build(small)
    names = [stage.name for stage in stages_of(small)]
    assert list(result["stages"]) == names
    assert statuses(small) == dict.fromkeys(names, "completed")
    assert all(Store(small.workspace).latest(name) for name in names)
    assert len(doors.entered) == 10 and "a line from finetune_classifier" in told.lines
    record = the_run(small)
    assert record.status == "completed" and record.run_id == result["run_id"]
    flow_run, tasks = prefect_states(record)
    assert flow_run.name == f"small-{record.stages[-1].fingerprint[:6]}"
    assert list(tasks) and {state.name for state in tasks.values()} == {"Completed"}
    assert set(tasks) == {stage.title for stage in record.stages}
    shown = reports_of(record)
    assert set(shown) == {
        *("data-funnel", "data-reasons", "data-counters", "data-card", "duplicates"),
        *("tokenizer", "tokenizers", "training-summary", "scorecard"),
    }
    assert shown["tokenizer"] == "# Tokenizer\n" and json.loads(shown["tokenizers"])[0]["unknown"] == "12.50%"
    assert shown["data-card"] == "# Data card\n" and json.loads(shown["duplicates"])[0]["similarity"] == 0.812
    assert json.loads(shown["data-funnel"])[0]["stage"] == "ingest" and "90.0%" in shown["data-funnel"]
    assert "2.5" in shown["training-summary"] and shown["scorecard"] == "# Scorecard\n"

    build(small)
    assert statuses(small) == dict.fromkeys(names, "reused")
    assert len(doors.entered) == 10  # nobody came in again
    assert set(told.finished.values()) == {"reused"}
    again, tasks = prefect_states(the_run(small))
    assert again.state.is_completed() and {state.name for state in tasks.values()} == {"Reused"}

    output = Store(small.workspace).plan(small)[4].path / "documents" / "part-00000.parquet"
    output.write_text("truncated")
    build(small)
    assert [name for name, status in statuses(small).items() if status == "completed"] == ["mix"]


def test_an_error_for_people_is_said_once_and_not_retried(small: PipelineConfig, doors: Any, told: Any) -> None:
    def refuse(out: Path) -> dict[str, int]:
        raise DataError("every document was filtered away", where="select", fix="loosen the thresholds")

    doors.instead["select"] = refuse
    with pytest.raises(DataError, match="filtered away"):
        build(small)
    record = the_run(small)
    assert record.status == "failed" and "loosen the thresholds" in (record.error or "")
    assert statuses(small)["select"] == "failed" and statuses(small)["deduplicate"] == "pending"
    assert doors.entered == ["ingest", "annotate", "select"]
    flow_run, tasks = prefect_states(record)
    for state in (flow_run.state, tasks["Keep the good documents"]):
        assert state.is_failed()
        assert state.message == "select: every document was filtered away loosen the thresholds"
    doors.instead.clear()


def test_an_outage_is_retried(small: PipelineConfig, doors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.runner

    tries = []

    def refused_once(out: Path) -> dict[str, int]:
        tries.append(out)
        if len(tries) == 1:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        (out / "x.txt").write_text("x")
        return {}

    doors.instead["ingest"] = refused_once
    monkeypatch.setattr(flows.runner, "RETRY_DELAYS", [0.0])
    from flows.prepare_data import prepare_data

    prepare_data(small)
    assert len(tries) == 2
    assert list(statuses(small)) == [
        *("ingest", "annotate", "select", "deduplicate", "mix", "data_card", "classification_set", "instruction_set")
    ]
    assert set(statuses(small).values()) == {"completed"}


def test_a_full_disk_is_said_and_nothing_looks_finished(small: PipelineConfig, doors: Any) -> None:
    def full(out: Path) -> dict[str, int]:
        (out / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "half.txt"))

    doors.instead["deduplicate"] = full
    with pytest.raises(DiskFull, match="the disk is full") as caught:
        build(small)
    assert caught.value.exit_code == 74
    assert Store(small.workspace).latest("deduplicate") is None
    assert statuses(small)["deduplicate"] == "failed"


STOPPABLE = """
import json, pathlib, signal, sys, time
request = json.load(open(sys.argv[1]))
out = pathlib.Path(request["out"])
if (out / "checkpoints").exists():
    (out / "model.txt").write_text((out / "checkpoints" / "state").read_text())
    (out / "scorecard.md").write_text("# Scorecard")
    print(json.dumps({"counters": {"resumed": 1}})); sys.exit(0)
def save(*_):
    (out / "checkpoints").mkdir(); (out / "checkpoints" / "state").write_text("saved"); sys.exit(75)
signal.signal(signal.SIGTERM, save)
print(json.dumps({"log": "ready"}), flush=True)
time.sleep(100)
"""


def test_what_was_stopped_is_saved_and_resumed(
    small: PipelineConfig, doors: Any, fake_trainer: Path, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs: Ctrl-C here, a SIGTERM that reaches only the child, and one that is left in peace."""
    from flows.pretrain import pretrain

    def press_ctrl_c(line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    fake_trainer.write_text(STOPPABLE)
    monkeypatch.setattr(told, "log", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        pretrain(small)
    assert the_run(small).status == "interrupted" and statuses(small)["pretrain"] == "interrupted"
    planned = {one.name: one for one in Store(small.workspace).plan(small)}["pretrain"]
    assert planned.action == "resume"
    assert (planned.path / "checkpoints" / "state").read_text() == "saved"
    assert not (planned.path / "lock.json").exists()

    (planned.path / "checkpoints" / "state").unlink()
    (planned.path / "checkpoints").rmdir()
    monkeypatch.setattr(told, "log", lambda line: _stop_the_child())
    with pytest.raises(Preempted):
        pretrain(small)
    assert the_run(small).status == "interrupted" and statuses(small)["pretrain"] == "interrupted"
    assert prefect_states(the_run(small))[0].state.name == "Interrupted"

    pretrain(small)
    assert statuses(small)["pretrain"] == "completed" and statuses(small)["shards"] == "reused"
    assert the_run(small).stage("pretrain").action == "resume"
    assert (planned.path / "model.txt").read_text() == "saved"


def _stop_the_child() -> None:
    import psutil

    for child in psutil.Process().children():
        if any(part.endswith("trainer.py") for part in child.cmdline()):
            child.terminate()
