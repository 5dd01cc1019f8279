"""One of several processes, each with a device of its own, that train one model."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from llm_core.config import ParallelConfig
from llm_core.errors import LlmCoreError
from llm_core.model.transformer import Transformer
from llm_core.train.batches import Batch, Share
from llm_core.train.parallel import mesh as grid
from llm_core.train.parallel.data import GradientSum, shard
from llm_core.train.parallel.parts import gathered, local
from llm_core.train.parallel.pipeline import Pipeline
from llm_core.train.parallel.single import LossSum, Parallel
from llm_core.train.parallel.tensor import divide


class Several(Parallel):
    """The same interface as one process has; every method is called by all processes at the same point.

    Raises:
        LlmCoreError: the number of processes doesn't fit ``config``.
    """

    def __init__(self, config: ParallelConfig, device: torch.device) -> None:
        if config.offload and config.data != "fsdp":
            raise LlmCoreError(
                "only fsdp can keep weights in the CPU's memory.",
                where="runtime.llm.parallel.offload",
                fix="Set data: fsdp, or offload: false.",
            )
        self.config, self.device = config, device
        self.sizes = grid.Sizes.of(config, grid.processes())
        self.mesh = grid.connect(self.sizes, device)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.passes_are_own = config.data == "ddp" and self.sizes.tensor == self.sizes.pipeline == 1
        self.share = Share(self.mesh.get_local_rank("data"), self.sizes.data)
        self._pipeline: Pipeline | None = None
        self._copies: GradientSum | None = None
        self._on_local_heads: list[nn.Parameter] = []
        self._on_all_stages: list[nn.Parameter] = []
        self._own: set[nn.Parameter] = set()
        self._shape: nn.Module | None = None

    # ------------------------------------------------------------------------------------------ dividing the model

    def check_rows(self, rows: int) -> None:
        self.sizes.check_batch(rows)

    def prepare(self, model: nn.Module) -> nn.Module:
        transformer = _transformer_of(model)
        self.sizes.check(transformer.config)
        self._shape = _without_weights(model)
        if self.sizes.pipeline > 1:
            self._pipeline = Pipeline(transformer, self.mesh.get_group("pipeline"))
        if self.sizes.tensor > 1:
            self._on_local_heads = divide(transformer.blocks, self.mesh["tensor"])
            names = _names(self._on_local_heads, model)
        if self.config.data == "fsdp":
            shard(transformer, self.mesh["data"], offload=self.config.offload)
        if self._pipeline is not None:
            self._pipeline.stop_after_states(transformer)
        named = dict(model.named_parameters())
        if self.sizes.tensor > 1:  # FSDP puts new parameters in place of the old ones
            self._on_local_heads = [named[name] for name in names]
        self._own = set(transformer.blocks.parameters())
        if self.sizes.pipeline > 1:
            self._on_all_stages = [p for p in named.values() if p not in self._own]
        in_fsdp = set(transformer.parameters()) if self.config.data == "fsdp" else set()
        copied = [p for p in named.values() if p not in in_fsdp]
        if self.sizes.data > 1 and copied:
            self._copies = GradientSum(copied, self.mesh.get_group("data"))
        return model

    # ------------------------------------------------------------------------------------------------- gradients

    def forward_backward(
        self,
        model: nn.Module,
        loss_sum: LossSum,
        batches: Sequence[Batch],
        precision: Callable[[], AbstractContextManager[object]],
    ) -> Tensor:
        def before_last() -> None:
            if self._copies is not None:
                self._copies.enabled = True

        if self._pipeline is not None:
            total = self._pipeline.forward_backward(loss_sum, batches, precision, before_last)
        else:
            *earlier, last = batches
            losses = [super().forward_backward(model, loss_sum, earlier, precision)] if earlier else []
            before_last()
            losses.append(super().forward_backward(model, loss_sum, [last], precision))
            total = torch.stack(losses).sum()
        if self._copies is not None:
            self._copies.finish()
        self._add_up_over("tensor", [p for p in self._on_local_heads if p.grad is not None])
        self._add_up_over_stages()
        return total

    def _add_up_over_stages(self) -> None:
        """Of what every stage holds. One that doesn't use a parameter adds zeros, unless none does."""
        if self._on_all_stages:
            used = torch.tensor([p.grad is not None for p in self._on_all_stages], dtype=torch.uint8)
            dist.all_reduce(used, op=dist.ReduceOp.MAX, group=self.mesh.get_group("pipeline"))
            parameters = [p for p, some in zip(self._on_all_stages, used.tolist(), strict=True) if some]
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._add_up_over("pipeline", parameters)

    def _add_up_over(self, dimension: str, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            assert parameter.grad is not None
            self._reduce(local(parameter.grad), dimension)

    def gradient_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Each process adds what it holds, divided by the number of processes that hold the same."""
        alike: dict[tuple[torch.device, float], list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            assert parameter.grad is not None
            gradient = local(parameter.grad)
            alike[gradient.device, self._holders(parameter)].append(gradient)
        total = torch.zeros((), device=self.device)
        for (_, holders), gradients in alike.items():
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            total += norm.square().to(self.device) / holders
        dist.all_reduce(total)
        return total.sqrt()

    def _holders(self, parameter: nn.Parameter) -> float:
        pieces = self.sizes.pipeline if parameter in self._own else 1
        if isinstance(parameter, DTensor):
            for size, placement in zip(parameter.device_mesh.shape, parameter.placements, strict=True):
                pieces *= 1 if placement.is_replicate() else size
        return self.world_size / pieces

    def _reduce(self, tensor: Tensor, dimension: str) -> None:
        """Sum in place; what lies on the CPU beside a GPU goes over gloo."""
        dist.all_reduce(tensor, group=self.mesh.get_group(dimension))

    @contextmanager
    def reading(self, model: nn.Module) -> Iterator[None]:
        yield
        transformer = _transformer_of(model)
        if isinstance(transformer, FSDPModule):  # only a backward pass lets go of the last weights that were gathered
            transformer.reshard()

    # -------------------------------------------------------------------------------------------------- messages

    def add_up(self, values: Tensor) -> Tensor:
        total = values.clone()
        self._reduce(total, "data")
        return total

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        return grid.any_of(flags)

    def gather(self, value: object) -> list[object]:
        return grid.gather(value)

    # --------------------------------------------------------------------------------------------- the whole model

    @torch.no_grad()
    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        here = {}
        for name, tensor in tensors.items():
            full = gathered(tensor)
            if self.mesh.get_local_rank("data") == self.mesh.get_local_rank("tensor") == 0:
                here[name] = full.detach().cpu()
        if self.sizes.pipeline == 1:
            return here if self.is_main else {}
        described = [[name, list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in here.items()]
        known: set[str] = set()
        for sender, offered in enumerate(self.gather(described)):
            for name, shape, kind in cast(list[tuple[str, list[int], str]], offered):
                if name in known:
                    continue
                known.add(name)
                if sender == 0:
                    continue
                if self.is_main:
                    here[name] = torch.empty(shape, dtype=getattr(torch, kind))
                    dist.recv(here[name], src=sender)
                elif self.rank == sender:
                    dist.send(here[name].contiguous(), dst=0)
        return here if self.is_main else {}

    @torch.no_grad()
    def unite(self, model: nn.Module) -> nn.Module | None:
        whole = self.whole(dict(model.named_parameters()))
        if not self.is_main:
            return None
        assert self._shape is not None, "the model was divided by prepare()"
        united = copy.deepcopy(self._shape)
        for name, parameter in list(united.named_parameters()):
            # In place of the object's content, so that a tied matrix stays one.
            torch.utils.swap_tensors(parameter, nn.Parameter(whole[name]))
        return united.to("cpu").eval()

    def close(self) -> None:
        dist.destroy_process_group()


def _transformer_of(model: nn.Module) -> Transformer:
    """The model itself, or what a classifier is built on."""
    return model if isinstance(model, Transformer) else cast(Transformer, model.transformer)


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy whose parameters have shapes only."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, dict(empty))


def _names(parameters: Sequence[nn.Parameter], model: nn.Module) -> list[str]:
    wanted = set(parameters)
    return [name for name, parameter in model.named_parameters() if parameter in wanted]
