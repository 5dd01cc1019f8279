"""Tensor parallelism (Shoeybi et al. 2019): every process has some heads and some of the hidden units of each block.

The matrices that read the residual stream are divided by rows of the output, those that write to it by columns of the
input; one sum over the processes after each branch, and one in its backward pass, is all that travels. Embedding, head
and norms are whole on every process: simple, and what they cost in memory FSDP can divide.
"""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from llm_core.train.parallel.pipeline import Elsewhere

#: Which matrices of a block are divided how. A feed-forward network without a gate lacks that one.
READ = ("attention.query", "attention.key", "attention.value", "feed_forward.gate", "feed_forward.up")
WRITE = ("attention.output", "feed_forward.down")
#: Whole weights that work on the heads of this process only: their gradients are a part of the sum.
ON_LOCAL_HEADS = ("attention.query_norm", "attention.key_norm")


def divide(blocks: nn.ModuleList, mesh: DeviceMesh) -> list[nn.Parameter]:
    """Divide the matrices of all ``blocks`` over ``mesh``, in place.

    Returns:
        The whole parameters whose gradients have to be added up over ``mesh`` after every step.
    """
    partial: list[nn.Parameter] = []
    for block in blocks:
        if isinstance(block, Elsewhere):
            continue
        names = {name for name, _ in block.named_modules()}
        plan: dict[str, ParallelStyle] = {name: ColwiseParallel() for name in READ if name in names}
        plan |= {name: RowwiseParallel() for name in WRITE if name in names}
        # Once for all matrices that read it: in the backward pass their shares are added up before they travel.
        plan["attention"] = PrepareModuleInput(
            input_layouts=(Replicate(), None, None), desired_input_layouts=(Replicate(), None, None)
        )
        plan["feed_forward"] = PrepareModuleInput(input_layouts=Replicate(), desired_input_layouts=Replicate())
        parallelize_module(block, mesh, plan)
        partial += [p for name in ON_LOCAL_HEADS if name in names for p in block.get_submodule(name).parameters()]
    return partial
