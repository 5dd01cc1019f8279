import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from llm_core.config import LlmRuntime, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from llm_core.errors import LlmCoreError, OutOfMemory
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.train.batches import IGNORE, Batch, Example, ExampleBatches
from llm_core.train.gradients import scale_and_clip
from llm_core.train.loop import Plan, Trained, fit
from llm_core.train.objectives import Objective, next_token

SHAPE = ModelConfig(layers=2, dim=32, heads=2, ffn_dim=64, context_length=32)
TRAIN = TrainConfig(
    optimizer=OptimizerConfig(lr=3e-3), schedule=ScheduleConfig(kind="linear", warmup_steps=2), eval_every=5
)


def new_model() -> Transformer:
    model = Transformer(SHAPE, 60)
    initialize(model, 1)
    return model


def masked_examples(count: int = 24) -> list[Example]:
    """Rows of different lengths, of which different shares count."""
    draw = torch.Generator().manual_seed(2)
    rows = []
    for number in range(count):
        length = 3 + number % 17
        tokens = torch.randint(0, 60, (length + 1,), generator=draw).tolist()
        masked = (number * 5) % length
        rows.append(Example(tokens[:-1], [IGNORE] * masked + tokens[1 + masked :]))
    return rows


def run(
    out: Path,
    *,
    steps: int = 10,
    rows: int = 8,
    train: TrainConfig = TRAIN,
    objective: Objective = next_token,
    model: nn.Module | None = None,
    runtime: LlmRuntime | None = None,
    identity: dict[str, Any] | None = None,
    examples: list[Example] | None = None,
) -> Trained:
    batches = ExampleBatches(examples or masked_examples(), 8, pad_id=0, seed=1)
    return fit(
        model or new_model(),
        objective,
        batches,
        lambda final, tick: {"loss": 1.0},
        Plan(steps, train, identity or {"config": "a"}, rows),
        out=out,
        device=torch.device("cpu"),
        progress=no_progress,
        runtime=runtime or LlmRuntime(log_every=1),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def gradients(rows: int) -> tuple[list[Tensor], float]:
    model = new_model().double()
    valid = 0
    for batch in ExampleBatches(masked_examples(), 24, pad_id=0, seed=1).micro_batches(0, rows):
        next_token(model, batch).backward()
        valid += batch.valid
    norm = scale_and_clip(model.parameters(), valid, None)
    return [p.grad for p in model.parameters() if p.grad is not None], norm.item()


@pytest.mark.parametrize("rows", [1, 5, 8])
def test_accumulation_equals_the_unsplit_batch_whatever_the_masks(rows: int) -> None:
    whole, whole_norm = gradients(24)
    split, split_norm = gradients(rows)
    assert split_norm == pytest.approx(whole_norm, rel=1e-6)
    for a, b in zip(whole, split, strict=True):
        assert ((a - b).norm() / a.norm()).item() < 1e-6


def test_clipping_bounds_the_global_norm_and_keeps_the_direction() -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 8.0)
    assert scale_and_clip(parameters, 2, 1.0).item() == pytest.approx(4 * 7**0.5)
    clipped = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    assert clipped.norm().item() == pytest.approx(1.0)
    assert torch.allclose(clipped, clipped[0].expand(7))


def test_overfits_one_batch(tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"optimizer": OptimizerConfig(name="muon", lr=0.01)})
    trained = run(tmp_path, steps=80, train=train, examples=masked_examples(8), rows=8)
    first = lines(tmp_path / "metrics.jsonl")[0]["train/loss"]
    assert first > 3.5 and trained.loss < 0.3


def test_log_has_what_the_contract_says(tmp_path: Path) -> None:
    run(tmp_path, steps=10)
    metrics = lines(tmp_path / "metrics.jsonl")
    training = [line for line in metrics if "train/loss" in line]
    assert [line["step"] for line in training] == list(range(1, 11))
    everywhere = {"step", "tokens", "time", "train/lr", "train/grad_norm", "perf/memory_bytes", "guard/skipped_steps"}
    assert everywhere <= set(training[0])
    assert all("perf/tokens_per_second" in line for line in training[1:])  # the first step pays for what only it does
    assert [line["step"] for line in metrics if "val/loss" in line] == [5, 10]
    tokens = [line["tokens"] for line in training]
    assert tokens == sorted(tokens) and len(set(tokens)) == 10
    events = lines(tmp_path / "events.jsonl")
    assert [e["event"] for e in events] == ["started", *["checkpoint"] * 3, "finished"]


class _Stop(BaseException):
    """A crash that nothing catches."""


@pytest.mark.parametrize("crash_at", [1, 4, 7])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_ends_with_the_same_bits_and_the_same_losses(
    tmp_path: Path, crash_at: int, optimizer: str
) -> None:
    train = TRAIN.model_copy(update={"optimizer": OptimizerConfig(name=optimizer), "eval_every": 2, "ema_decay": 0.8})
    shape = SHAPE.model_copy(update={"dropout": 0.2})  # so that the random numbers matter

    def fresh() -> Transformer:
        model = Transformer(shape, 60)
        initialize(model, 1)
        return model

    unbroken, broken = fresh(), fresh()
    (tmp_path / "a").mkdir()
    run(tmp_path / "a", steps=9, model=unbroken, train=train, rows=3)
    (tmp_path / "b").mkdir()
    calls = 0

    def crashing(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > crash_at * 3 + 1:  # in the middle of a step
            raise _Stop
        return next_token(model, batch)

    with pytest.raises(_Stop):
        run(tmp_path / "b", steps=9, model=broken, train=train, rows=3, objective=crashing)
    torch.manual_seed(999)
    resumed = fresh()
    run(tmp_path / "b", steps=9, model=resumed, train=train, rows=3)
    for (name, a), (_, b) in zip(unbroken.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [_timeless(x) for x in lines(tmp_path / "a" / "metrics.jsonl")] == [
        _timeless(x) for x in lines(tmp_path / "b" / "metrics.jsonl")
    ]


def _timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "time" and not key.startswith("perf/")}


def test_the_checkpoint_comes_before_the_validation(tmp_path: Path) -> None:
    def failing(final: bool, tick: Any) -> dict[str, float]:
        raise RuntimeError("validation broke")

    batches = ExampleBatches(masked_examples(), 8, pad_id=0, seed=1)
    plan = Plan(5, TRAIN, {"config": "a"}, 8)
    keywords: dict[str, Any] = {"out": tmp_path, "device": torch.device("cpu"), "progress": no_progress}
    with pytest.raises(RuntimeError, match="validation broke"):
        fit(new_model(), next_token, batches, failing, plan, runtime=LlmRuntime(), **keywords)
    assert (tmp_path / "checkpoints" / "step-00000005").is_dir()


def test_a_damaged_checkpoint_is_passed_over_with_an_event_and_the_end_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, other = new_model(), new_model()
    run(tmp_path / "a", steps=10, model=whole)
    run(tmp_path / "b", steps=10, model=other)
    weights = tmp_path / "b" / "checkpoints" / "step-00000010" / "weights-00000.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 4
    weights.write_bytes(content)
    resumed = new_model()
    assert run(tmp_path / "b", steps=10, model=resumed).resumed_from == 5
    damaged = [e for e in lines(tmp_path / "b" / "events.jsonl") if e["event"] == "checkpoint_damaged"]
    assert damaged[0]["checkpoint"] == "step-00000010" and "weights-00000.safetensors" in damaged[0]["why"]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path, steps=5, identity={"lr": 1})
    with pytest.raises(LlmCoreError, match="lr: 1 there, 2 here") as caught:
        run(tmp_path, steps=5, identity={"lr": 2})
    assert caught.value.exit_code == 78


def spoiled(*steps: int) -> Objective:
    """NaN at these steps (one micro-batch each)."""
    calls = -1

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        loss = next_token(model, batch)
        return loss * float("nan") if calls in steps else loss

    return objective


def test_a_step_without_finite_gradients_is_skipped_and_recorded(tmp_path: Path) -> None:
    model = new_model()
    trained = run(tmp_path, steps=6, model=model, objective=spoiled(2, 4))
    assert trained.skipped_steps == 2
    assert all(p.isfinite().all() for p in model.parameters())
    skipped = [e["batch"] for e in lines(tmp_path / "events.jsonl") if e["event"] == "nonfinite_skipped"]
    assert skipped == [2, 4]
    assert lines(tmp_path / "metrics.jsonl")[2]["train/loss"] is None


def hungry(limit: int) -> Objective:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        if len(batch.tokens) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return next_token(model, batch)

    return objective


def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    small, halved = new_model(), new_model()
    run(tmp_path / "a", steps=6, rows=2, model=small)
    run(tmp_path / "b", steps=6, rows=8, model=halved, objective=hungry(2))
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), halved.parameters(), strict=True))
    events = [e for e in lines(tmp_path / "b" / "events.jsonl") if e["event"] == "micro_batch_halved"]
    assert [e["micro_batch_rows"] for e in events] == [4, 2]


def test_at_one_row_more_is_recomputed_and_a_resumed_run_remembers_what_fitted(tmp_path: Path) -> None:
    def hungry_until_full(model: nn.Module, batch: Batch) -> Tensor:
        if len(batch.tokens) > 1 or model.activation_checkpointing != "full":
            raise torch.OutOfMemoryError("out of memory")
        return next_token(model, batch)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, cramped, resumed = new_model(), new_model(), new_model()
    runtime = LlmRuntime(log_every=1)
    run(tmp_path / "a", steps=6, rows=1, model=plain)
    run(tmp_path / "b", steps=6, rows=2, model=cramped, objective=hungry_until_full, runtime=runtime)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), cramped.parameters(), strict=True))
    events = lines(tmp_path / "b" / "events.jsonl")
    raised = [e["activation_checkpointing"] for e in events if e["event"] == "activation_checkpointing_raised"]
    assert raised == ["selective", "full"]
    run(tmp_path / "b", steps=6, rows=2, model=resumed, runtime=runtime)
    assert resumed.activation_checkpointing == "full"
    assert lines(tmp_path / "b" / "events.jsonl")[len(events)]["micro_batch_rows"] == 1


def test_with_dropout_a_halved_step_draws_the_same_numbers_again(tmp_path: Path) -> None:
    shape = SHAPE.model_copy(update={"dropout": 0.3})
    models = []
    for name, rows, objective in (("a", 2, next_token), ("b", 4, hungry_after_one_pass())):
        (tmp_path / name).mkdir()
        model = Transformer(shape, 60)
        initialize(model, 1)
        run(tmp_path / name, steps=2, rows=rows, model=model, objective=objective)
        models.append(model)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def hungry_after_one_pass() -> Objective:
    """Four rows fit once, and not twice."""
    passes = 0

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise torch.OutOfMemoryError("out of memory")
        return next_token(model, batch)

    return objective


def test_how_often_is_logged_or_saved_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    often, seldom = new_model(), new_model()
    run(tmp_path / "a", steps=7, model=often, runtime=LlmRuntime(log_every=1, checkpoint_every_seconds=1e-6))
    run(tmp_path / "b", steps=7, model=seldom, runtime=LlmRuntime(log_every=1000))
    assert all(torch.equal(a, b) for a, b in zip(often.parameters(), seldom.parameters(), strict=True))


def test_validation_and_result_have_the_averaged_weights(tmp_path: Path) -> None:
    train = TRAIN.model_copy(update={"ema_decay": 0.5, "eval_every": 3})
    model, by_hand = new_model(), []
    seen: list[Tensor] = []

    def validate(final: bool, tick: Any) -> dict[str, float]:
        seen.append(model.norm.weight.detach().clone())  # type: ignore[arg-type]
        return {"loss": 1.0}

    def watched(model: nn.Module, batch: Batch) -> Tensor:
        by_hand.append(model.norm.weight.detach().clone())  # type: ignore[union-attr, operator]
        return next_token(model, batch)

    plan = Plan(3, train, {}, 8)
    batches = ExampleBatches(masked_examples(), 8, pad_id=0, seed=1)
    keywords: dict[str, Any] = {"device": torch.device("cpu"), "progress": no_progress, "runtime": LlmRuntime()}
    fit(model, watched, batches, validate, plan, out=tmp_path, **keywords)
    stored = load_file(tmp_path / "checkpoints" / "step-00000003" / "weights-00000.safetensors")["norm.weight"]
    average = by_hand[0]
    for weights in (*by_hand[1:], stored):  # after the first step, the second, the last
        average = torch.lerp(average, weights, 0.5)
    assert torch.equal(seen[0], average) and torch.equal(model.norm.weight, average)
    assert not torch.equal(stored, average)


def test_no_memory_for_a_single_row_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory) as caught:
        run(tmp_path, objective=hungry(0))
    assert caught.value.exit_code == 76
