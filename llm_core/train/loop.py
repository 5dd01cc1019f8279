"""The training loop: one for pretraining, classification and instruction tuning. They differ in objective and data."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime
from llm_core.errors import DiskFull, Diverged, Preempted
from llm_core.optim import Optimizer
from llm_core.progress import Progress
from llm_core.schedule import learning_rate_share
from llm_core.train.averaging import WeightAverage
from llm_core.train.batches import BatchSource
from llm_core.train.checkpoint import Checkpoint, Checkpoints
from llm_core.train.device import autocast, collect_garbage, no_garbage_collection, uncompiled
from llm_core.train.gradients import Gradients, Interrupted, scale_and_clip
from llm_core.train.guard import Guard
from llm_core.train.interrupt import StopSignal
from llm_core.train.meter import EVENTS, METRICS, JsonLines, Meter, NoLines, finite, memory_in_use, now
from llm_core.train.objectives import Objective
from llm_core.train.parallel import Parallel
from llm_core.train.plan import Plan, Tick, Trained, Validate
from llm_core.train.random_state import random_state, restore_or_seed
from llm_core.train.watchdog import Watchdog

__all__ = ["Plan", "Tick", "Trained", "Validate", "fit"]


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
    with the same bits as an unbroken one, for the same number of threads and the same micro-batch. With ``ema_decay``
    the model ends with the averaged weights, those that were validated.

    Args:
        model: on its device, and divided by ``parallel.prepare`` where several processes train it.

    Raises:
        Preempted: SIGTERM or SIGINT; the state is saved.
        Diverged: too many steps had to be skipped, and going back to a checkpoint did not help.
        OutOfMemory: not even one row fits, with everything recomputed in the backward pass.
        DiskFull: a checkpoint or the log could not be written.
        LlmCoreError: the checkpoint there belongs to another configuration.
    """
    with StopSignal() as stop, no_garbage_collection():
        trainer = _Trainer(
            model, objective, batches, validate, plan, out, device, progress, runtime, stop, parallel or Parallel()
        )
        try:
            resumed_from = trainer.resume_or_start()
            with trainer.watchdog:
                return trainer.run(resumed_from)
        finally:
            trainer.checkpoints.join()
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
        self.model, self.plan, self.parallel = model, plan, parallel
        self.measure, self.device, self.progress, self.runtime, self.stop = validate, device, progress, runtime, stop
        self.optimizer = Optimizer(model, plan.train.optimizer)
        self.average = WeightAverage(model, plan.train.ema_decay)
        self.guard = Guard(plan.train.guard, device)
        lines = JsonLines if parallel.is_main else NoLines
        self.metrics, self.events = lines(out / METRICS), lines(out / EVENTS)
        self.watchdog = Watchdog(out, runtime.hang_seconds, self.hung, self.parallel.rank)
        self.checkpoints = Checkpoints(
            out / "checkpoints",
            plan.identity,
            runtime.keep_checkpoints,
            reach=plan.train.guard.window,
            parallel=self.parallel,
            background=runtime.async_checkpoints,
            published=self.checkpoint_published,
            failed=self.checkpoint_failed,
            beat=self.watchdog.beat,
        )
        self.meter = Meter(device, plan.flops_per_token, plan.peaks, self.parallel.world_size)
        self.gradients = Gradients(
            model,
            objective,
            batches,
            plan.micro_batch_rows,
            device=device,
            precision=plan.train.precision,
            parallel=parallel,
            byte_lengths=plan.byte_lengths,
            stopping=self.is_stopping,
            record=self.record,
        )
        self.step = 0  # updates done
        self.tokens = 0  # read by the model in training
        self.loss = torch.tensor(math.nan)  # of the last step, on the device
        self.validation: dict[str, float] = {}
        self.best: float | None = None  # lowest validation loss
        self.saved_step = -1
        self.saved_at = time.monotonic()
        self.save_soon = False  # after a rollback, so that it is not decided again

    @property
    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint holds, live."""
        weights = {name: parameter.data for name, parameter in self.model.named_parameters()}
        return {"weights": weights, "optimizer": self.optimizer.state(), "average": self.average.tensors}

    def run(self, resumed_from: int) -> Trained:
        while True:
            if self.validation_is_due():
                self.save_checkpoint()  # first: a failing validation must not cost the training
                self.run_validation()
            self.let_observe()
            if self.step == self.plan.steps:
                break
            try:
                self.train_step()
            except Interrupted:
                self.leave_politely()
            self.answer_skipped_steps()
            stop, save = self.parallel.any_of([self.stop.requested, self.checkpoint_is_due()])
            if stop:
                self.leave_politely()
            if save:
                self.save_checkpoint()
        self.save_for_sure()
        self.average.move_in()
        speed = self.meter.overall()
        self.record("finished", tokens_per_second=round(speed, 1))
        return Trained(
            steps=self.step,
            tokens=self.tokens,
            loss=self.loss.item(),
            validation=self.validation,
            tokens_per_second=speed,
            skipped_steps=self.guard.skipped(self.step),
            resumed_from=resumed_from,
            rollbacks=len(self.guard.rollbacks),
            memory_bytes=memory_in_use(self.device),
            utilization=self.meter.utilization(speed),
        )

    def resume_or_start(self) -> int:
        """Go back to the newest intact checkpoint, or write the first one: then there is always one to go back to, and
        a full disk is found out before anything was computed."""
        checkpoint = self.checkpoints.newest(self.damaged)
        if checkpoint is not None:
            self.restore(checkpoint)
            self.guard.load_state(checkpoint.state["guard"])
            self.gradients.load_state(checkpoint.state["memory"], self.runtime)
        else:
            self.metrics.cut(0)
            torch.manual_seed(self.plan.train.seed)  # dropout; the weights were seeded by whoever made the model
        for name, details in self.plan.events().items():
            self.record(name, **details)
        if checkpoint is not None:
            self.record("resumed", micro_batch_rows=self.gradients.micro_batch_rows)
        else:
            self.record("started", steps=self.plan.steps, micro_batch_rows=self.gradients.micro_batch_rows)
            self.save_for_sure()
        return self.step

    def restore(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was written. Log lines that were written after it are forgotten."""
        checkpoint.load_into(self.tensors)
        state = checkpoint.state
        self.step = self.saved_step = checkpoint.step
        self.tokens = int(state["tokens"])
        self.loss = torch.tensor(math.nan if state["loss"] is None else float(state["loss"]))
        self.best = state["best"]
        restore_or_seed(state["random"], self.parallel, self.plan.train.seed, self.step)
        self.metrics.cut(int(state["metrics_bytes"]))

    def train_step(self) -> None:
        """One update: every micro-batch forward and backward, then one step of the optimizer.

        On a GPU nothing here waits for it: losses, norms and verdicts are read when they are logged.
        """
        train = self.plan.train
        share = learning_rate_share(self.step, self.plan.steps, train.schedule) * self.guard.lr_scale(self.step)
        self.model.train()
        loss_sum, valid, tokens, text_bytes = self.gradients.of_batch(self.step + self.guard.data_offset(self.step))
        self.loss = loss_sum / max(1, valid)
        norm = scale_and_clip(self.model.parameters(), valid, train.optimizer.clip_norm, self.parallel)
        admitted = self.guard.judge(self.step, self.loss, norm)
        self.optimizer.step(share, admitted, self.step)
        self.optimizer.zero_grad()
        self.average.update(admitted)
        self.step += 1
        self.tokens += tokens
        self.meter.stepped(tokens)
        self.watchdog.step()
        if self.log_is_due():
            self.log_step(share, norm.item(), text_bytes / max(1, valid))

    def note_skipped_steps(self) -> None:
        for skipped in self.guard.read_back():
            self.record(f"{skipped.reason}_skipped", skipped=skipped.step, batch=skipped.batch)

    def answer_skipped_steps(self) -> None:
        """Skipped steps that cluster are answered by a rollback."""
        if not (self.guard.reading_is_due(self.step) or self.step == self.plan.steps):
            return
        self.note_skipped_steps()
        if (first := self.guard.cluster()) is not None:
            self.roll_back(first)

    def roll_back(self, first: int) -> None:
        """Go back to before step ``first``, leave the batches since then out, and go on more slowly.

        A crash before the next checkpoint does no harm: whoever resumes comes to the same cluster and decides the same.
        """
        guard, now_at = self.guard, self.step
        checkpoint = None
        if len(guard.rollbacks) < self.plan.train.guard.max_rollbacks:
            # One that old may be gone for a full disk. Skipped steps left the weights alone: a later one will do.
            find = self.checkpoints.newest
            checkpoint = find(self.damaged, before=first + 1) or find(self.damaged)
        if checkpoint is None:
            raise Diverged(
                f"{len(guard.recent)} of the last {self.plan.train.guard.window} steps had a loss or a gradient that "
                f"is not finite or far above the others, after {len(guard.rollbacks)} rollbacks.",
                where=f"step {now_at}",
                fix="Lower the learning rate, warm up longer, or set precision: fp32; events.jsonl names the batches.",
            )
        self.checkpoints.forget_after(checkpoint.step)
        self.restore(checkpoint)
        left_out = [step + guard.data_offset(first) for step in (first, now_at)]
        guard.roll_back(first, now_at, checkpoint.state["guard"])
        self.save_soon = True
        self.record(
            "rollback",
            from_step=now_at,
            left_out_batches=left_out,
            lr_scale=guard.lr_scale(first),
        )

    def let_observe(self) -> None:
        observer = self.plan.observer
        if observer is not None and observer.is_due(self.step):
            with self.meter.paused(), self.average.in_place():
                observer.look(self.step)

    def validation_is_due(self) -> bool:
        at_interval = self.step > 0 and self.step % self.plan.train.eval_every == 0
        return at_interval or self.step == self.plan.steps

    def run_validation(self) -> None:
        def tick() -> None:
            self.watchdog.beat()
            self.report("validating")
            if self.parallel.any_of([self.stop.requested])[0]:
                self.leave_politely()

        self.model.eval()
        precision = autocast(self.device, self.plan.train.precision)
        reading = self.parallel.reading(self.model)
        with self.meter.paused(), torch.no_grad(), uncompiled(self.model), self.average.in_place(), reading, precision:
            self.validation = self.measure(self.step == self.plan.steps, tick)
        self.metrics.append(self.line({f"val/{name}": finite(value) for name, value in self.validation.items()}))
        loss = finite(self.validation.get("loss", math.nan))
        if self.runtime.keep_best and loss is not None and (self.best is None or loss < self.best):
            self.best = loss
            self.checkpoints.mark_best(self.step)

    def checkpoint_is_due(self) -> bool:
        long_ago = time.monotonic() - self.saved_at >= self.runtime.checkpoint_every_seconds
        return self.save_soon or long_ago or self.is_permanent()

    def is_permanent(self) -> bool:
        every = self.runtime.permanent_every_steps
        return every > 0 and self.step % every == 0

    def save_checkpoint(self) -> None:
        """Have the state of now written. A full disk doesn't stop the training: :meth:`save_for_sure` does."""
        if self.saved_step == self.step:
            return
        with self.meter.paused():
            self.note_skipped_steps()
            self.saved_at = time.monotonic()
            try:
                metrics_bytes = self.metrics.sync(self.checkpoints.make_room)
            except DiskFull as error:
                self.checkpoint_failed(self.step, error)
                metrics_bytes = -1
            if self.parallel.any_of([metrics_bytes < 0])[0]:
                return
            state = {
                "tokens": self.tokens,
                "loss": finite(self.loss.item()),
                "best": self.best,
                "guard": self.guard.state(),
                "random": self.parallel.gather(random_state()),
                "metrics_bytes": metrics_bytes,
                "memory": self.gradients.state(),
            }
            self.checkpoints.save(self.step, self.tensors, state, permanent=self.is_permanent())
            self.saved_step, self.save_soon = self.step, False
            collect_garbage()

    def save_for_sure(self) -> None:
        """Save, and wait until it is published.

        Raises:
            DiskFull: it could not be; the earlier checkpoints are untouched.
        """
        self.save_checkpoint()
        if self.parallel.any_of([self.checkpoints.last_failed])[0]:  # there may be room by now
            self.saved_step = -1
            self.save_checkpoint()
        self.checkpoints.wait()
        self.metrics.sync()

    def checkpoint_published(self, step: int) -> None:
        self.record("checkpoint", step=step, path=f"checkpoints/step-{step:08d}")
        self.events.sync()

    def checkpoint_failed(self, step: int, error: Exception) -> None:
        self.record("checkpoint_failed", step=step, why=str(error))
        self.report(f"THE CHECKPOINT OF STEP {step} COULD NOT BE SAVED: {error}")

    def is_stopping(self) -> bool:
        """Asked before each piece of a batch, so that a long step is no hang."""
        self.watchdog.beat()
        return self.stop.requested

    def hung(self, seconds: float) -> None:
        self.record("hang", seconds=round(seconds, 1))
        self.report(f"NO PROGRESS FOR {seconds:.0f} s: leaving, to be started again; {self.watchdog.report} says where")

    def leave_politely(self) -> None:
        self.save_for_sure()
        self.record("preempted", signal=self.stop.name)
        raise Preempted(
            f"{self.stop.name} arrived; the state of step {self.step} is saved.", fix="Start it again to go on."
        )

    def log_is_due(self) -> bool:
        return self.step % self.runtime.log_every == 0 or self.step in (1, self.plan.steps)

    def log_step(self, share: float, norm: float, bytes_per_target: float) -> None:
        loss = self.loss.item()
        values: dict[str, Any] = {
            "train/loss": finite(loss),
            "train/lr": self.plan.train.optimizer.lr * share,
            "train/grad_norm": finite(norm),
            "guard/skipped_steps": self.guard.skipped(self.step - 1),
            "guard/rollbacks": len(self.guard.until(self.step - 1)),
        }
        if bytes_per_target:
            values["train/bits_per_byte"] = finite(loss / math.log(2) / bytes_per_target)
        measured = self.meter.recent()
        self.metrics.append(self.line(values | measured))
        speed = measured.get("perf/tokens_per_second")
        self.report(f"loss {loss:.3f}, {speed:,.0f} tokens/s" if speed else f"loss {loss:.3f}")

    def line(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"step": self.step, "tokens": self.tokens, "time": now(), **values}

    def record(self, event: str, **details: Any) -> None:
        self.events.append({"time": now(), "step": self.step, "event": event, **details})

    def damaged(self, name: str, why: str) -> None:
        self.record("checkpoint_damaged", checkpoint=name, why=why)

    def report(self, message: str) -> None:
        self.progress(self.step, self.plan.steps, message)
