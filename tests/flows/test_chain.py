"""The chain that people read in flows/pipeline.py is the one that flows/stages.py defines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flows import evaluate, finetune, prepare_data, pretrain
from flows.config import PipelineConfig
from flows.pipeline import build_language_model, chain
from flows.stages import VERSION, stages_of


@pytest.mark.parametrize("which", ["bare", "small", "full"])
def test_the_flow_runs_every_stage_after_exactly_what_it_reads(which: str, request: pytest.FixtureRequest) -> None:
    """In configurations with none, some and all of the stages that can be left out."""
    stages = stages_of(request.getfixturevalue(which))
    planned = {stage.name for stage in stages}
    read: dict[str, set[str]] = {}
    asked: list[str] = []

    def run(name: str, *after: Any) -> Any:
        asked.append(name)
        if name not in planned:
            return None  # as Run does
        read[name] = {one.name for one in after if one is not None}
        return SimpleNamespace(name=name)

    chain(run)  # type: ignore[arg-type]
    assert read == {stage.name: set(stage.inputs.values()) for stage in stages}
    assert [name for name in asked if name in planned] == list(read)
    assert len(asked) == len(set(asked)) and set(asked) == set(VERSION)


def test_full_has_every_stage_and_bare_only_what_cant_be_left_out(full: PipelineConfig, bare: PipelineConfig) -> None:
    assert {stage.name for stage in stages_of(full)} == set(VERSION)
    left_out = set(VERSION) - {stage.name for stage in stages_of(bare)}
    assert left_out == {
        *("quality_classifier", "clean", "decontaminate", "classification_set", "instruction_set"),
        *("classifier", "classifier_from_scratch", "assistant"),
    }


def test_only_stages_that_name_files_are_asked_for_their_digests(full: PipelineConfig, small: PipelineConfig) -> None:
    asked = [stage.name for stage in stages_of(full) if stage.reads_files]
    assert asked == ["ingest", "quality_classifier", "deduplicate", "decontaminate"]
    assert [stage.name for stage in stages_of(small) if stage.reads_files] == ["ingest"]


@pytest.mark.parametrize(
    "flow",
    [build_language_model, prepare_data.prepare_data, pretrain.pretrain, finetune.finetune, evaluate.evaluate],
)
def test_the_form_of_a_deployment_keeps_the_order_of_the_config(flow: Any) -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    fields = schema["definitions"]["PipelineConfig"]["properties"]
    assert [name for name, _ in sorted(fields.items(), key=lambda item: item[1]["position"])][:4] == [
        *("name", "ingest", "quality_classifier", "annotate")
    ]
    assert schema["definitions"]["PretrainConfig"]["properties"]["steps"]["minimum"] == 1
