"""Work on whole matrices whose parts lie on several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from llm_core.train.parallel.parts import is_divided


def on_whole_matrices(
    function: Callable[[Tensor], Tensor], parts: Sequence[Tensor], like: Tensor
) -> tuple[Tensor, ...]:
    """Apply ``function``, which works on each matrix of a stack by itself, to matrices that are divided as ``like``.

    Every process gets some of the matrices whole, computes those, and sends each part of the results home: the work is
    divided too, and no process holds all of them.

    Args:
        function: (count, rows, columns) to the same shape.
        parts: what lies here of each matrix. All matrices have the shape of ``like``.

    Returns:
        What lies here of each result.
    """
    stack = torch.stack(list(parts))
    if not is_divided(like):
        return function(stack).unbind(0)
    from torch.distributed.tensor import DTensor, Replicate, Shard

    whole = cast(DTensor, like)
    mesh, count = whole.device_mesh, len(parts)
    shape = torch.Size((count, *whole.shape))
    layout = {
        "device_mesh": mesh,
        "run_check": False,
        "shape": shape,
        "stride": torch.empty(shape, device="meta").stride(),
    }
    homes = [_behind_the_stack(placement) for placement in whole.placements]
    by_matrix = [Shard(0)] * mesh.ndim
    divided = DTensor.from_local(stack.to(mesh.device_type), placements=homes, **layout)
    if mesh.ndim > 1:
        divided = divided.redistribute(placements=[Replicate()] * mesh.ndim)
    mine = divided.redistribute(placements=by_matrix).to_local()
    results = DTensor.from_local(function(mine), placements=by_matrix, **layout)
    if mesh.ndim > 1:
        results = results.redistribute(placements=[Replicate()] * mesh.ndim)
    return results.redistribute(placements=homes).to_local().to(stack.device).unbind(0)


def _behind_the_stack(placement: object) -> object:
    """A matrix's placement where it is one of a stack: dimension 0 became 1."""
    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    if isinstance(placement, _StridedShard):
        return _StridedShard(placement.dim + 1, split_factor=placement.split_factor)
    return Shard(placement.dim + 1) if isinstance(placement, Shard) else placement
