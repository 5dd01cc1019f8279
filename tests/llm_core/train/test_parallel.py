"""Several processes do what one does: ragged masks, rows that can't be shared evenly, and all ways of dividing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llm_core.config import LlmRuntime, ModelConfig, ParallelConfig
from llm_core.errors import LlmCoreError
from llm_core.train.parallel import Parallel, start
from llm_core.train.parallel.mesh import Sizes
from tests.llm_core.train.several_processes import CASES, train

ALL = {name: case for cases in CASES.values() for name, case in cases.items()}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 4 and 2 processes left."""
    folder = tmp_path_factory.mktemp("several")
    done = subprocess.run(
        [sys.executable, "-m", "tests.llm_core.train.several_processes", str(folder)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_the_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("train/loss", "train/grad_norm"):
        assert result[name] == pytest.approx(expected[name], rel=1e-5), name
        assert len(result[name]) == len(expected[name])
    assert result["validation"] == pytest.approx(expected["validation"], rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_trains_as_one_process_does(name: str, several: Path, tmp_path: Path) -> None:
    case = ALL[name]
    result, weights = json.loads((several / f"{name}.json").read_text()), load_file(several / f"{name}.safetensors")
    expected, expected_weights = train(case, tmp_path, Parallel())
    assert_the_same(result, expected)
    assert result["validations"] == [result["validation"]] * len(result["validations"])  # no process thinks otherwise
    assert (result["resumed_from"] > 0) == bool(case.resumes)
    assert expected_weights is not None and weights.keys() == expected_weights.keys()
    for parameter, weight in expected_weights.items():
        assert torch.allclose(weights[parameter], weight, rtol=0, atol=2e-5), parameter
    assert expected["train/loss"][-1] != expected["train/loss"][0]


def test_one_process_goes_on_from_the_checkpoint_of_four(several: Path, tmp_path: Path) -> None:
    resumed = next(case for case in ALL.values() if case.resumes == "fsdp-tensor")
    result, _ = train(resumed, several / "of-four" / "fsdp-tensor", Parallel())
    expected, _ = train(resumed, tmp_path, Parallel())
    assert result["resumed_from"] == 3
    assert_the_same(result, expected)


@pytest.mark.parametrize(
    ("parallel", "processes", "told"),
    [
        ({"tensor": 3}, 4, "tensor 3 x pipeline 1 = 3 doesn't divide the run's 4 processes"),
        ({"pipeline": 4}, 4, "3 layers can't be shared by 4 pipeline stages"),
        ({"tensor": 4}, 4, "kv_heads 2 can't be shared evenly by 4 devices"),
    ],
)
def test_says_what_cannot_be_divided(parallel: dict[str, int], processes: int, told: str) -> None:
    with pytest.raises(LlmCoreError, match=told):
        Sizes.of(ParallelConfig(**parallel), processes).check(ModelConfig(layers=3, dim=32, heads=4, kv_heads=2))


def test_too_few_rows_and_impossible_wishes_are_refused() -> None:
    with pytest.raises(LlmCoreError, match="3 rows can't be shared by 4"):
        Sizes(4, 1, 1).check_batch(3)
    with pytest.raises(LlmCoreError, match="preset speed"):
        Sizes(1, 1, 2).check(ModelConfig(preset="speed", layers=2, dim=32, heads=2, ffn_dim=64))
    with pytest.raises(LlmCoreError, match="only fsdp"):
        start(LlmRuntime.model_validate({"parallel": {"offload": True, "tensor": 2}}), torch.device("cpu"))


def test_one_process_alone_needs_no_group() -> None:
    parallel = start(LlmRuntime(), torch.device("cpu"))
    assert type(parallel) is Parallel and not torch.distributed.is_initialized()
    assert parallel.any_of([True, False]) == [True, False] and parallel.gather({"a": 1}) == [{"a": 1}]
