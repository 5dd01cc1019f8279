"""Which type a matrix product is computed in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def narrow(x: Tensor, linear: nn.Linear) -> Tensor:
    """``x`` in the type that ``linear`` multiplies in, cast once for all the matrices that read it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else linear.weight.dtype)
