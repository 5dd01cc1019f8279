"""What goes into the training loop besides model and data, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from llm_core.config import TrainConfig
from llm_core.train.memory import BatchPlan
from llm_core.train.peaks import Peaks

#: Called before each piece of a validation, so that a long one can be watched, and stopped.
Tick = Callable[[], None]
#: Measures the model on held-out data: all of it if ``final``, else the part that the configuration allows.
Validate = Callable[[bool, Tick], dict[str, float]]


class Observer(Protocol):
    """Looks at the model now and then, and changes nothing."""

    def is_due(self, step: int) -> bool:
        """Whether it wants to look after ``step`` updates. Asked again for the step that a resume begins at."""

    def look(self, step: int) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What the loop has to know of a task besides the data.

    Steps, rates and data order all follow from it: whoever searches for a learning rate calls :func:`fit` with plans
    that differ in ``train``.
    """

    steps: int
    train: TrainConfig
    identity: dict[str, Any]
    """All that decides the weights (configuration, digests of the inputs). Checkpoints of another one are refused."""
    micro_batch_rows: int
    flops_per_token: float = 0.0
    """Of a forward and backward pass, for the model FLOP utilization. 0: not told."""
    peaks: Peaks | None = None
    """What the device could do, for the same. None: not told."""
    memory: BatchPlan | None = None
    """How ``micro_batch_rows`` came about, for the log."""
    compiled: str = "not compiled"
    """What of the model is compiled, for the log."""
    byte_lengths: Tensor | None = None
    """(vocab,) int64 UTF-8 bytes of each token, for bits per byte. None: not told."""
    observer: Observer | None = None

    def events(self) -> dict[str, dict[str, Any]]:
        """What the log is told before the first step."""
        found: dict[str, dict[str, Any]] = {}
        if self.memory is not None:
            found["plan"] = {**self.memory.event(), "compiled": self.compiled}
        if self.peaks is not None:
            found["peaks"] = self.peaks.event()
        return found


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
    rollbacks: int = 0
    memory_bytes: int = 0
    """The most on a GPU; on a CPU what the process holds at the end."""
    utilization: dict[str, float] = field(default_factory=dict)
    """`mfu_nominal` and `mfu_measured` of the whole training, as far as they are known."""

    def counters(self) -> dict[str, int | float | str]:
        """For the manifest."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "train_loss": self.loss,
            **{f"validation_{name}": value for name, value in self.validation.items()},
            "tokens_per_second": round(self.tokens_per_second, 1),
            "skipped_steps": self.skipped_steps,
            "rollbacks": self.rollbacks,
            "memory_bytes": self.memory_bytes,
            **self.utilization,
        }
