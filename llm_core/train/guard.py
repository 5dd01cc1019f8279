"""Keeps a bad step from spoiling the weights, and a hopeless run from going on."""

from __future__ import annotations

import math
from typing import Any

from llm_core.errors import Diverged

#: So many steps in a row without a finite gradient, and the run is given up.
PATIENCE = 10


class Guard:
    """A step whose gradient norm isn't finite is not taken. Its state is two integers, kept in every checkpoint."""

    def __init__(self, patience: int = PATIENCE) -> None:
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0

    def admits(self, gradient_norm: float, step: int) -> bool:
        """Whether the update may be taken.

        Raises:
            Diverged: ``patience`` steps in a row could not.
        """
        if math.isfinite(gradient_norm):
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.patience:
            raise Diverged(
                f"the gradients have not been finite for {self.in_a_row} steps in a row.",
                where=f"step {step}",
                fix="Lower the learning rate, warm up longer, or set precision: fp32.",
            )
        return False

    def state(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])
