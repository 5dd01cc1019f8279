"""What MLflow shows after a run, after two, after a crash at any call, and after a model was reused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows.config import TrackingConfig
from flows.environment import settings
from flows.lineage.manifest import Manifest
from flows.tracking import Mirror, sync
from flows.tracking.ledger import Ledger, exclusive, ledger_path, lock_path
from flows.tracking.reconcile import find_runs, reconcile
from tests.flows.tracking_pipeline import SHORT, START, Pipeline


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A migrated, empty database."""
    from flows.environment import mlflow_database, mlflow_uri

    workspace = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(workspace).items():
            patch.setenv(name, value)
        from tests.flows.tracking_mlflow import open_client

        mlflow_database(workspace).parent.mkdir(parents=True)
        open_client(mlflow_uri(workspace)).search_experiments()
        yield mlflow_database(workspace)


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    from tests.flows.tracking_mlflow import new_database

    return new_database(template, tmp_path)


def mirrored(pipeline: Pipeline, uri: str) -> None:
    """One pass, as the mirror makes it."""
    from tests.flows.tracking_mlflow import open_client

    reconcile(pipeline.path, open_client(uri), Ledger(ledger_path(pipeline.path), uri))


def test_a_run_is_shown_with_its_stages_metrics_data_sets_and_models(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    pipeline = Pipeline(tmp_path).whole(steps=20)
    mirrored(pipeline, uri)
    seen = picture(open_client(uri))
    run = pipeline.record.run_id
    assert set(seen["runs"]) == {f"{run}/{name}" for name in ["pipeline", *pipeline.plan]}
    assert all(len(entries) == 1 for entries in seen["runs"].values())

    (parent,) = seen["runs"][f"{run}/pipeline"]
    assert parent["status"] == "FINISHED" and parent["parent"] is None
    assert parent["params"]["pretrain.optimizer.lr"] == "0.001"
    assert ("scorecard/ratio", 0, int(pipeline.record.stage("evaluate").finished.timestamp() * 1000), 0.5) in parent[
        "points"
    ]
    assert {"config.resolved.yaml", "scorecard.md", "confusion.csv"} <= set(parent["files"])
    assert parent["tags"]["mlflow.note.content"] == "# Scorecard\n"
    assert parent["tags"]["prefect.flow_run_id"] == pipeline.record.prefect_flow_run_id

    (pretrain,) = seen["runs"][f"{run}/pretrain"]
    assert pretrain["parent"] == f"{run}/pipeline"
    assert pretrain["params"]["model.layers"] == "6" and pretrain["params"]["train.optimizer.lr"] == "0.001"
    assert pretrain["tags"]["groundup.fingerprint"] == pipeline.fingerprint("pretrain")
    assert pretrain["tags"]["mlflow.source.git.commit"].startswith("c0ffee")
    lines = [json.loads(line) for line in (pipeline.folder("pretrain") / "metrics.jsonl").read_text().splitlines()]
    losses = [
        ("train/loss", e["step"], int(e["time"] * 1000), e["train/loss"])
        for e in lines
        if e.get("train/loss") is not None
    ]
    assert [point for point in pretrain["points"] if point[0] == "train/loss"] == losses
    shards = Manifest.load(pipeline.folder("shards"))
    assert shards is not None
    assert pretrain["inputs"] == [
        (
            "shards-shards",
            shards.digest[:32],
            [("groundup.digest", shards.digest), ("mlflow.data.context", "training")],
        )
    ]
    (tokenizer,) = seen["runs"][f"{run}/tokenizer"]
    assert tokenizer["files"] == ["chat_template.jinja", "report.json", "tokenizer.json"]

    assert set(seen["registry"]) == {"base", "classifier", "assistant"}
    ((version, source, made_by, tags),) = seen["registry"]["base"]["versions"]
    assert source == (pipeline.folder("pretrain") / "model").as_uri()
    assert made_by == f"{run}/pretrain" and seen["registry"]["base"]["aliases"] == {"candidate": version}
    weights = next(o for o in Manifest.load(pipeline.folder("pretrain")).outputs if o.path.endswith(".safetensors"))  # type: ignore[union-attr]
    assert dict(tags)["groundup.sha256"] == weights.sha256
    assert not [path for path in (tmp_path / "mlflow").rglob("*") if path.suffix in (".safetensors", ".parquet")]


def test_telling_it_twice_or_with_the_memory_lost_changes_nothing(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import FailingClient, open_client, picture

    pipeline = Pipeline(tmp_path, SHORT).whole()
    mirrored(pipeline, uri)
    once = picture(open_client(uri))
    client = FailingClient(open_client(uri))
    reconcile(pipeline.path, client, Ledger(ledger_path(pipeline.path), uri))  # type: ignore[arg-type]
    assert client.calls == []  # what is known to be there costs nothing
    ledger_path(pipeline.path).write_text("{ torn")
    mirrored(pipeline, uri)
    assert picture(open_client(uri)) == once
    report = sync(tmp_path, uri)
    assert (report.added_runs, report.added_points, report.complete) == (0, 0, True)
    assert picture(open_client(uri)) == once


@pytest.mark.slow
def test_a_crash_after_any_call_leaves_nothing_doubled_and_nothing_missing(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import FailingClient, PowerCut, open_client, picture

    pipeline = Pipeline(tmp_path, SHORT).whole(steps=12)
    client = open_client(uri)

    def run(experiment: str, limit: int | None) -> list[str]:
        """Into an experiment of its own, as if for the first time; returns the calls that were made."""
        ledger_path(pipeline.path).unlink(missing_ok=True)
        pipeline.record.config["runtime"]["tracking"]["experiment"] = experiment
        pipeline.record.save()
        failing = FailingClient(client, limit)
        reconcile(pipeline.path, failing, Ledger(ledger_path(pipeline.path), uri))  # type: ignore[arg-type]
        return failing.calls

    calls = run("whole", None)
    expected = picture(client, "whole")
    assert len(calls) > 20 and len(expected["runs"]) == 4 and expected["registry"]["base"]["versions"]
    for number in range(1, len(calls) + 1):
        experiment = f"crash{number}"
        with pytest.raises(PowerCut):
            run(experiment, number)
        report = sync(tmp_path, uri)
        assert report.complete, (number, calls[number - 1], str(report))
        assert picture(client, experiment) == expected, (number, calls[number - 1])


def test_a_running_run_is_followed_piece_by_piece(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    pipeline = Pipeline(tmp_path, SHORT)
    pipeline.begin("mix")
    pipeline.finish("mix")
    pipeline.begin("pretrain")
    for first in (1, 6, 11):
        pipeline.measure("pretrain", first, first + 4)
        mirrored(pipeline, uri)
        (stage,) = picture(open_client(uri))["runs"][f"{pipeline.record.run_id}/pretrain"]
        assert stage["status"] == "RUNNING"
        assert [p[1] for p in stage["points"] if p[0] == "train/loss"] == list(range(1, first + 5))
    assert f"{pipeline.record.run_id}/evaluate" not in picture(open_client(uri))["runs"]
    pipeline.record.stage("pretrain").status = "failed"
    pipeline.record.stage("pretrain").error = "out of memory"
    pipeline.end("failed")
    mirrored(pipeline, uri)
    seen = picture(open_client(uri))["runs"]
    (parent,), (stage,) = seen[f"{pipeline.record.run_id}/pipeline"], seen[f"{pipeline.record.run_id}/pretrain"]
    assert (parent["status"], stage["status"]) == ("FAILED", "FAILED")
    assert stage["tags"]["groundup.error"] == "out of memory"


def test_a_resumed_training_belongs_to_both_runs_and_no_step_is_doubled(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    killed = Pipeline(tmp_path, ("pretrain",))
    killed.begin("pretrain")
    killed.measure("pretrain", 1, 8)
    mirrored(killed, uri)
    # The process is killed; its record stays "running". The next run cuts the log at the checkpoint (step 5), goes on.
    resumed = Pipeline(tmp_path, ("pretrain",), started=killed.clock + timedelta(minutes=1))
    resumed.begin("pretrain")
    log = resumed.folder("pretrain") / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:5]))
    mirrored(resumed, uri)
    resumed.measure("pretrain", 6, 12)
    mirrored(resumed, uri)
    resumed.finish("pretrain")
    resumed.end()
    assert sync(tmp_path, uri).complete
    seen = picture(open_client(uri))["runs"]
    (first,), (second,) = seen[f"{killed.record.run_id}/pretrain"], seen[f"{resumed.record.run_id}/pretrain"]
    assert first["status"] == "KILLED" and second["status"] == "FINISHED"
    assert [p[1] for p in first["points"] if p[0] == "train/loss"] == list(range(1, 9))
    assert [p[1] for p in second["points"] if p[0] == "train/loss"] == list(range(1, 13))


def test_a_log_that_is_cut_while_it_is_followed_gives_every_step_once(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    pipeline = Pipeline(tmp_path, ("pretrain",))
    pipeline.begin("pretrain")
    pipeline.measure("pretrain", 1, 9)
    mirrored(pipeline, uri)
    log = pipeline.folder("pretrain") / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:4]))
    pipeline.measure("pretrain", 5, 15)
    mirrored(pipeline, uri)
    (stage,) = picture(open_client(uri))["runs"][f"{pipeline.record.run_id}/pretrain"]
    assert [p[1] for p in stage["points"] if p[0] == "train/loss"] == list(range(1, 16))


def test_reuse_links_to_the_maker_and_makes_no_second_version(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    maker = Pipeline(tmp_path, SHORT).whole()
    mirrored(maker, uri)
    again = Pipeline(tmp_path, SHORT, started=START + timedelta(hours=1)).whole()
    report = sync(tmp_path, uri)
    assert report.complete and report.added_runs == 4
    client = open_client(uri)
    seen = picture(client)
    (stage,) = seen["runs"][f"{again.record.run_id}/pretrain"]
    assert stage["tags"]["reused"] == "true" and stage["status"] == "FINISHED"
    assert [p for p in stage["points"] if p[0] == "train/loss"] == []
    experiment = client.get_experiment_by_name("tiny").experiment_id
    made = find_runs(client, experiment, maker.record.run_id)["pretrain"]
    reused = find_runs(client, experiment, again.record.run_id)["pretrain"]
    assert client.get_run(reused).data.tags["groundup.made_by_run"] == made
    assert [version[0] for version in seen["registry"]["base"]["versions"]] == ["1"]
    (parent,) = seen["runs"][f"{again.record.run_id}/pipeline"]
    assert "scorecard.md" in parent["files"]  # the pipeline's own page is complete, whoever made the artifact


def test_the_candidate_is_of_the_newest_run_in_whatever_order_they_are_told(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client

    old = Pipeline(tmp_path, ("pretrain",)).whole(steps=2)
    manifest = Manifest.load(old.folder("pretrain"))
    assert manifest is not None
    new = Pipeline(tmp_path, ("pretrain",), started=START + timedelta(hours=1))
    new.record.stages[0].path = str(tmp_path / "artifacts" / "pretrain" / "another")
    new.folder = lambda name: tmp_path / "artifacts" / "pretrain" / "another"  # type: ignore[method-assign]
    new.fingerprint = lambda name: "f" * 64  # type: ignore[method-assign]
    new.begin("pretrain")
    new.finish("pretrain")
    new.end()
    mirrored(new, uri)
    mirrored(old, uri)
    client = open_client(uri)
    assert client.get_model_version_by_alias("tiny-base", "candidate").tags["groundup.fingerprint"] == "f" * 64
    assert len(client.search_model_versions("name = 'tiny-base'")) == 2


def test_sync_repairs_what_mlflow_lost(template: Path, tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import new_database, open_client, picture

    pipeline = Pipeline(tmp_path, SHORT).whole()
    mirrored(pipeline, uri)
    once = picture(open_client(uri))
    other = new_database(template, tmp_path, "other.db")  # an empty MLflow, while the ledger remembers a full one
    ledger = ledger_path(pipeline.path)
    ledger.write_text(ledger.read_text().replace(uri, other))
    report = sync(tmp_path, other)
    assert report.complete and report.added_runs == 4 and report.added_points == report.points > 0
    assert picture(open_client(other)) == once


def test_sync_leaves_alone_what_a_person_deleted_and_what_still_runs(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    deleted = Pipeline(tmp_path, ("mix",)).whole()
    mirrored(deleted, uri)
    client = open_client(uri)
    parent = find_runs(client, client.get_experiment_by_name("tiny").experiment_id, deleted.record.run_id)["pipeline"]
    client.delete_run(parent)
    ledger_path(deleted.path).unlink()
    live = Pipeline(tmp_path, ("mix",), started=START + timedelta(hours=1))
    with exclusive(lock_path(live.path)) as held:
        assert held
        report = sync(tmp_path, uri)
    assert report.deleted == [deleted.record.run_id] and report.busy == [live.record.run_id]
    assert len(picture(client)["runs"]) == 2
    assert client.get_run(parent).info.lifecycle_stage == "deleted"


def test_the_mirror_follows_a_run_to_its_end(tmp_path: Path, uri: str) -> None:
    from tests.flows.tracking_mlflow import open_client, picture

    said: list[str] = []
    pipeline = Pipeline(tmp_path, SHORT)
    mirror = Mirror(pipeline.path, TrackingConfig(uri=uri), said.append, poll_seconds=0.05).start()
    pipeline.whole()
    assert mirror.stop(60) and said == []
    assert len(picture(open_client(uri))["runs"]) == 4
    assert sync(tmp_path, uri).added_points == 0


def test_a_second_mirror_of_the_same_run_keeps_out(tmp_path: Path, uri: str) -> None:
    said: list[str] = []
    pipeline = Pipeline(tmp_path, SHORT).whole()
    with exclusive(lock_path(pipeline.path)):
        assert not Mirror(pipeline.path, TrackingConfig(uri=uri), said.append).start().stop(60)
    assert "another process" in said[0]


def test_tracking_that_is_off_does_nothing(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, ("mix",)).whole()
    assert Mirror(pipeline.path, TrackingConfig(enabled=False)).start().stop()
    assert not ledger_path(pipeline.path).exists()
