"""Keeps a bad step from spoiling the weights, and a hopeless run from going on.

The verdict on a step is a number on the device: the step is taken or not without the host ever asking. What happened
is read back a little later, and only then does the host go back to a checkpoint, leave rows out, or give up.

A step is not taken if its loss or gradient norm isn't finite, or stands more than ``spike_sigma`` standard deviations
above the mean of the last ``window`` steps that were taken (the idea is llm.c's outlier detector and OLMo's SkipStep).
Skipped steps never enter the window: one spike would hide the next. So a loss that has moved up for good is not
admitted by and by; its steps are a cluster, and a cluster ends in a rollback, or in the end of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llm_core.config import GuardConfig

#: On a GPU verdicts are read at multiples of so many steps: each reading waits for the device.
STEPS_BETWEEN_READINGS = 16
#: Deviations are counted in at least this share of the mean: where nothing varies, anything would be a spike.
LEAST_DEVIATION = 0.01
#: A rollback goes back this part (one in so many) of the window before the first skipped step.
MARGIN = 16
TAKEN, NONFINITE, SPIKE = 0.0, 1.0, 2.0


@dataclass(frozen=True)
class Skipped:
    """A step that was not taken."""

    step: int
    batch: int
    """Which batch of the training data it read."""
    reason: str
    """`nonfinite` or `spike`."""


class Rollback(NamedTuple):
    """From step ``step`` on, training takes another course than it did: what came of the first one is known."""

    step: int
    left_out: int
    """So many more batches are left out from then on."""
    skipped: int
    """Steps of the first course that were skipped from there on."""


class Guard:
    """Judges every step by its loss and gradient norm. Its state is kept in every checkpoint."""

    def __init__(self, config: GuardConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.rollbacks: list[Rollback] = []
        self._skipped = 0  # on the present course
        self.recent: list[tuple[int, str]] = []
        """(step, reason) of those skipped in the last ``window`` steps that no rollback has answered."""
        # (loss and gradient norm, window), oldest first. Empty places are NaN, and nothing is greater than a mean
        # with a NaN in it: so the window counts only when it is full.
        self._window = torch.full((2, config.window), math.nan, device=device)
        self._verdicts: list[tuple[int, Tensor]] = []

    def until(self, step: int) -> list[Rollback]:
        """The rollbacks that tell in ``step``. Training goes back to some checkpoint, and comes to the step where it
        takes another course in the way that it came the first time. So when checkpoints were written doesn't matter."""
        return [rollback for rollback in self.rollbacks if rollback.step <= step]

    def lr_scale(self, step: int) -> float:
        """Every rollback lowers the learning rate by a factor."""
        return float(self.config.rollback_lr_factor ** len(self.until(step)))

    def data_offset(self, step: int) -> int:
        """Batches that were left out by rollbacks: ``step`` trains on batch ``step`` + this."""
        return sum(rollback.left_out for rollback in self.until(step))

    def skipped(self, step: int) -> int:
        """Steps that weren't taken, on courses that were given up as well."""
        return self._skipped + sum(rollback.skipped for rollback in self.until(step))

    def judge(self, step: int, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """1 if the update may be taken, else 0: fp32 scalar on the device."""
        values = torch.stack([loss.detach().float(), gradient_norm.detach().float()]).to(self.device)  # (2,)
        deviation, mean = torch.std_mean(self._window, dim=1)
        deviation = torch.maximum(deviation, LEAST_DEVIATION * mean.abs())
        finite = torch.isfinite(values).all()
        spike = (values > mean + self.config.spike_sigma * deviation).any()
        taken = finite & ~spike
        pushed = torch.cat([self._window[:, 1:], values[:, None]], dim=1)
        self._window = torch.where(taken, pushed, self._window)
        self._verdicts.append((step, torch.where(finite, spike * SPIKE, NONFINITE)))
        return taken.float()

    def reading_is_due(self, step: int) -> bool:
        """Whether the verdicts should be read when ``step`` updates are done: a function of the step alone, so that a
        resumed run decides what the unbroken one decided."""
        return self.device.type == "cpu" or step % STEPS_BETWEEN_READINGS == 0

    def read_back(self) -> list[Skipped]:
        """The steps that weren't taken since the last time. Waits for the device."""
        if not self._verdicts:
            return []
        verdicts = torch.stack([verdict for _, verdict in self._verdicts]).tolist()  # one transfer for all
        found = [
            Skipped(step, step + self.data_offset(step), "spike" if verdict == SPIKE else "nonfinite")
            for (step, _), verdict in zip(self._verdicts, verdicts, strict=True)
            if verdict != TAKEN
        ]
        newest = self._verdicts[-1][0]
        self._verdicts.clear()
        self._skipped += len(found)
        recent = [*self.recent, *((s.step, s.reason) for s in found)]
        self.recent = [(step, reason) for step, reason in recent if step > newest - self.config.window]
        return found

    def cluster(self) -> int | None:
        """Where a cluster of skipped steps that is to be answered by a rollback begins; None if there is none.

        That is a little before the first of them: skipped steps leave the weights alone, so if these are to blame, a
        step that was taken before did the harm.

        A spike counts only next to another skipped step. The step after one has the same weights: if it is as usual,
        the batch was odd and not the weights, and leaving it out was all there was to do. (Measured on small batches
        of source code: 4 such spikes in 1000 steps of a healthy run, often enough three within a window.)
        """
        steps = {step for step, _ in self.recent}
        counted = [step for step, why in self.recent if why == "nonfinite" or {step - 1, step + 1} & steps]
        if len(counted) < self.config.rollback_after:
            return None
        return max(0, counted[0] - self.config.window // MARGIN)

    def roll_back(self, first: int, now_at: int, before: dict[str, Any]) -> None:
        """Go on from the state that the guard had ``before``, a checkpoint's, but knowing better: from step ``first``
        on, leave out the batches that were trained on between there and ``now_at``, and go more slowly."""
        skipped = sum(step >= first for step, _ in self.recent)
        rollbacks = [*self.rollbacks, Rollback(first, now_at - first, skipped)]
        self.load_state(before)
        self.rollbacks = rollbacks

    def state(self) -> dict[str, Any]:
        """As JSON values. Verdicts must have been read back."""
        assert not self._verdicts, "unread verdicts would be lost"
        return {
            "skipped": self._skipped,
            "rollbacks": [list(rollback) for rollback in self.rollbacks],
            "recent": [list(each) for each in self.recent],
            "window": [[value for value in row if math.isfinite(value)] for row in self._window.tolist()],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._skipped = int(state["skipped"])
        self.rollbacks = [Rollback(*map(int, rollback)) for rollback in state["rollbacks"]]
        self.recent = [(int(step), str(reason)) for step, reason in state["recent"]]
        size = self.config.window
        rows = [[math.nan] * (size - len(row)) + [float(value) for value in row] for row in state["window"]]
        self._window = torch.tensor(rows, device=self.device)
        self._verdicts.clear()
