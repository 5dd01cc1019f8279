"""The scripts of the training benchmarks, as far as they can be run in a second."""

import math

import pytest
import torch

from benchmarks.gpu_training import CONTENDERS, compare
from benchmarks.sample_efficiency import SCALES, recipe, share_to_reach
from llm_core.config import PretrainStage
from llm_core.model.presets import parameter_count


def test_the_gpu_script_trains_every_contender() -> None:
    result = compare(["tiny"], list(CONTENDERS), torch.device("cpu"), compiled=False, steps=1, warm_up=1)
    rows = result["parts"]["tiny"]
    assert [row["contender"] for row in rows] == list(CONTENDERS)
    assert all(row["tokens_per_second"] > 0 and row["step_tokens"] == 64 for row in rows)
    assert all(row["loss"] == pytest.approx(math.log(128), abs=0.2) for row in rows)  # as of random weights


def test_the_share_of_tokens_is_read_off_a_line_over_the_logarithm() -> None:
    losses = {0.25: 3.0, 0.5: 2.0, 1.0: 1.5}
    assert share_to_reach(3.2, losses)[0] == 0.25
    assert share_to_reach(2.5, losses)[0] == pytest.approx(0.25 * 2**0.5)
    assert share_to_reach(1.5, losses)[0] == pytest.approx(1.0)
    assert share_to_reach(1.4, losses) == (1.0, "not reached at 1.00 of the tokens, the most that was tried")


@pytest.mark.parametrize("scale", SCALES)
def test_the_recipes_are_of_one_size(scale: str) -> None:
    sizes = {}
    for who in ("nanogpt", "portable"):
        model, train = recipe(SCALES[scale], who, 100, 1, 1e-3)
        stage = PretrainStage.model_validate({"model": model, "train": train})
        assert stage.train.batch_tokens == SCALES[scale].batch_tokens
        sizes[who] = parameter_count(stage.model, SCALES[scale].vocab_size)
    assert sizes["portable"] == pytest.approx(sizes["nanogpt"], rel=0.03)
