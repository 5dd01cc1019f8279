import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime, ModelConfig, TrainConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.train.batches import Batch, Example, ExampleBatches
from llm_core.train.loop import Trained, fit
from llm_core.train.objectives import next_token
from llm_core.train.plan import Plan
from llm_core.train.watchdog import AT_LEAST, HEARTBEAT, MEDIANS, REPORT, Watchdog


def test_the_limit_follows_the_median_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    watchdog = Watchdog(tmp_path, 0.0, lambda seconds: None)
    assert watchdog.limit == AT_LEAST
    for seconds in (1000, 40, 50, 60, 40):
        clock[0] += seconds
        watchdog.step()
    assert watchdog.limit == MEDIANS * 50
    assert (tmp_path / HEARTBEAT).exists()
    assert Watchdog(tmp_path, 3.0, lambda seconds: None).limit == 3.0


def train(out: Path, hang_at: int) -> Trained:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal hang_at
        hang_at -= 1
        if hang_at == 0:
            stand_still()
        if hang_at > 0:
            time.sleep(0.3)  # all steps together take longer than the limit: what counts is a single one
        return next_token(model, batch)

    torch.manual_seed(1)
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16), 20)
    initialize(model, 1)
    batches = ExampleBatches([Example([1, 2, 3], [2, 3, 4])] * 4, 4, pad_id=0, seed=1)
    plan = Plan(8, TrainConfig(eval_every=4), {}, 2)
    return fit(
        model,
        objective,
        batches,
        lambda final, tick: {"loss": 1.0},
        plan,
        out=out,
        device=torch.device("cpu"),
        progress=no_progress,
        runtime=LlmRuntime(hang_seconds=2.0, log_every=1),
    )


def stand_still() -> None:
    time.sleep(600)


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_hang_is_written_down_ends_the_process_and_the_run_goes_on(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        train(tmp_path, hang_at=9)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 75
    assert "in stand_still" in (tmp_path / REPORT).read_text()
    assert (tmp_path / HEARTBEAT).exists()
    hang = [event for event in events(tmp_path) if event["event"] == "hang"]
    assert len(hang) == 1 and hang[0]["step"] == 4 and hang[0]["seconds"] >= 2
    assert train(tmp_path, hang_at=-1).resumed_from == 4
    assert not (tmp_path / HEARTBEAT).exists()
