import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from llm_core.config import GuardConfig, LlmRuntime, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from llm_core.errors import Diverged
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.train.batches import WHOLE, Batch, Example, ExampleBatches, Share
from llm_core.train.guard import Guard
from llm_core.train.loop import Plan, Trained, fit
from llm_core.train.objectives import next_token

CPU = torch.device("cpu")


def feed(guard: Guard, losses: list[float], norms: list[float] | None = None, first: int = 0) -> list[str]:
    """What becomes of each step."""
    verdicts = []
    for number, loss in enumerate(losses):
        norm = norms[number] if norms else 1.0 + 0.01 * (number % 3)
        admitted = guard.judge(first + number, torch.tensor(loss), torch.tensor(norm))
        skipped = guard.read_back()
        assert bool(admitted) is not bool(skipped)
        verdicts.append(skipped[0].reason if skipped else "taken")
    return verdicts


def wave(count: int) -> list[float]:
    return [2.0 + 0.1 * math.sin(number) for number in range(count)]


def test_a_spike_counts_only_when_the_window_is_full() -> None:
    guard = Guard(GuardConfig(window=8), CPU)
    assert feed(guard, [*wave(7), 50.0]) == ["taken"] * 8  # seven before it
    guard = Guard(GuardConfig(window=8), CPU)
    assert feed(guard, [*wave(8), 50.0, 2.0]) == ["taken"] * 8 + ["spike", "taken"]


def test_loss_and_norm_are_both_watched_and_a_fall_is_no_spike() -> None:
    guard = Guard(GuardConfig(window=8), CPU)
    norms = [1.0, 1.1] * 4
    losses = [*wave(8), 2.0, 0.1, 2.0, math.nan, 2.0]
    assert feed(guard, losses, [*norms, 9.0, 1.0, math.inf, 1.0, 0.01]) == ["taken"] * 8 + [
        "spike",
        "taken",
        "nonfinite",
        "nonfinite",
        "taken",
    ]


def test_spikes_do_not_hide_spikes_and_where_nothing_varies_a_little_is_none() -> None:
    guard = Guard(GuardConfig(window=8), CPU)
    assert feed(guard, [*[2.0] * 8, 2.1, *[50.0] * 20]) == ["taken"] * 9 + ["spike"] * 20
    assert guard.cluster() is not None


def test_only_skipped_steps_of_the_last_window_make_a_cluster() -> None:
    guard = Guard(GuardConfig(window=8, rollback_after=2), CPU)
    feed(guard, [*wave(8), math.nan, *wave(8), math.nan])
    assert guard.recent == [(17, "nonfinite")] and guard.cluster() is None
    feed(guard, [2.0, math.nan], first=18)
    assert guard.cluster() == 17


def test_a_rollback_goes_back_a_little_further_than_the_first_skipped_step() -> None:
    guard = Guard(GuardConfig(window=64, rollback_after=2), CPU)
    feed(guard, [*wave(30), math.nan, math.nan])
    assert guard.cluster() == 26


def test_a_spike_between_usual_steps_is_the_batchs_and_not_counted() -> None:
    guard = Guard(GuardConfig(window=8, rollback_after=2), CPU)
    feed(guard, [*wave(8), 50.0, 2.0, 50.0, 2.0, 50.0])
    assert len(guard.recent) == 3 and guard.cluster() is None
    feed(guard, [50.0], first=13)
    assert guard.cluster() == 12


def test_a_restored_guard_judges_as_the_first_one_does() -> None:
    guard = Guard(GuardConfig(window=8), CPU)
    feed(guard, wave(11))
    other = Guard(GuardConfig(window=8), CPU)
    other.load_state(json.loads(json.dumps(guard.state(), allow_nan=False)))
    borderline = [2.0 + 0.02 * number for number in range(60)]
    assert feed(guard, borderline, first=11) == feed(other, borderline, first=11)
    assert guard.state() == other.state()


# ---------------------------------------------------------------------------------------------- in the training loop

SHAPE = ModelConfig(layers=1, dim=16, heads=2, ffn_dim=32, context_length=16)
#: Checkpoints at every step, so that it is known which one is gone back to.
RUNTIME = LlmRuntime(log_every=1, checkpoint_every_seconds=1e-6, keep_checkpoints=20, async_checkpoints=False)


class Numbered(ExampleBatches):
    """Remembers which batch was asked for last, and all of them."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(3)
        rows = [torch.randint(0, 40, (9,), generator=draw).tolist() for _ in range(200)]
        super().__init__([Example(row[:-1], row[1:]) for row in rows], 4, pad_id=0, seed=1)
        self.asked: list[int] = []

    def micro_batches(self, step: int, rows: int, share: Share = WHOLE) -> list[Batch]:
        self.asked.append(step)
        return super().micro_batches(step, rows, share)


class _Crash(BaseException):
    """What nothing catches."""


def run(
    out: Path,
    bad: set[int],
    *,
    factor: float = math.nan,
    crash_after: int = 10**9,
    runtime: LlmRuntime = RUNTIME,
    **guard: Any,
) -> tuple[Trained, nn.Module, list[int]]:
    """Train on batches of which some give a spoiled loss.

    Args:
        crash_after: so many passes forward.
    """
    out.mkdir(exist_ok=True)
    model, batches, calls = Transformer(SHAPE, 40), Numbered(), 0
    initialize(model, 1)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > crash_after:
            raise _Crash
        return next_token(model, batch) * (factor if batches.asked[-1] in bad else 1.0)

    train = TrainConfig(
        optimizer=OptimizerConfig(lr=1e-3),
        schedule=ScheduleConfig(kind="wsd", warmup_steps=0, decay_fraction=0.0),
        eval_every=1000,
        ema_decay=0.9,
        guard=GuardConfig(**{"window": 8, **guard}),
    )
    plan = Plan(24, train, {}, 4)
    trained = fit(
        model,
        objective,
        batches,
        lambda final, tick: {"loss": 1.0},
        plan,
        out=out,
        device=CPU,
        progress=no_progress,
        runtime=runtime,
    )
    return trained, model, batches.asked


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(out: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in lines(out / "events.jsonl") if event["event"] == name]


@pytest.mark.parametrize(("factor", "bad"), [(math.nan, [12, 14, 15]), (30.0, [13, 14, 15])])
def test_a_cluster_is_rolled_back_and_its_rows_are_left_out(tmp_path: Path, factor: float, bad: list[int]) -> None:
    trained, _, asked = run(tmp_path, set(bad), factor=factor)
    back = bad[0]
    assert asked == [*range(16), *range(16, 16 + 24 - back)]  # what comes after the cluster comes at step ``back``
    [rollback] = events(tmp_path, "rollback")
    assert (rollback["from_step"], rollback["step"], rollback["lr_scale"]) == (16, back, 0.5)
    assert rollback["left_out_batches"] == [back, 16]
    assert trained.rollbacks == 1 and trained.skipped_steps == 3 and trained.steps == 24
    name = "spike_skipped" if factor > 0 else "nonfinite_skipped"
    assert [event["batch"] for event in events(tmp_path, name)] == bad
    training = [line for line in lines(tmp_path / "metrics.jsonl") if "train/loss" in line]
    assert [line["step"] for line in training] == list(range(1, 25))
    assert [line["train/lr"] for line in training] == [1e-3] * back + [5e-4] * (24 - back)


def test_a_crash_around_a_rollback_changes_nothing(tmp_path: Path) -> None:
    bad = {12, 14, 15}
    _, whole, _ = run(tmp_path / "whole", bad)
    for crash_after in (14, 16, 17):  # within the cluster, right after the rollback, after the first step from there
        out = tmp_path / str(crash_after)
        with pytest.raises(_Crash):
            run(out, bad, crash_after=crash_after)
        _, resumed, _ = run(out, bad)
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
        told = [
            [(x["step"], x.get("train/loss")) for x in lines(of / "metrics.jsonl")] for of in (tmp_path / "whole", out)
        ]
        assert told[0] == told[1]


def test_when_checkpoints_were_written_does_not_matter_to_a_rollback(tmp_path: Path) -> None:
    """The clock decides when; so a killed run has others than an unbroken one."""
    bad = {12, 14, 15, 19, 20, 21}
    outcomes = []
    for changes in ({}, {"checkpoint_every_seconds": 1000}, {"keep_checkpoints": 1}):
        out = tmp_path / str(len(outcomes))
        trained, model, _ = run(out, bad, runtime=RUNTIME.model_copy(update=changes))
        told = [{k: v for k, v in x.items() if k[:4] not in ("time", "perf")} for x in lines(out / "metrics.jsonl")]
        outcomes.append((trained.skipped_steps, trained.rollbacks, told, [p.tolist() for p in model.parameters()]))
    assert outcomes[0][:2] == (6, 2)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_rollbacks_that_do_not_help_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="after 2 rollbacks") as caught:
        run(tmp_path, set(range(10, 100)), max_rollbacks=2, rollback_after=3)
    assert caught.value.exit_code == 77
    assert [event["lr_scale"] for event in events(tmp_path, "rollback")] == [0.5, 0.25]


def test_a_skipped_step_leaves_weights_optimizer_and_average_as_they_were(tmp_path: Path) -> None:
    run(tmp_path, {10})
    before, after = (tmp_path / "checkpoints" / f"step-{step:08d}" for step in (10, 11))
    names = sorted(path.name for path in before.glob("*.safetensors"))
    assert len(names) >= 3
    for name in names:
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
