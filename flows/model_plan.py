"""What a configuration's model costs, before anything of it is there: for `groundup plan`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flows.wording import show_seconds

if TYPE_CHECKING:
    from flows.config import PipelineConfig

#: Devices that times are told for, as the makers' data sheets name them.
DEVICES = ("H200", "H100", "A100", "RTX 4090")
#: Share of the makers' numbers that good training code reaches (docs/decisions.md).
UTILIZATION = 0.45
#: Of a smaller model a GPU spends its time on starting kernels, and FLOPs say nothing about it.
LARGE = 10_000_000


def model_lines(config: PipelineConfig) -> list[tuple[str, str]]:
    """Heading and text of each line."""
    return list(_lines(config))


def _lines(config: PipelineConfig) -> Iterator[tuple[str, str]]:
    from llm_core.model.presets import (
        CHECKPOINTING,
        activation_bytes_per_token,
        memory_plan,
        parameter_counts,
        training_flops_per_token,
    )
    from llm_core.model.shape import head_shape
    from llm_core.train.data_sheets import nominal_flops

    model, train, vocab = config.model, config.pretrain, config.tokenizer.vocab_size
    heads, kv_heads, head_dim = head_shape(model)
    shared = "" if kv_heads == heads else f" over {kv_heads} of keys and values"
    sized = model.preset if model.size is None else f"{model.preset}, size {model.size}"
    yield (
        "model",
        f"{sized}: {model.layers} layers of {model.dim:,}, {heads} heads of {head_dim}{shared}, "
        f"feed-forward {model.ffn_dim:,} ({model.feed_forward}), context {model.context_length:,}, "
        f"vocabulary {vocab:,}",
    )
    counts = parameter_counts(model, vocab)
    head = "head is the embedding" if model.tie_embeddings else f"head {counts.head:,}"
    yield (
        "parameters",
        f"{counts.total:,}: embedding {counts.embedding:,}, blocks {counts.blocks:,}, {head}",
    )
    tokens = train.steps * train.batch_tokens
    per_token = training_flops_per_token(model, vocab)
    yield (
        "pretraining",
        f"{train.steps:,} steps of {train.batch_tokens:,} = {count_for_people(tokens)} tokens, "
        f"{tokens / counts.total:.3g} a parameter; {per_token / 1e9:.3g} GFLOP a token forward and backward, "
        f"{tokens * per_token:.2e} FLOP in all",
    )
    plan = memory_plan(
        model,
        vocab,
        optimizer=train.optimizer,
        precision=train.precision,
        rows=1,
        average=train.ema_decay is not None,
    )
    parts = {name: getattr(plan, name) for name in ("weights", "gradients", "optimizer", "average", "loss")}
    yield (
        "memory",
        f"{bytes_for_people(plan.fixed)}: "
        + ", ".join(f"{name} {bytes_for_people(held)}" for name, held in parts.items() if held),
    )
    by_mode = {
        mode: model.context_length * activation_bytes_per_token(model, train.precision, mode) for mode in CHECKPOINTING
    }
    yield (
        "",
        f"and for each row of {model.context_length:,} tokens at a time: "
        + ", ".join(f"{bytes_for_people(held)} ({mode})" for mode, held in by_mode.items())
        + " by activation_checkpointing",
    )
    if counts.total < LARGE:
        return
    devices = config.runtime.llm.parallel.processes
    whose = "one device's" if devices == 1 else f"{devices} devices'"
    peak = {name: devices * (nominal_flops(name) or 1.0) for name in DEVICES}
    yield (
        "time",
        f"pretraining at {UTILIZATION:.0%} of {whose} nominal bf16: "
        + ", ".join(f"{name} {_duration(tokens * per_token / UTILIZATION / peak[name])}" for name in DEVICES),
    )


def count_for_people(value: float) -> str:
    """``855M``, ``5.24B``, ``1.2T`` (thousand million, million million)."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def bytes_for_people(held: float) -> str:
    """``12 MB``, ``1.6 GB``, ``112 GB``."""
    if held < 1e9:
        return f"{held / 1e6:.3g} MB"
    return f"{held / 1e9:.3g} GB" if held < 1e12 else f"{held / 1e12:.3g} TB"


def _duration(seconds: float) -> str:
    """Days where hours would be many."""
    return f"{seconds / 86_400:,.1f} days" if seconds >= 48 * 3600 else show_seconds(seconds)
