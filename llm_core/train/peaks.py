"""How fast a device could be: what its maker says, and what a large matrix product reaches here.

The model FLOP utilization (Chowdhery et al. 2022) is a share of one of the two, and says little unless it says of
which. The maker's number needs clocks that a card under full load doesn't hold; no program reaches it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import torch

from llm_core.train.data_sheets import nominal_flops

#: Rows and columns of the matrices that are multiplied, and for how many seconds.
MATRIX = {"cuda": 8192, "cpu": 1024}
SECONDS = {"cuda": 1.0, "cpu": 0.2}


@dataclass(frozen=True)
class Peaks:
    """FLOP/s of one device."""

    device: str
    """Its name."""
    nominal: float | None
    """By its maker; None where that isn't known here."""
    measured: float | None
    """Of a matrix product in the training's precision, just now."""
    measured_as: str
    """What was multiplied."""

    def event(self) -> dict[str, object]:
        """For the log: which number is which."""
        return {
            "device": self.device,
            "nominal_flops": self.nominal,
            "nominal_is": "dense bf16, by the maker's data sheet",
            "measured_flops": self.measured,
            "measured_is": self.measured_as,
        }


def find_peaks(device: torch.device, precision: str) -> Peaks:
    """Both peaks of ``device``; takes a moment at the first call."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if device.type not in MATRIX:
        return Peaks(name, None, None, "not measured on this kind of device")
    size = MATRIX[device.type]
    measured = measured_flops(str(device), precision, torch.get_num_threads())
    return Peaks(name, nominal_flops(name), measured, f"product of two {size} x {size} matrices in {precision}")


@lru_cache(maxsize=8)
def measured_flops(device: str, precision: str, threads: int) -> float:
    """FLOP/s of one large matrix product after another: the best of the rounds, as a rate that can be had.

    Args:
        threads: of the CPU; only so that another number is another measurement.
    """
    kind = torch.device(device).type
    size, dtype = MATRIX[kind], torch.bfloat16 if precision == "bf16" else torch.float32
    numbers = torch.Generator().manual_seed(0)  # of its own: the training's random numbers stay as they are
    # Not ones: on a card that is limited by its power, simple numbers multiply faster than real ones.
    a, b = (torch.randn(size, size, generator=numbers).to(device, dtype) for _ in range(2))
    product = torch.empty_like(a)
    rounds = 10 if kind == "cuda" else 1

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(rounds):
            torch.mm(a, b, out=product)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - began) / rounds

    seconds()  # libraries are loaded and clocks go up
    best, ends = float("inf"), time.perf_counter() + SECONDS[kind]
    while best == float("inf") or time.perf_counter() < ends:
        best = min(best, seconds())
    return 2.0 * size**3 / best
