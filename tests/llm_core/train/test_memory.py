import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.config import LlmRuntime, ModelConfig, OptimizerConfig, TrainConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.train.batches import IGNORE, Batch, Example, pad
from llm_core.train.memory import (
    BatchPlan,
    available_memory,
    calculate_plan,
    checkpointing_of,
    is_out_of_memory,
    set_checkpointing,
    stronger,
)
from llm_core.train.objectives import next_token
from llm_core.train.probe import Trial, _as_it_was, search, try_step, widest
from llm_core.train.random_state import random_state

CPU = torch.device("cpu")
SHAPE = ModelConfig(layers=6, dim=64, heads=2, ffn_dim=128, context_length=256)


def plan(available: int | None, **more: Any) -> BatchPlan:
    runtime = LlmRuntime(**more.pop("runtime", {}))
    keywords: dict[str, Any] = {"batch_rows": 64, "row_tokens": 256, **more}
    return calculate_plan(SHAPE, 500, TrainConfig(), runtime, available=available, **keywords)


def test_with_memory_enough_the_caches_decide() -> None:
    chosen = plan(None)
    assert (chosen.micro_batch_rows, chosen.accumulation) == (8, 8)  # 2048 tokens
    assert chosen.activation_checkpointing == "none" and chosen.fits
    assert plan(None, batch_rows=3).micro_batch_rows == 2
    assert plan(None, preferred_tokens=None).micro_batch_rows == 64
    assert plan(None, devices=4).accumulation == 2


def test_with_less_memory_rows_go_first_and_then_activations() -> None:
    enough = plan(None).memory_bytes
    chosen = [plan(int(1.2 * enough * 0.98**number)) for number in range(150)]
    order = list(dict.fromkeys((p.micro_batch_rows, p.activation_checkpointing) for p in chosen if p.fits))
    assert order[:5] == [(8, "none"), (4, "none"), (2, "none"), (1, "none"), (1, "selective")]
    assert order[-1] == (1, "full")
    hopeless = plan(1)
    assert not hopeless.fits and (hopeless.micro_batch_rows, hopeless.activation_checkpointing) == (1, "full")
    assert "MAY NOT FIT" in hopeless.text()


def test_what_is_asked_for_is_done() -> None:
    asked = plan(None, runtime={"micro_batch_rows": 3, "activation_checkpointing": "full"})
    assert (asked.micro_batch_rows, asked.accumulation, asked.activation_checkpointing) == (3, 22, "full")
    json.dumps(asked.event(), allow_nan=False)


def test_a_containers_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    meminfo, limit, used = tmp_path / "meminfo", tmp_path / "max", tmp_path / "current"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   50 kB\n")
    assert available_memory(meminfo, ((str(limit), str(used)),)) == 51_200
    limit.write_text("max\n")
    used.write_text("900\n")
    assert available_memory(meminfo, ((str(limit), str(used)),)) == 51_200
    limit.write_text("10000\n")
    assert available_memory(meminfo, ((str(limit), str(used)),)) == 9_100
    assert available_memory(tmp_path / "none", ()) is None


def test_the_search_takes_the_fastest_that_fits_and_recomputes_only_if_nothing_does() -> None:
    speeds = {1: 10.0, 2: 18.0, 4: 30.0, 8: 30.3, 16: 25.0}
    tried: list[tuple[int, str]] = []

    def attempt(rows: int, mode: Any) -> Trial | None:
        tried.append((rows, mode))
        fits = rows <= {"none": most, "selective": 4, "full": 99}[mode]
        return Trial(rows, mode, rows * 100, speeds[rows]) if fits else None

    modes = ("none", "selective", "full")
    most = 16
    best = search(attempt, modes, 16)  # type: ignore[arg-type]
    assert best is not None and (best.rows, best.checkpointing) == (4, "none")  # 8 is hardly faster
    assert [rows for rows, _ in tried] == [1, 2, 4, 8, 16]
    most = 0
    best = search(attempt, modes, 2)  # type: ignore[arg-type]
    assert best is not None and (best.rows, best.checkpointing) == (2, "selective")
    assert search(lambda rows, mode: None, modes, 16) is None  # type: ignore[arg-type]


def test_trying_a_step_leaves_weights_and_random_numbers_as_they_were() -> None:
    model = Transformer(SHAPE.model_copy(update={"dropout": 0.1, "context_length": 32}), 60)
    initialize(model, 1)
    before, random = {name: t.clone() for name, t in model.state_dict().items()}, random_state()
    train = TrainConfig(optimizer=OptimizerConfig(name="muon"), ema_decay=0.9)
    sample = pad([Example([5, 6, 7], [IGNORE, 7, 8])], pad_id=0)
    batch = widest(sample, rows=3, row_tokens=20)
    assert batch.tokens.shape == batch.targets.shape == (3, 20)
    assert batch.valid == 60 == int((batch.targets != IGNORE).sum())
    with _as_it_was(model):
        trial = try_step(model, next_token, batch, train, "full", CPU, ceiling=1.0)
    assert trial is not None and trial.rows == 3 and trial.tokens_per_second > 0
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert random_state() == random and checkpointing_of(model) == "none"
    assert all(parameter.grad is None for parameter in model.parameters())

    def greedy(model: Any, batch: Batch) -> torch.Tensor:
        raise torch.OutOfMemoryError("no")

    assert try_step(model, greedy, batch, train, "none", CPU, ceiling=1.0) is None


def test_modes_get_stronger_and_then_end() -> None:
    model = Transformer(SHAPE, 60)
    assert (stronger("none"), stronger("selective"), stronger("full"), stronger(None)) == (
        "selective",
        "full",
        None,
        None,
    )
    set_checkpointing(torch.nn.Sequential(model), "full")
    assert checkpointing_of(model) == "full" and checkpointing_of(torch.nn.Linear(1, 1)) is None


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("x"), RuntimeError("DefaultCPUAllocator: no")])
def test_what_out_of_memory_looks_like(error: BaseException) -> None:
    assert is_out_of_memory(error) and not is_out_of_memory(RuntimeError("shape mismatch"))
