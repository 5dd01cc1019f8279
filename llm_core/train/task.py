"""What all training stages have in common: from a model and its data to a trained model.

Stages differ in where the model and the rows come from, what is learned from them, and how the result is saved.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.config import LlmRuntime, ModelConfig, TrainConfig
from llm_core.errors import OutOfMemory
from llm_core.model.presets import training_flops_per_token
from llm_core.progress import Progress, no_progress
from llm_core.train.batches import BatchSource
from llm_core.train.device import compile_model, prepare_device
from llm_core.train.loop import fit
from llm_core.train.memory import (
    CPU_TOKENS,
    TYPICAL_UTILIZATION,
    BatchPlan,
    available_memory,
    calculate_plan,
    set_checkpointing,
)
from llm_core.train.objectives import Objective
from llm_core.train.parallel import Parallel, start
from llm_core.train.peaks import Peaks, find_peaks
from llm_core.train.plan import Observer, Plan, Trained, Validate
from llm_core.train.probe import probe


@dataclass(frozen=True)
class Task:
    """One training, before it is known how it is computed."""

    model: nn.Module
    """On its device, whole."""
    shape: ModelConfig
    outputs: int
    """How many logits each target has: the vocabulary, or the classes."""
    objective: Objective
    batches: BatchSource
    row_tokens: int
    """Of the longest row."""
    fixed_shapes: bool
    """All rows are as long as that."""
    validate: Validate
    steps: int
    train: TrainConfig
    identity: dict[str, Any]
    """All that decides the weights; see :class:`Plan`."""
    byte_lengths: Tensor | None = None
    observer: Observer | None = None


@contextmanager
def workplace(runtime: LlmRuntime) -> Iterator[tuple[torch.device, Parallel]]:
    """The device of this process, and its place among the others.

    Raises:
        LlmCoreError: there is no such device here, or the number of processes doesn't fit ``runtime.parallel``.
    """
    device = prepare_device(runtime)
    parallel = start(runtime, device)
    yield device, parallel
    parallel.close()  # not after an error: the others may be waiting for this process, and are better told by its end


def train_model(
    task: Task, out: Path, device: torch.device, parallel: Parallel, progress: Progress, runtime: LlmRuntime
) -> tuple[Trained, nn.Module | None]:
    """Plan the memory, divide and compile the model, train it.

    Returns:
        (how it ended, the whole model with the weights to be saved: on the main process, elsewhere None)

    Raises:
        OutOfMemory, and what :func:`llm_core.train.loop.fit` raises.
    """
    progress = progress if parallel.is_main else no_progress
    parallel.check_rows(task.batches.batch_rows)
    model, train = task.model, task.train
    peaks = find_peaks(device, train.precision)
    flops = training_flops_per_token(task.shape, task.outputs, task.row_tokens)
    memory = plan_memory(task, device, parallel, runtime, peaks, flops)
    set_checkpointing(model, memory.activation_checkpointing)
    compiled = compile_model(model, device, runtime, fixed_shapes=task.fixed_shapes)
    progress(0, task.steps, f"plan: {memory.text()}; {compiled}")
    model = parallel.prepare(model)
    plan = Plan(
        steps=task.steps,
        train=train,
        identity=task.identity,
        micro_batch_rows=memory.micro_batch_rows,
        flops_per_token=flops,
        peaks=peaks,
        memory=memory,
        compiled=compiled,
        byte_lengths=task.byte_lengths,
        observer=task.observer,
    )
    trained = fit(
        model,
        task.objective,
        task.batches,
        task.validate,
        plan,
        out=out,
        device=device,
        progress=progress,
        runtime=runtime,
        parallel=parallel,
    )
    return trained, parallel.unite(model)


def plan_memory(
    task: Task, device: torch.device, parallel: Parallel, runtime: LlmRuntime, peaks: Peaks, flops_per_token: float
) -> BatchPlan:
    """How the batches go through this device: tried out on a GPU that works alone, else calculated.

    Raises:
        OutOfMemory: a GPU doesn't hold one row.
    """
    alone = parallel.world_size == 1
    if device.type == "cuda" and alone:
        found = probe(
            task.model,
            task.objective,
            task.batches.micro_batches(0, 1)[0].to(device),
            task.train,
            runtime,
            batch_rows=task.batches.batch_rows,
            row_tokens=task.row_tokens,
            device=device,
            key={
                "shape": task.shape.model_dump(mode="json"),
                "outputs": task.outputs,
                "train": task.train.model_dump(mode="json", include={"precision", "optimizer", "ema_decay"}),
            },
        )
        if found is None:
            raise OutOfMemory(
                "the GPU does not hold one row of this model's training.",
                where="model",
                fix="Take a smaller model or a shorter context, a GPU with more memory, or several with data: fsdp.",
            )
        return found
    if device.type == "cuda":
        available: int | None = torch.cuda.mem_get_info(device)[0]
    else:
        available = available_memory()
        if available is not None:  # all processes of this machine share it
            available //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    expected = None
    if peaks.measured:
        share = TYPICAL_UTILIZATION[f"{device.type} {task.train.precision}"]
        expected = share * peaks.measured * parallel.world_size / flops_per_token
    plan = calculate_plan(
        task.shape,
        task.outputs,
        task.train,
        runtime,
        batch_rows=task.batches.batch_rows,
        row_tokens=task.row_tokens,
        available=available,
        preferred_tokens=CPU_TOKENS if device.type == "cpu" else None,
        tokens_per_second=expected,
        devices=parallel.share.size,
    )
    if alone:
        return plan
    # Machines may differ, but all must do the same number of passes.
    rows = min(int(each) for each in parallel.gather(plan.micro_batch_rows))  # type: ignore[call-overload]
    own_rows = math.ceil(task.batches.batch_rows / parallel.share.size)
    return replace(plan, micro_batch_rows=rows, accumulation=math.ceil(own_rows / rows))
