"""What the makers say of their devices. No PyTorch in here: `groundup plan` asks before anything is loaded."""

from __future__ import annotations

import re

#: Dense bf16 FLOP/s (fp32 sums) by the data sheets, without sparsity. The first that is a word of the name counts.
NOMINAL: dict[str, float] = {
    "GB200": 2.5e15,
    "B200": 2.25e15,
    "B100": 1.75e15,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 5090": 209.5e12,
    "RTX 4090": 165.2e12,
    "RTX 4080": 97.5e12,
    "RTX 3090": 71e12,
    "RTX A6000": 154.8e12,
    "MI300X": 1307e12,
}


def nominal_flops(device_name: str) -> float | None:
    """The maker's number for a device of this name."""
    return next((flops for part, flops in NOMINAL.items() if re.search(rf"\b{part}\b", device_name)), None)
