"""How a batch goes through the device: rows at a time, and what the backward pass computes again.

Neither changes the result: accumulation makes up the rest of the batch, and what is computed again comes out the same.
So both are chosen for the machine. On a GPU the choice is tried out before the first step
(:mod:`llm_core.train.probe`); on a CPU, where a machine without memory doesn't say so but kills, it is calculated. The
loop goes on from there if memory runs out after all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm_core.config import LlmRuntime, ModelConfig, TrainConfig
from llm_core.model.presets import CHECKPOINTING, Checkpointing, memory_plan

#: On a CPU a smaller piece stays in the caches: measured best around this many tokens.
CPU_TOKENS = 2048
#: Of the free memory, so much may be used.
CEILING = 0.92
#: Of a device's measured peak, what training typically reaches: for an expectation before anything ran. By device and
#: precision. (A CPU's bf16 unit is at its best with matrices far larger than a small model's.)
TYPICAL_UTILIZATION = {"cuda fp32": 0.45, "cuda bf16": 0.45, "cpu fp32": 0.5, "cpu bf16": 0.12}
#: Where control groups (containers) tell their limit and use, in versions 2 and 1 of the kernel's interface.
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class BatchPlan:
    """How each batch goes through one device, and what that is expected to cost."""

    micro_batch_rows: int
    accumulation: int
    """Micro-batches a step."""
    row_tokens: int
    activation_checkpointing: Checkpointing
    memory_bytes: int
    """Expected while training, all in all."""
    available_bytes: int | None
    """What there is for it; None where that can't be known."""
    tokens_per_second: float | None
    """Expected; None where nothing is known."""
    source: str
    """How the expectation came about: `calculated`, `probed`, `cached` (probed in an earlier run)."""

    @property
    def fits(self) -> bool:
        return self.available_bytes is None or self.memory_bytes <= CEILING * self.available_bytes

    def event(self) -> dict[str, Any]:
        """For the log."""
        names = ("micro_batch_rows", "accumulation", "activation_checkpointing", "memory_bytes", "available_bytes")
        return {name: getattr(self, name) for name in (*names, "tokens_per_second", "source")}

    def text(self) -> str:
        """For people, in one line."""
        parts = [
            f"{self.micro_batch_rows} rows of {self.row_tokens} tokens at a time, {self.accumulation} times a step",
            {
                "none": "activations are kept",
                "selective": "cheap activations are computed again (selective)",
                "full": "activations are computed again (full)",
            }[self.activation_checkpointing],
        ]
        of = f" of {_gigabytes(self.available_bytes)}" if self.available_bytes is not None else ""
        parts.append(f"about {_gigabytes(self.memory_bytes)}{of} of memory ({self.source})")
        if self.tokens_per_second:
            parts.append(f"about {self.tokens_per_second:,.0f} tokens/s")
        if not self.fits:
            parts.append("THIS MAY NOT FIT: take a smaller model or a shorter context if it ends without a word")
        return "; ".join(parts)


def calculate_plan(
    shape: ModelConfig,
    vocab_size: int,
    train: TrainConfig,
    runtime: LlmRuntime,
    *,
    batch_rows: int,
    row_tokens: int,
    available: int | None,
    preferred_tokens: int | None = CPU_TOKENS,
    tokens_per_second: float | None = None,
    devices: int = 1,
) -> BatchPlan:
    """A plan from the shape alone: as many rows as are preferred if they fit, fewer if not, and then with less kept for
    the backward pass.

    Args:
        batch_rows: rows of a whole batch.
        available: bytes; None counts as enough.
        preferred_tokens: at a time. None: as many as fit.
        tokens_per_second: expected, of all devices together.
        devices: so many share each batch's rows, and weights and state where ``fsdp`` divides them.
    """
    own_rows = math.ceil(batch_rows / devices)
    divided = devices if runtime.parallel.data == "fsdp" else 1

    def plan(rows: int, mode: Checkpointing) -> BatchPlan:
        expected = memory_plan(
            shape,
            vocab_size,
            optimizer=train.optimizer,
            precision=train.precision,
            rows=rows,
            row_tokens=row_tokens,
            checkpointing=mode,
            average=train.ema_decay is not None,
            divided_among=divided,
        )
        times = math.ceil(own_rows / rows)
        return BatchPlan(rows, times, row_tokens, mode, expected.total, available, tokens_per_second, "calculated")

    modes = modes_to_try(runtime)
    if runtime.micro_batch_rows:
        rows = min(runtime.micro_batch_rows, own_rows)
        return next((p for p in (plan(rows, mode) for mode in modes) if p.fits), plan(rows, modes[-1]))
    preferred = own_rows if preferred_tokens is None else max(1, preferred_tokens // row_tokens)
    best = _power_of_two(min(own_rows, preferred))
    sizes = [best >> halvings for halvings in range(best.bit_length())]
    candidates = (plan(rows, mode) for mode in modes for rows in sizes)
    return next((p for p in candidates if p.fits), plan(1, modes[-1]))


def modes_to_try(runtime: LlmRuntime) -> tuple[Checkpointing, ...]:
    """From the fastest to the one that needs least."""
    asked = runtime.activation_checkpointing
    return CHECKPOINTING if asked == "auto" else (asked,)


def available_memory(
    meminfo: Path = Path("/proc/meminfo"), cgroups: tuple[tuple[str, str], ...] = CGROUPS
) -> int | None:
    """Bytes of main memory that a process can still get, by the system and by the container's limit. None where
    neither says."""
    found: list[int] = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    for limit, used in cgroups:
        try:
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(found, default=None)


def checkpointing_of(model: nn.Module) -> Checkpointing | None:
    """What the model's backward pass computes again; None where the model knows nothing of it."""
    modes = [module.activation_checkpointing for module in model.modules() if _can_checkpoint(module)]
    return modes[0] if modes else None  # type: ignore[return-value]


def set_checkpointing(model: nn.Module, mode: str) -> None:
    for module in model.modules():
        if _can_checkpoint(module):
            module.activation_checkpointing = mode  # type: ignore[assignment]


def stronger(mode: Checkpointing | None) -> Checkpointing | None:
    """The next one that needs less memory; None after the last."""
    after = CHECKPOINTING[CHECKPOINTING.index(mode) + 1 :] if mode is not None else ()
    return after[0] if after else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _can_checkpoint(module: nn.Module) -> bool:
    return hasattr(module, "activation_checkpointing")


def _power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
