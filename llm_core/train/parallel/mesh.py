"""Where each process stands in the grid data x pipeline x tensor, and the messages between all of them.

Tensor parallelism talks the most (twice a layer), so its processes are neighbours: on one machine, where links are
fast. Then come the stages of a pipeline, then the copies that share the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from llm_core.config import ModelConfig, ParallelConfig
from llm_core.errors import LlmCoreError
from llm_core.model.shape import head_shape

#: A collective that takes longer fails: another process is gone or hangs.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Sizes:
    """How many processes each way of dividing has."""

    data: int
    pipeline: int
    tensor: int

    @classmethod
    def of(cls, config: ParallelConfig, processes: int) -> Sizes:
        """What ``config`` leaves for the data.

        Raises:
            LlmCoreError: ``processes`` can't be divided so.
        """
        together = config.tensor * config.pipeline
        if processes % together:
            raise LlmCoreError(
                f"tensor {config.tensor} x pipeline {config.pipeline} = {together} doesn't divide the run's "
                f"{processes} processes.",
                where="runtime.llm.parallel",
                fix=f"Start a multiple of {together} processes, or lower tensor or pipeline.",
            )
        return cls(processes // together, config.pipeline, config.tensor)

    def check(self, model: ModelConfig) -> None:
        """Whether ``model`` can be divided so.

        Raises:
            LlmCoreError: it has too few layers, or heads that can't be shared out evenly.
        """
        if model.layers < self.pipeline:
            raise LlmCoreError(
                f"{model.layers} layers can't be shared by {self.pipeline} pipeline stages.",
                where="runtime.llm.parallel.pipeline",
                fix=f"Set it to {model.layers} at most.",
            )
        heads, kv_heads, _ = head_shape(model)
        for name, count in (("heads", heads), ("kv_heads", kv_heads), ("ffn_dim", model.ffn_dim)):
            if count % self.tensor:
                raise LlmCoreError(
                    f"{name} {count} can't be shared evenly by {self.tensor} devices.",
                    where="runtime.llm.parallel.tensor",
                    fix=f"Set it to a divisor of {count}.",
                )
        if self.tensor > 1 and model.value_embeddings:
            raise LlmCoreError(
                "a model with value embeddings (preset speed) can't be divided by tensor parallelism.",
                where="runtime.llm.parallel.tensor",
                fix="Set it to 1; pipeline, ddp and fsdp work.",
            )

    def check_batch(self, rows: int) -> None:
        """Whether every copy gets a row.

        Raises:
            LlmCoreError: there are more copies than rows.
        """
        if rows < self.data:
            raise LlmCoreError(
                f"a batch of {rows} rows can't be shared by {self.data} processes.",
                where="runtime.llm.parallel",
                fix="Use fewer processes, a larger batch, or tensor and pipeline parallelism.",
            )


def processes() -> int:
    """How many take part, by torchrun's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def connect(sizes: Sizes, device: torch.device) -> DeviceMesh:
    """Join the other processes of the run.

    On GPUs, tensors of the CPU travel over gloo: flags and counts then cost no wait for the GPU.
    """
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if "RANK" in os.environ:
            dist.init_process_group(backend, timeout=PATIENCE)
        else:  # one process that was started without torchrun
            dist.init_process_group(backend, timeout=PATIENCE, store=dist.HashStore(), rank=0, world_size=1)
    shape = (sizes.data, sizes.pipeline, sizes.tensor)
    return init_device_mesh(device.type, shape, mesh_dim_names=("data", "pipeline", "tensor"))


def any_of(flags: Sequence[bool]) -> list[bool]:
    """Each flag as it is if any process raised it."""
    raised = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


def gather(value: object) -> list[object]:
    """One JSON-like value of each process, by rank."""
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(text)]))
    longest = max(int(size) for size in sizes)
    texts = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
    pairs = zip(texts, sizes, strict=True)
    return [json.loads(each[: int(size)].numpy().tobytes()) for each, size in pairs]
