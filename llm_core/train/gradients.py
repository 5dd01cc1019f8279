"""From a batch to a step's gradients: in pieces that fit, divided by what counted, and no longer than allowed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime
from llm_core.errors import OutOfMemory
from llm_core.train.batches import IGNORE, Batch, BatchSource
from llm_core.train.device import autocast
from llm_core.train.memory import checkpointing_of, is_out_of_memory, set_checkpointing, stronger
from llm_core.train.objectives import Objective
from llm_core.train.parallel import Parallel, local
from llm_core.train.random_state import random_state, restore_random_state


class Interrupted(Exception):
    """A step was left in its middle; nothing of it remains."""


class Gradients:
    """Runs batches forward and backward, as many rows at a time as fit. Neither that number nor what the backward pass
    computes again changes the result, so both may be changed in the middle of a run.

    Args:
        byte_lengths: (vocab,) UTF-8 bytes of each token, where bits per byte are wanted.
        stopping: whether the run has been asked to end. A process that is alone then leaves between two pieces.
        record: writes an event.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        batches: BatchSource,
        micro_batch_rows: int,
        *,
        device: torch.device,
        precision: str,
        parallel: Parallel,
        byte_lengths: Tensor | None,
        stopping: Callable[[], bool],
        record: Callable[..., None],
    ) -> None:
        self.model, self.objective, self.batches, self.micro_batch_rows = model, objective, batches, micro_batch_rows
        self.device, self.precision, self.parallel, self.byte_lengths = device, precision, parallel, byte_lengths
        self.stopping, self.record = stopping, record
        self._rehearsed = parallel.world_size == 1 or not parallel.passes_are_own

    def of_batch(self, number: int) -> tuple[Tensor, int, int, int]:
        """Leave in ``.grad`` the gradient of the loss *summed* over batch ``number``.

        Returns:
            (loss sum on the device, valid targets, tokens, UTF-8 bytes of the targets or 0) of the whole batch

        Raises:
            Interrupted: the run is to end.
            OutOfMemory: not even one row fits.
        """
        self._random_before = random_state()
        if not self._rehearsed:
            self._rehearse(number)
        while True:
            batches = self.batches.micro_batches(number, self.micro_batch_rows, self.parallel.share)
            try:
                loss_sum = self.parallel.forward_backward(
                    self.model,
                    self._loss_sum,
                    [batch.to(self.device) for batch in batches],
                    lambda: autocast(self.device, self.precision),
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._undo()
                if self.parallel.world_size > 1:  # the others are waiting for this one's gradients already
                    raise self._out_of_memory(max(1, self.micro_batch_rows // 2)) from error
                self._use_less_memory()
            else:
                text_bytes = sum(self._target_bytes(batch) for batch in batches)
                counts = [sum(b.valid for b in batches), sum(b.real_tokens for b in batches), text_bytes]
                valid, tokens, text_bytes = self.parallel.add_up(torch.tensor(counts, dtype=torch.int64)).tolist()
                return self.parallel.add_up(loss_sum), valid, tokens, text_bytes

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "micro_batch_rows": self.micro_batch_rows,
            "activation_checkpointing": checkpointing_of(self.model),
        }

    def load_state(self, state: dict[str, Any], runtime: LlmRuntime) -> None:
        """Where ``runtime`` asks for nothing else, go on with what the run had: the same bits, and what was found too
        large isn't tried again."""
        if runtime.micro_batch_rows == 0:
            self.micro_batch_rows = int(state["micro_batch_rows"])
        if runtime.activation_checkpointing == "auto" and state["activation_checkpointing"] is not None:
            set_checkpointing(self.model, state["activation_checkpointing"])

    def _loss_sum(self, batch: Batch) -> Tensor:
        """One piece forward. Between two pieces a process that is alone may leave: a step can take long."""
        if self.stopping() and self.parallel.world_size == 1:
            self._undo()
            raise Interrupted
        return self.objective(self.model, batch)

    def _undo(self) -> None:
        """As if the step had never begun."""
        self.model.zero_grad(set_to_none=True)
        restore_random_state(self._random_before)

    def _target_bytes(self, batch: Batch) -> int:
        if self.byte_lengths is None:
            return 0
        return int(self.byte_lengths[batch.targets[batch.targets != IGNORE]].sum())

    def _rehearse(self, number: int) -> None:
        """Of several processes, each with all weights: a piece forward and backward without the others, so that all
        can still agree on a size that fits each of them."""
        while True:
            batch = self.batches.micro_batches(number, self.micro_batch_rows, self.parallel.share)[0].to(self.device)
            short = False
            try:
                with autocast(self.device, self.precision):
                    loss = self.objective(self.model, batch)
                loss.backward()
            except (RuntimeError, MemoryError) as error:
                short = is_out_of_memory(error)
                if not short:
                    raise
            self._undo()
            if not self.parallel.any_of([short])[0]:
                self._rehearsed = True
                return
            self._use_less_memory()

    def _use_less_memory(self) -> None:
        """Same batch in smaller pieces, then with more computed again in the backward pass."""
        if self.micro_batch_rows > 1:
            self.micro_batch_rows //= 2
            self.record("micro_batch_halved", micro_batch_rows=self.micro_batch_rows)
            return
        mode = stronger(checkpointing_of(self.model))
        if mode is None:
            raise self._out_of_memory(1)
        set_checkpointing(self.model, mode)
        self.record("activation_checkpointing_raised", activation_checkpointing=mode)

    def _out_of_memory(self, rows_to_try: int) -> OutOfMemory:
        if self.micro_batch_rows > 1:
            return OutOfMemory(
                f"there is not enough memory for {self.micro_batch_rows} rows at a time.",
                where="runtime.llm.micro_batch_rows",
                fix=f"Set it to {rows_to_try}: it goes on from the last checkpoint.",
            )
        return OutOfMemory(
            "there is not enough memory, even for one row at a time.",
            fix="Take a smaller model or a shorter context, or a device with more memory.",
        )


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
