"""Training steps of one small model, a batch of 8 rows of 256 tokens each, by the trainers that people would use.

Measured is the CPU time of this process from the beginning of one step to the beginning of a later one: neither how a
trainer starts nor how it ends counts, and neither do the first steps, which pay for memory and lazy imports.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]


class Stamps:
    """When each step began, in CPU seconds of this process with all of its threads."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.seconds: list[float] = []

    def stamp(self) -> None:
        self.seconds.append(time.process_time())

    def found(self) -> dict[str, Any]:
        return {"cpu_seconds": self.seconds[-1] - self.seconds[self.warm_up]}


def rows_of_tokens(spec: dict[str, Any]) -> Any:
    """(steps, rows, context + 1) token ids, drawn with a fixed seed."""
    import numpy as np

    steps = spec["warm_up"] + spec["steps"] + 1
    shape = (steps, spec["rows"], spec["model"]["context_length"] + 1)
    return np.random.default_rng(1).integers(0, spec["vocab_size"], shape)


def groundup_adamw(spec: dict[str, Any]) -> Contender:
    return (yield from _groundup(spec, "adamw"))


def groundup_muon(spec: dict[str, Any]) -> Contender:
    return (yield from _groundup(spec, "muon"))


def _groundup(spec: dict[str, Any], optimizer: str) -> Contender:
    """The product's own loop with all that it does: guard, log, checkpoint at the start and at the end."""
    import torch

    from llm_core.config import LlmRuntime, ModelConfig, OptimizerConfig, TrainConfig
    from llm_core.model.initialization import initialize
    from llm_core.model.transformer import Transformer
    from llm_core.progress import no_progress
    from llm_core.train.batches import WHOLE, Batch, Share, batch_of
    from llm_core.train.device import keep_freed_memory
    from llm_core.train.loop import fit
    from llm_core.train.objectives import next_token
    from llm_core.train.plan import Plan

    keep_freed_memory()  # as python -m llm_core.train does
    tokens = torch.from_numpy(rows_of_tokens(spec))
    stamps = Stamps(spec["warm_up"])

    class Batches:
        batch_rows = spec["rows"]

        def micro_batches(self, step: int, rows: int, share: Share = WHOLE) -> list[Batch]:
            stamps.stamp()
            row = tokens[step]
            lengths = torch.full((len(row),), row.shape[1] - 1)
            return [batch_of(row[:, :-1].contiguous(), row[:, 1:].contiguous(), lengths)]

    model = Transformer(ModelConfig(**spec["model"]), spec["vocab_size"])
    initialize(model, 1)
    train = TrainConfig(
        precision=spec["precision"], optimizer=OptimizerConfig(name=optimizer, clip_norm=1.0), eval_every=10**9
    )
    plan = Plan(steps=len(tokens), train=train, identity={}, micro_batch_rows=spec["rows"])
    yield
    fit(
        model,
        next_token,
        Batches(),
        lambda final, tick: {},
        plan,
        out=Path(spec["scratch"]),
        device=torch.device("cpu"),
        progress=no_progress,
        runtime=LlmRuntime(device="cpu", checkpoint_every_seconds=86_400),
    )
    return stamps.found()


def transformers_trainer(spec: dict[str, Any]) -> Contender:
    """transformers' Trainer with its defaults (fused AdamW), on Qwen3 of the same shape with PyTorch's attention."""
    import torch
    from transformers import (
        Qwen3Config,
        Qwen3ForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    stamps = Stamps(spec["warm_up"])

    class Stamping(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            stamps.stamp()

    shape = spec["model"]
    config = Qwen3Config(
        vocab_size=spec["vocab_size"],
        hidden_size=shape["dim"],
        intermediate_size=shape["ffn_dim"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        head_dim=shape["dim"] // shape["heads"],
        max_position_embeddings=shape["context_length"],
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = Qwen3ForCausalLM(config)
    tokens = torch.from_numpy(rows_of_tokens(spec))[:, :, :-1].flatten(0, 1)
    arguments = TrainingArguments(
        output_dir=spec["scratch"],
        max_steps=len(tokens) // spec["rows"],
        per_device_train_batch_size=spec["rows"],
        learning_rate=1e-3,
        max_grad_norm=1.0,
        bf16=spec["precision"] == "bf16",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in tokens],
        data_collator=default_data_collator,
        callbacks=[Stamping()],
    )
    yield
    trainer.train()
    return {**stamps.found(), "parameters": model.num_parameters()}
