"""Data parallelism: every process computes other rows, and the gradients are added up.

`ddp`: all weights are everywhere, and gradients travel in buckets while the backward pass still computes earlier
layers' (Li et al. 2020). `fsdp`: weights, gradients and optimizer state are divided; a block's weights are gathered
when it is their turn (Zhao et al. 2023; PyTorch's FSDP2).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard, register_fsdp_forward_method

from llm_core.train.parallel.parts import local
from llm_core.train.parallel.pipeline import Elsewhere

#: Numbers in a bucket. Larger ones use a link better, smaller ones set off earlier: PyTorch's DDP takes 25 MB too.
BUCKET = 25_000_000 // 4


class GradientSum:
    """Adds up the gradients of whole copies, during the backward pass that comes last in a step.

    A bucket sets off when all its gradients are there and the buckets before it have set off: so all processes send in
    one order. A parameter without a gradient (an unused head) has none on any process, and none is sent.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], group: dist.ProcessGroup) -> None:
        self.group = group
        self.enabled = False
        """Whether the next backward pass is the last one of the step."""
        self._buckets: list[list[nn.Parameter]] = []
        self._bucket_of: dict[nn.Parameter, int] = {}
        self._missing: list[int] = []
        self._next = 0
        self._under_way: list[tuple[list[Tensor], Tensor, dist.Work]] = []
        size = BUCKET
        for parameter in reversed(list(parameters)):  # gradients come from the last layer to the first
            if size >= BUCKET:
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(parameter)
            self._bucket_of[parameter] = len(self._buckets) - 1
            size += local(parameter).numel()
            parameter.register_post_accumulate_grad_hook(self._arrived)
        self._missing = [len(bucket) for bucket in self._buckets]

    def _arrived(self, parameter: Tensor) -> None:
        if not self.enabled:
            return
        assert isinstance(parameter, nn.Parameter)
        self._missing[self._bucket_of[parameter]] -= 1
        while self._next < len(self._buckets) and self._missing[self._next] == 0:
            self._set_off()

    def _set_off(self) -> None:
        gradients = [local(p.grad) for p in self._buckets[self._next] if p.grad is not None]
        self._next += 1
        if gradients:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._under_way.append((gradients, flat, dist.all_reduce(flat, group=self.group, async_op=True)))

    def finish(self) -> None:
        """Send what is left, and wait until all sums are in ``.grad``."""
        while self._next < len(self._buckets):
            self._set_off()
        for gradients, flat, work in self._under_way:
            work.wait()
            sums = flat.split([gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(sums, gradients, strict=True)])
        self._under_way.clear()
        self._missing = [len(bucket) for bucket in self._buckets]
        self._next, self.enabled = 0, False


def shard(transformer: nn.Module, mesh: DeviceMesh, *, offload: bool) -> None:
    """Divide all weights of ``transformer`` over ``mesh`` (FSDP2), each block by itself and then the rest.

    Weights are gathered in fp32 and autocast narrows them as it does on one process: gathering bf16 would halve the
    traffic but round the norms' weights too. Gradients are scattered after every micro-batch, so that no process ever
    holds all of them.
    """
    pin = mesh.device_type == "cuda"
    policy = CPUOffloadPolicy(pin_memory=pin) if offload else OffloadPolicy()
    divided = [block for block in transformer.blocks if not isinstance(block, Elsewhere)]  # type: ignore[union-attr]
    for module in (*divided, transformer):
        fully_shard(module, mesh=mesh, offload_policy=policy, reshard_after_forward=module is not transformer)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    register_fsdp_forward_method(transformer, "hidden")
