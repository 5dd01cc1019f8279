"""The plan says what a run would do, and a person sees why."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import PipelineConfig, load_config
from flows.lineage.plan import PlannedStage, needed, source_records
from flows.lineage.store import Store
from flows.stages import stages_of


def plan(config: PipelineConfig) -> dict[str, PlannedStage]:
    return {one.name: one for one in Store(config.workspace).plan(config)}


def build(config: PipelineConfig, only: str | None = None) -> None:
    """Make what the plan asks for, with the config itself as content."""
    store = Store(config.workspace)
    planned = plan(config)
    fingerprints = {name: one.fingerprint for name, one in planned.items()}
    for one in planned.values():
        if one.action == "reuse" or (only and one.name != only):
            continue
        inputs = store.input_records(one.stage, fingerprints) if one.stage.inputs else source_records(one.inputs)
        with store.writer(one.stage, one.fingerprint, inputs) as writer:
            (writer.out / "output.txt").write_text(one.fingerprint)
            writer.publish({})


def actions(config: PipelineConfig) -> dict[str, str]:
    return {name: one.action for name, one in plan(config).items()}


@pytest.fixture
def built(small: PipelineConfig, doors: object) -> PipelineConfig:
    assert set(actions(small).values()) == {"run"}
    assert "first time" in plan(small)["mix"].why
    build(small)
    return small


def test_what_was_made_is_reused(built: PipelineConfig) -> None:
    assert set(actions(built).values()) == {"reuse"}


def test_a_change_is_named_with_the_key_of_the_file(built: PipelineConfig, experiment: Path) -> None:
    changed = plan(load_config(experiment, ["pretrain.steps=50", "model.layers=2"]))
    why = changed["pretrain"].why
    old = plan(built)["pretrain"].fingerprint[:12]
    assert "pretrain.steps changed from 10 to 50" in why and "model.layers changed from 1 to 2" in why and old in why
    assert "inputs changed: pretrain" in changed["evaluate"].why
    assert changed["shards"].action == "reuse"


def test_the_data_card_names_the_section_that_its_recipe_is_of(built: PipelineConfig, experiment: Path) -> None:
    changed = plan(load_config(experiment, ["select.gopher_quality.min_words=7", "data_card.examples=1"]))
    why = changed["data_card"].why
    assert "select.gopher_quality.min_words changed from 50 to 7" in why and "recipe" not in why
    assert "data_card.examples changed from 3 to 1" in why
    only = plan(load_config(experiment, ["data_card.title=Mine"]))
    assert [name for name, one in only.items() if one.action != "reuse"] == ["data_card"]


def test_a_source_that_changed_is_named(built: PipelineConfig, tmp_path: Path) -> None:
    (tmp_path / "texts" / "a.txt").write_text("changed")
    (tmp_path / "texts" / "b.txt").write_text("added")
    planned = plan(built)
    assert set(actions(built).values()) == {"run"}
    assert "source texts/a.txt changed" in planned["ingest"].why
    assert "texts/b.txt changed (new)" in planned["ingest"].why


def test_a_lost_output_is_made_again_and_the_rest_reused_if_it_comes_out_the_same(built: PipelineConfig) -> None:
    planned = plan(built)
    (planned["mix"].path / "output.txt").unlink()
    planned = plan(built)
    assert planned["mix"].action == "resume" and "output.txt is missing" in planned["mix"].why
    assert [name for name, one in planned.items() if one.action != "reuse"] == ["mix"]
    assert "if mix comes out the same" in planned["tokenizer"].why
    build(built)
    assert set(actions(built).values()) == {"reuse"}


def test_what_comes_out_otherwise_the_second_time_is_not_reused_below(built: PipelineConfig) -> None:
    """A stage that isn't deterministic (or was patched) must not leave a chain that doesn't fit together."""
    store, planned = Store(built.workspace), plan(built)
    stage = planned["mix"]
    (stage.path / "output.txt").unlink()
    fingerprints = {name: one.fingerprint for name, one in planned.items()}
    with store.writer(stage.stage, stage.fingerprint, store.input_records(stage.stage, fingerprints)) as writer:
        (writer.out / "output.txt").write_text("something else")
        writer.publish({})
    after = plan(built)
    assert after["mix"].action == "reuse"
    readers = {s.name for s in stages_of(built) if "mix" in s.inputs.values()}
    assert {name for name, one in after.items() if "input changed: documents" in one.why} == readers


def test_stages_come_after_what_they_read(small: PipelineConfig) -> None:
    seen: set[str] = set()
    for stage in stages_of(small):
        assert set(stage.inputs.values()) <= seen
        seen.add(stage.name)
    assert len(seen) == 15


def test_only_what_is_configured_is_a_stage(experiment: Path) -> None:
    config = load_config(
        experiment, ["classifier=null", "compare_from_scratch=false", "instruction_set=null", "assistant=null"]
    )
    stages = {stage.name: stage for stage in stages_of(config)}
    assert not {"classifier", "classifier_from_scratch", "assistant", "instruction_set"} & set(stages)
    assert set(stages["evaluate"].inputs) == {"shards", "documents", "tokenizer", "model", "classification_set"}


def test_a_classifier_from_scratch_reads_no_model(small: PipelineConfig) -> None:
    stages = {stage.name: stage for stage in stages_of(small)}
    assert "model" in stages["classifier"].inputs
    assert "model" not in stages["classifier_from_scratch"].inputs
    assert stages["classifier_from_scratch"].config.train.init == "scratch"  # type: ignore[attr-defined]


def test_what_a_run_until_a_stage_needs(small: PipelineConfig) -> None:
    planned = Store(small.workspace).plan(small)
    assert list(needed(planned, [])) == [one.name for one in planned]
    assert list(needed(planned, ["data_card", "nothing"]))[-1] == "data_card"
    assert "tokenizer" not in needed(planned, ["data_card"]) and "mix" in needed(planned, ["tokenizer"])
    assert set(needed(planned, ["annotate"])) == {"ingest", "annotate"}
