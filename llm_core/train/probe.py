"""Finds out, before the first step, how many rows a GPU holds: by doing what a step does, with more and more of them.

Formulas miss what the allocator, the kernels and the other programs on the card take. What is tried here is a whole
step (two micro-batches forward and backward, then the optimizer) on state that is thrown away; weights, optimizer state
and random numbers are afterwards what they were, bit by bit.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.atomic import write_json
from llm_core.config import LlmRuntime, TrainConfig
from llm_core.model.presets import Checkpointing
from llm_core.optim import Optimizer
from llm_core.train.averaging import WeightAverage
from llm_core.train.batches import IGNORE, Batch
from llm_core.train.device import autocast, uncompiled
from llm_core.train.memory import (
    CEILING,
    BatchPlan,
    checkpointing_of,
    is_out_of_memory,
    modes_to_try,
    set_checkpointing,
)
from llm_core.train.objectives import Objective
from llm_core.train.random_state import random_state, restore_random_state

#: More rows that are faster by less than this share aren't worth their memory.
WORTH = 0.02


@dataclass(frozen=True)
class Trial:
    """What one number of rows took."""

    rows: int
    checkpointing: Checkpointing
    memory_bytes: int
    tokens_per_second: float


#: Tries rows with a mode: what it took, or None if there was not enough memory.
Try = Callable[[int, Checkpointing], Trial | None]


def search(attempt: Try, modes: tuple[Checkpointing, ...], most_rows: int, asked_rows: int = 0) -> Trial | None:
    """The fastest number of rows (a power of two, or ``asked_rows``) in the first mode in which one row fits."""
    for mode in modes:
        trials: list[Trial] = []
        for rows in [asked_rows] if asked_rows else [1 << n for n in range(most_rows.bit_length())]:
            trial = attempt(rows, mode)
            if trial is None:
                break
            trials.append(trial)
        if trials:
            fastest = max(trial.tokens_per_second for trial in trials)
            return next(trial for trial in trials if trial.tokens_per_second >= (1 - WORTH) * fastest)
    return None


def probe(
    model: nn.Module,
    objective: Objective,
    sample: Batch,
    train: TrainConfig,
    runtime: LlmRuntime,
    *,
    batch_rows: int,
    row_tokens: int,
    device: torch.device,
    key: dict[str, Any],
) -> BatchPlan | None:
    """Try on the GPU; None if not even one row fits.

    Args:
        model: on the device, in training's own form. It runs uncompiled here, which needs more memory and is slower:
            what is found is on the safe side.
        sample: any rows of the training data.
        key: what the answer depends on besides the GPU: model, training, objective.
    """
    free, _ = torch.cuda.mem_get_info(device)
    available = free + torch.cuda.memory_reserved(device)
    name = torch.cuda.get_device_name(device)
    asked = min(runtime.micro_batch_rows, batch_rows)
    modes = modes_to_try(runtime)
    text = json.dumps([key, name, torch.__version__, batch_rows, row_tokens, asked, modes], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    found, source = _remembered(digest), "cached"
    if found is None or found.memory_bytes > CEILING * available:
        source = "probed"
        with _as_it_was(model):
            found = search(
                lambda rows, mode: try_step(
                    model, objective, widest(sample, rows, row_tokens), train, mode, device, CEILING * available
                ),
                modes,
                batch_rows,
                asked,
            )
        if found is None:
            return None
        _remember(digest, found)
    times = math.ceil(batch_rows / found.rows)
    return BatchPlan(
        found.rows,
        times,
        row_tokens,
        found.checkpointing,
        found.memory_bytes,
        available,
        found.tokens_per_second,
        source,
    )


def try_step(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    train: TrainConfig,
    mode: Checkpointing,
    device: torch.device,
    ceiling: float,
) -> Trial | None:
    """One whole step with an update that isn't admitted; None if it takes more than ``ceiling`` bytes."""
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    set_checkpointing(model, mode)
    model.train()
    try:
        optimizer, average = Optimizer(model, train.optimizer), WeightAverage(model, train.ema_decay)
        seconds = math.inf
        for _ in range(2):  # the second finds the gradients of the first there, as an accumulating step does
            began = time.perf_counter()
            with autocast(device, train.precision):
                loss = objective(model, batch)
            loss.backward()
            if on_cuda:
                torch.cuda.synchronize(device)
            seconds = min(seconds, time.perf_counter() - began)
        nothing = torch.zeros((), device=device)
        optimizer.step(0.0, nothing)
        average.update(nothing)
        taken = torch.cuda.max_memory_reserved(device) if on_cuda else 0
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        model.zero_grad(set_to_none=True)
    return Trial(len(batch.tokens), mode, taken, batch.real_tokens / seconds) if taken <= ceiling else None


def widest(sample: Batch, rows: int, row_tokens: int) -> Batch:
    """A batch as large as any: ``rows`` full rows in which every target counts, made from the first of ``sample``."""

    def stretch(ids: Tensor) -> Tensor:
        first = ids[:1]
        if first.ndim == 1:
            return first.repeat(rows)
        return first.repeat(rows, math.ceil(row_tokens / first.shape[1]))[:, :row_tokens].contiguous()

    targets = stretch(sample.targets)
    targets = torch.where(targets == IGNORE, 0, targets)
    ids = None if sample.document_ids is None else stretch(sample.document_ids)
    lengths = torch.full((rows,), row_tokens)
    batch = Batch(stretch(sample.tokens), targets, lengths, targets.numel(), rows * row_tokens, ids)
    return batch.to(sample.tokens.device)


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Any:
    """Random numbers, mode and checkpointing come out as they went in, and no memory stays behind."""
    random, mode, training = random_state(), checkpointing_of(model), model.training
    try:
        with uncompiled(model):
            yield
    finally:
        restore_random_state(random)
        model.train(training)
        if mode is not None:
            set_checkpointing(model, mode)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup" / "memory.json"


def _read_cache() -> dict[str, Any]:
    try:
        content = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # none yet, not readable, no home
        return {}
    return content if isinstance(content, dict) else {}


def _remembered(digest: str) -> Trial | None:
    try:
        return Trial(**_read_cache()[digest])
    except (KeyError, TypeError):
        return None


def _remember(digest: str, trial: Trial) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # only a convenience
        _cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_cache_file(), _read_cache() | {digest: asdict(trial)})
