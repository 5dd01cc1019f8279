"""A tensor that is divided over processes, and the part of it that lies here.

PyTorch keeps a divided tensor as a DTensor: the local part, and how the parts make up the whole. What works element by
element (AdamW, averages, scaling) runs on the local parts alone, without communication and without DTensor's cost per
operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_divided(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a DTensor; asked without importing it, which takes a second."""
    return hasattr(tensor, "placements")


def local(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` that lies here, in the same memory; an undivided tensor is its own part."""
    if not is_divided(tensor):
        return tensor
    with torch.no_grad():
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part


def gathered(tensor: Tensor) -> Tensor:
    """The whole of ``tensor`` on every process that has a part. All of them call this together."""
    if not is_divided(tensor):
        return tensor
    from torch.distributed.tensor import Replicate

    divided: Any = tensor
    placements = list(divided.placements)
    # One after the other, the last division first: with tensor parallelism and then FSDP the mesh has them in reverse
    # order, which the parts of parts (strided ones) tell.
    strided = [d for d, placement in enumerate(placements) if hasattr(placement, "split_factor")]
    rest = [d for d in reversed(range(len(placements))) if d not in strided]
    for dimension in (*strided, *rest):
        placements[dimension] = Replicate()
        divided = divided.redistribute(placements=placements)
    return local(divided)


def split_like(part: Tensor, whole: Tensor) -> Tensor:
    """``part`` as the local part of a tensor that is divided as ``whole`` is, in the same memory."""
    if not is_divided(whole):
        return part
    from torch.distributed.tensor import DTensor

    divided: Any = whole
    result: Tensor = DTensor.from_local(
        part, divided.device_mesh, divided.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )
    return result
