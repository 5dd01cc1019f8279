"""Keeps a bad step from spoiling the weights, and a hopeless run from going on.

The verdict on a step is a number on the device: the step is taken or not without the host ever asking. What happened
is read back a little later, and only then does the host skip rows, go back to a checkpoint, or give up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llm_core.config import GuardConfig
from llm_core.errors import Diverged

#: So many steps in a row without a finite gradient and no checkpoint to go back to, and the run is given up.
PATIENCE = 10


@dataclass(frozen=True)
class Skipped:
    """A step that was not taken."""

    step: int
    reason: str
    """`nonfinite` or `spike`."""


class Guard:
    """Judges every step by its loss and gradient norm. Its state is kept in every checkpoint."""

    def __init__(self, config: GuardConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.skipped = 0
        self.in_a_row = 0
        self.rollbacks = 0
        self.lr_scale = 1.0
        """Every rollback lowers the learning rate by a factor."""
        self.data_offset = 0
        """Batches that were left out by rollbacks: step s trains on batch s + this."""
        self._verdicts: list[tuple[int, Tensor]] = []

    def judge(self, step: int, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """1 if the update may be taken, else 0: fp32 scalar on the device."""
        admitted = (torch.isfinite(gradient_norm) & torch.isfinite(loss)).float()
        self._verdicts.append((step, admitted))
        return admitted

    def read_back(self) -> list[Skipped]:
        """The steps that weren't taken since the last time. Waits for the device.

        Raises:
            Diverged: too many in a row.
        """
        found: list[Skipped] = []
        for step, admitted in self._verdicts:
            if admitted.item():
                self.in_a_row = 0
                continue
            found.append(Skipped(step, "nonfinite"))
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row >= PATIENCE:
                raise Diverged(
                    f"the gradients have not been finite for {self.in_a_row} steps in a row.",
                    where=f"step {step}",
                    fix="Lower the learning rate, warm up longer, or set precision: fp32.",
                )
        self._verdicts.clear()
        return found

    def state(self) -> dict[str, Any]:
        return {
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "rollbacks": self.rollbacks,
            "lr_scale": self.lr_scale,
            "data_offset": self.data_offset,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])
        self.rollbacks, self.data_offset = int(state["rollbacks"]), int(state["data_offset"])
        self.lr_scale = float(state["lr_scale"])
        assert math.isfinite(self.lr_scale)
