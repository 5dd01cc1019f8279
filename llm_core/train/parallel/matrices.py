"""Work on whole matrices whose parts lie on several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from llm_core.train.parallel.parts import gathered, is_divided

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor, Placement


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
    mesh, shape = whole.device_mesh, torch.Size((len(parts), *whole.shape))
    homes = tuple(_behind_the_stack(placement) for placement in whole.placements)
    by_matrix, everywhere = [Shard(0)] * mesh.ndim, [Replicate()] * mesh.ndim

    def divided(part: Tensor, placements: Sequence[Placement]) -> DTensor:
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(part, mesh, placements, run_check=False, shape=shape, stride=stride)

    at_home = divided(stack.to(mesh.device_type), homes)
    # From parts to matrices is one exchange, if there is one dimension and the backend knows it (gloo doesn't).
    by_exchange = mesh.ndim == 1 and mesh.device_type != "cpu"
    if not by_exchange:
        at_home = divided(gathered(at_home), everywhere)
    results = divided(function(at_home.redistribute(placements=by_matrix).to_local()), by_matrix)
    if not by_exchange:
        results = divided(gathered(results), everywhere)
    return results.redistribute(placements=homes).to_local().to(stack.device).unbind(0)


def _behind_the_stack(placement: Placement) -> Placement:
    """A matrix's placement where it is one of a stack: dimension 0 became 1."""
    from torch.distributed.tensor import Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    if isinstance(placement, _StridedShard):  # a part of a part: tensor parallelism and then FSDP
        return _StridedShard(placement.dim + 1, split_factor=placement.split_factor)
    return Shard(placement.dim + 1) if isinstance(placement, Shard) else placement
