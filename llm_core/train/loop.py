"""The training loop: one for pretraining, classification and instruction tuning. They differ in objective and data."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime, TrainConfig
from llm_core.errors import OutOfMemory, Preempted
from llm_core.optim import Optimizer
from llm_core.progress import Progress
from llm_core.schedule import learning_rate_share
from llm_core.train.averaging import WeightAverage
from llm_core.train.batches import BatchSource
from llm_core.train.checkpoint import Checkpoints, random_state, restore_random_state
from llm_core.train.device import autocast
from llm_core.train.guard import Guard
from llm_core.train.interrupt import StopSignal
from llm_core.train.memory import is_out_of_memory
from llm_core.train.meter import EVENTS, METRICS, JsonLines, Speed, finite, now
from llm_core.train.objectives import Objective
from llm_core.train.parallel import Parallel, local

#: Called before each piece of a validation, so that a long one can be watched, and stopped.
Tick = Callable[[], None]
#: Measures the model on held-out data: all of it if ``final``, else the part that the configuration allows.
Validate = Callable[[bool, Tick], dict[str, float]]


@dataclass(frozen=True)
class Plan:
    """What the loop has to know of a task besides the data."""

    steps: int
    train: TrainConfig
    identity: dict[str, Any]
    """All that decides the weights (configuration, digests of the inputs). Checkpoints of another one are refused."""
    micro_batch_rows: int
    flops_per_token: float = 0.0
    """Of a forward and backward pass, for the model FLOP utilization. 0: not told."""


@dataclass(frozen=True)
class Trained:
    """How it ended."""

    steps: int
    tokens: int
    loss: float
    """Of the last step, nats per valid target."""
    validation: dict[str, float]
    """The final validation, on everything that is held out."""
    tokens_per_second: float
    skipped_steps: int
    resumed_from: int

    def counters(self) -> dict[str, int | float | str]:
        """For the manifest."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "train_loss": self.loss,
            **{f"validation_{name}": value for name, value in self.validation.items()},
            "tokens_per_second": round(self.tokens_per_second, 1),
            "skipped_steps": self.skipped_steps,
        }


def fit(
    model: nn.Module,
    objective: Objective,
    batches: BatchSource,
    validate: Validate,
    plan: Plan,
    *,
    out: Path,
    device: torch.device,
    progress: Progress,
    runtime: LlmRuntime,
    parallel: Parallel | None = None,
) -> Trained:
    """Train ``model`` in place for ``plan.steps`` updates, going on from the newest checkpoint in ``out``.

    Writes metrics.jsonl, events.jsonl and checkpoints/ into ``out``. On the CPU, an interrupted and resumed run ends
    with the same bits as an unbroken one, for the same number of threads and the same micro-batch.

    Args:
        model: on its device, and divided by ``parallel.prepare`` where several processes train it.

    Raises:
        Preempted: SIGTERM or SIGINT; the state is saved.
        Diverged: too many steps in a row without finite gradients.
        OutOfMemory: not even one row fits.
        DiskFull: a checkpoint or the log could not be written.
        LlmCoreError: the checkpoint there belongs to another configuration.
    """
    with StopSignal() as stop:
        trainer = _Trainer(
            model, objective, batches, validate, plan, out, device, progress, runtime, stop, parallel or Parallel()
        )
        try:
            return trainer.run()
        finally:
            trainer.metrics.close()
            trainer.events.close()


class _Trainer:
    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        batches: BatchSource,
        validate: Validate,
        plan: Plan,
        out: Path,
        device: torch.device,
        progress: Progress,
        runtime: LlmRuntime,
        stop: StopSignal,
        parallel: Parallel,
    ) -> None:
        self.model, self.objective, self.batches, self.plan = model, objective, batches, plan
        self.measure, self.device, self.progress, self.runtime, self.stop = validate, device, progress, runtime, stop
        self.parallel = parallel
        self.optimizer = Optimizer(model, plan.train.optimizer)
        self.average = WeightAverage(model, plan.train.ema_decay)
        self.guard = Guard(plan.train.guard, device)
        self.checkpoints = Checkpoints(out / "checkpoints", plan.identity, runtime.keep_checkpoints)
        self.metrics, self.events = JsonLines(out / METRICS), JsonLines(out / EVENTS)
        self.speed = Speed()
        self.micro_batch_rows = plan.micro_batch_rows
        self.step = 0  # updates done
        self.tokens = 0  # read by the model in training
        self.loss = torch.tensor(math.nan)  # of the last step, on the device
        self.validation: dict[str, float] = {}
        self.saved_step = -1
        self.saved_at = time.monotonic()

    @property
    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint holds, live."""
        weights = {name: parameter.data for name, parameter in self.model.named_parameters()}
        return {"weights": weights, "optimizer": self.optimizer.state(), "average": self.average.tensors}

    def run(self) -> Trained:
        resumed_from = self.resume_or_start()
        while True:
            if self.validation_is_due():
                self.save_checkpoint()  # first: a failing validation must not cost the training
                self.run_validation()
            if self.step == self.plan.steps:
                break
            self.train_step()
            stop, save = self.parallel.any_of([self.stop.requested, self.checkpoint_is_due()])
            if stop:
                self.leave_politely()
            if save:
                self.save_checkpoint()
        self.checkpoints.wait()
        self.record("finished", tokens_per_second=round(self.speed.overall(), 1))
        return Trained(
            steps=self.step,
            tokens=self.tokens,
            loss=self.loss.item(),
            validation=self.validation,
            tokens_per_second=self.speed.overall(),
            skipped_steps=self.guard.skipped,
            resumed_from=resumed_from,
        )

    def resume_or_start(self) -> int:
        """Go back to the newest intact checkpoint. Log lines that were written after it are forgotten."""

        def damaged(name: str, why: str) -> None:
            self.record("checkpoint_damaged", checkpoint=name, why=why)

        checkpoint = self.checkpoints.newest(damaged)
        if checkpoint is None:
            self.metrics.cut(0)
            torch.manual_seed(self.plan.train.seed)  # dropout; the weights were seeded by whoever made the model
            self.record("started", steps=self.plan.steps, micro_batch_rows=self.micro_batch_rows)
            return 0
        checkpoint.load_into(self.tensors)
        state = checkpoint.state
        self.step = self.saved_step = checkpoint.step
        self.tokens = int(state["tokens"])
        self.loss = torch.tensor(math.nan if state["loss"] is None else float(state["loss"]))
        self.guard.load_state(state["guard"])
        restore_random_state(state["random"][self.parallel.rank])
        self.metrics.cut(int(state["metrics_bytes"]))
        self.record("resumed", micro_batch_rows=self.micro_batch_rows)
        return self.step

    def train_step(self) -> None:
        """One update: every micro-batch forward and backward, then one step of the optimizer.

        On a GPU nothing here waits for it: losses, norms and verdicts are read when they are logged.
        """
        began = time.perf_counter()
        train = self.plan.train
        share = learning_rate_share(self.step, self.plan.steps, train.schedule) * self.guard.lr_scale
        self.model.train()
        loss_sum, counts = self.accumulate_gradients()
        valid, tokens = self.parallel.add_up(torch.tensor(counts, dtype=torch.float64)).tolist()
        self.loss = self.parallel.add_up(loss_sum) / max(1, valid)
        norm = scale_and_clip(self.model.parameters(), valid, train.optimizer.clip_norm, self.parallel)
        admitted = self.guard.judge(self.step, self.loss, norm)
        self.optimizer.step(share, admitted)
        self.optimizer.zero_grad()
        self.average.update()
        self.step += 1
        self.tokens += int(tokens)
        for skipped in self.guard.read_back():
            self.record(f"{skipped.reason}_skipped", batch=skipped.step)
        self.speed.add(int(tokens), time.perf_counter() - began)
        if self.step % self.runtime.log_every == 0 or self.step in (1, self.plan.steps):
            self.log_step(share, norm.item())

    def accumulate_gradients(self) -> tuple[Tensor, tuple[int, int]]:
        """Leave in ``.grad`` the gradient of the loss *summed* over the batch.

        Returns:
            (loss sum of this process's rows, (their valid targets, their tokens))
        """
        while True:
            try:
                number = self.step + self.guard.data_offset
                batches = self.batches.micro_batches(number, self.micro_batch_rows, self.parallel.share)
                on_device = [batch.to(self.device) for batch in batches]
                loss_sum = self.parallel.forward_backward(
                    self.model,
                    lambda batch: self.objective(self.model, batch),
                    on_device,
                    lambda: autocast(self.device, self.plan.train.precision),
                )
                return loss_sum, (sum(b.valid for b in batches), sum(b.real_tokens for b in batches))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.optimizer.zero_grad()
                self.halve_micro_batch(error)

    def halve_micro_batch(self, error: BaseException) -> None:
        """Same batch in smaller pieces: the mathematics doesn't change."""
        if self.micro_batch_rows == 1:
            raise OutOfMemory(
                "there is not enough memory, even for one row at a time.",
                where=f"step {self.step}",
                fix="Take a smaller model or a shorter context, or a device with more memory.",
            ) from error
        self.micro_batch_rows = max(1, self.micro_batch_rows // 2)
        self.record("micro_batch_halved", micro_batch_rows=self.micro_batch_rows)

    def validation_is_due(self) -> bool:
        at_interval = self.step > 0 and self.step % self.plan.train.eval_every == 0
        return at_interval or self.step == self.plan.steps

    def run_validation(self) -> None:
        def tick() -> None:
            self.report("validating")
            if self.stop.requested:
                self.leave_politely()

        self.model.eval()
        with torch.no_grad(), self.average.in_place(), autocast(self.device, self.plan.train.precision):
            self.validation = self.measure(self.step == self.plan.steps, tick)
        self.metrics.append(self.line({f"val/{name}": finite(value) for name, value in self.validation.items()}))

    def checkpoint_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.runtime.checkpoint_every_seconds

    def save_checkpoint(self) -> None:
        if self.saved_step == self.step:
            return
        state = {
            "tokens": self.tokens,
            "loss": finite(self.loss.item()),
            "guard": self.guard.state(),
            "random": self.parallel.gather(random_state()),
            "metrics_bytes": self.metrics.sync(),
            "micro_batch_rows": self.micro_batch_rows,
        }
        self.checkpoints.save(self.step, self.tensors, state)
        self.saved_step, self.saved_at = self.step, time.monotonic()
        self.record("checkpoint", path=f"checkpoints/step-{self.step:08d}")
        self.events.sync()

    def leave_politely(self) -> None:
        self.save_checkpoint()
        self.checkpoints.wait()
        self.record("preempted", signal=self.stop.name)
        raise Preempted(
            f"{self.stop.name} arrived; the state of step {self.step} is saved.", fix="Start it again to go on."
        )

    def log_step(self, share: float, norm: float) -> None:
        rate = self.plan.train.optimizer.lr * share
        speed = self.speed.recent()
        loss = self.loss.item()
        values = {"train/loss": finite(loss), "train/lr": rate, "train/grad_norm": finite(norm)}
        self.metrics.append(self.line(values | {"perf/tokens_per_second": round(speed, 1)}))
        self.report(f"loss {loss:.3f}, {speed:,.0f} tokens/s" if speed else f"loss {loss:.3f}")

    def line(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"step": self.step, "tokens": self.tokens, "time": now(), **values}

    def record(self, event: str, **details: Any) -> None:
        self.events.append({"time": now(), "step": self.step, "event": event, **details})

    def report(self, message: str) -> None:
        self.progress(self.step, self.plan.steps, message)


def scale_and_clip(
    parameters: Iterable[nn.Parameter], valid: float, clip_norm: float | None, parallel: Parallel | None = None
) -> Tensor:
    """Turn gradients of a sum over ``valid`` targets into those of the mean, no longer than ``clip_norm`` in all.

    Returns:
        The global norm of the mean's gradient before clipping: a scalar on the device, which isn't waited for.
    """
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if not trained:
        return torch.zeros(())
    norm = (parallel or Parallel()).gradient_norm(trained) / max(1, valid)
    factor = torch.ones_like(norm) / max(1, valid)
    if clip_norm is not None:
        factor = factor * (clip_norm / norm).clamp(max=1.0)
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)  # offloaded ones lie on the CPU
    for parameter in trained:
        assert parameter.grad is not None
        by_device[parameter.grad.device].append(local(parameter.grad))
    for device, gradients in by_device.items():
        torch._foreach_mul_(gradients, factor.to(device))
    return norm
