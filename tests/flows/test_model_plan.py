"""`groundup plan` and `groundup sizes` say what a model costs, before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import load_config
from flows.model_plan import bytes_for_people, count_for_people, model_lines

CONFIGS = Path(__file__).parents[2] / "configs"


def said(config: str, *overrides: str) -> dict[str, str]:
    return {heading: text for heading, text in model_lines(load_config(CONFIGS / config, overrides)) if heading}


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_example_is_valid_and_costed(config: str) -> None:
    lines = said(config)
    assert {"model", "parameters", "pretraining", "memory"} <= lines.keys()


def test_numbers_of_the_124m_model() -> None:
    lines = said("gpt2-124m.yaml")
    assert lines["parameters"].startswith("123,590,400: embedding 38,633,472, blocks 84,956,928, head is the embedding")
    assert "3,250 steps of 524,288 = 1.7B tokens, 13.8 a parameter" in lines["pretraining"]
    assert "0.798 GFLOP a token" in lines["pretraining"]
    assert "optimizer 649 MB" in lines["memory"]  # 4 bytes a number under Muon, 8 under AdamW
    assert "one device's nominal bf16: H200 50 min 56 s" in lines["time"]
    assert (
        "of 4 devices' nominal bf16: H200 12 min 44 s"
        in said("gpt2-124m.yaml", "runtime.llm.parallel.processes=4")["time"]
    )
    assert "head 38,633,472" in said("gpt2-124m.yaml", "model.tie_embeddings=false")["parameters"]


def test_no_time_is_promised_for_a_model_that_no_gpu_is_busy_with() -> None:
    assert "time" not in said("quickstart.yaml")


def test_the_costs_need_no_torch() -> None:
    code = (
        "import sys; from flows.commands.sizes import sizes; sizes()\n"
        "from flows.config import load_config; from flows.model_plan import model_lines\n"
        f"model_lines(load_config({str(CONFIGS / 'gpt2-124m.yaml')!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "110M" in rows["124m"] and "1.13B" in rows["1b"]


def test_numbers_for_people() -> None:
    assert [count_for_people(value) for value in (7, 1234, 5.24e9, 1.2e12)] == ["7", "1.23K", "5.24B", "1.2T"]
    assert [bytes_for_people(value) for value in (12e6, 1.6e9, 2e12)] == ["12 MB", "1.6 GB", "2 TB"]
