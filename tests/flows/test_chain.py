"""The chain that people read in flows/pipeline.py is the one that flows/stages.py defines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flows import evaluate, finetune, prepare_data, pretrain
from flows.config import PipelineConfig
from flows.pipeline import build_language_model, chain
from flows.stages import stages_of


def test_the_flow_runs_every_stage_after_exactly_what_it_reads(small: PipelineConfig) -> None:
    read: dict[str, set[str]] = {}

    def run(name: str, *after: Any) -> Any:
        read[name] = {one.name for one in after}
        return SimpleNamespace(name=name)

    chain(run)  # type: ignore[arg-type]
    assert read == {stage.name: set(stage.inputs.values()) for stage in stages_of(small)}


@pytest.mark.parametrize(
    "flow",
    [build_language_model, prepare_data.prepare_data, pretrain.pretrain, finetune.finetune, evaluate.evaluate],
)
def test_the_form_of_a_deployment_keeps_the_order_of_the_config(flow: Any) -> None:
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    fields = schema["definitions"]["PipelineConfig"]["properties"]
    assert [name for name, _ in sorted(fields.items(), key=lambda item: item[1]["position"])][:3] == [
        *("name", "ingest", "annotate")
    ]
    assert schema["definitions"]["PretrainConfig"]["properties"]["steps"]["minimum"] == 1
