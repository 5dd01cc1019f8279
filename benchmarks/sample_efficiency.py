"""How many tokens our recipe needs to reach the final loss of nanoGPT's, on the same data, batch and model size.

The baseline is nanoGPT's recipe: GPT-2's architecture and initialization, AdamW with betas 0.9 and 0.95, weight decay
0.1, clipping at 1.0, warmup, cosine down to a tenth of the peak. Its learning rate is tuned here, on a small grid, with
the first seed. Ours is what this product trains with: Muon, WSD, its own initialization and architecture; its rates
are those of ``configs/quickstart.yaml``, which were tuned on such data before and not for this contest.

A loss in the middle of a schedule says little, so every number of ours is that of a run whose schedule ends there: an
eighth of the baseline's tokens, then more, until its loss is reached; between two losses a line over log(tokens).

    python -m benchmarks sample_efficiency                                        # on a CPU, about 20 minutes
    python -m benchmarks.sample_efficiency --scale 124m --corpus PATH             # on a GPU; hours
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.contest import ceiling
from benchmarks.corpus import VARIABLE, corpus_path

BAR = 0.5
SEEDS = (1, 2, 3)
FRACTIONS = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(2, 3))
VALIDATION_SHARE = 20
"""Every so many-th document is held out."""


@dataclass(frozen=True)
class Scale:
    """The size of the contest."""

    layers: int
    dim: int
    heads: int
    context_length: int
    vocab_size: int
    batch_tokens: int
    steps: int
    """Of the baseline."""
    rates: tuple[float, ...]
    """The baseline's learning rate is the best of these."""
    adamw_lr: float
    """Ours, for what Muon doesn't train."""
    muon_lr: float


SCALES = {
    "cpu": Scale(4, 128, 4, 128, 4096, 4096, 480, (5e-4, 1e-3, 3e-3, 6e-3), 6e-3, 0.015),
    "124m": Scale(12, 768, 6, 1024, 32_768, 524_288, 4000, (6e-4, 1.2e-3, 2.4e-3), 3e-3, 0.02),
}


@dataclass(frozen=True)
class Data:
    tokenizer: Path
    shards: Path


@dataclass(frozen=True)
class Result:
    """Of one run, on all held-out rows."""

    loss: float
    bits_per_byte: float
    tokens: int
    parameters: int


def run(scratch: Path) -> dict[str, Any]:
    return compete(scratch, SCALES["cpu"], SEEDS)


def compete(scratch: Path, scale: Scale, seeds: tuple[int, ...]) -> dict[str, Any]:
    from llm_core.train.device import keep_freed_memory

    keep_freed_memory()  # as python -m llm_core.train does
    data = prepare(corpus_path(scratch), scratch, scale)
    print(f"{'':34} {'tokens':>14} {'loss':>8} {'bits/byte':>10}")
    tuning = {lr: train(data, scratch, scale, "nanogpt", scale.steps, seeds[0], lr) for lr in scale.rates}
    lr = min(tuning, key=lambda rate: tuning[rate].loss)
    baseline = [tuning[lr], *(train(data, scratch, scale, "nanogpt", scale.steps, seed, lr) for seed in seeds[1:])]
    target = mean(result.loss for result in baseline)
    print(
        f"nanoGPT's recipe, lr {lr:g}: loss {target:.4f}, {mean(r.bits_per_byte for r in baseline):.4f} bits per byte"
    )
    ours: dict[str, Any] = {}
    bars = []
    for preset in ("portable", "speed"):
        runs: dict[Fraction, list[Result]] = {}
        losses: dict[float, float] = {}
        for part in FRACTIONS:
            runs[part] = [train(data, scratch, scale, preset, round(scale.steps * part), seed) for seed in seeds]
            losses[float(part)] = mean(result.loss for result in runs[part])
            if losses[float(part)] <= target:
                break
        share, how = share_to_reach(target, losses)
        print(f"groundup, {preset}: {how}")
        bars.append(ceiling(f"{preset}: share of the tokens to the baseline's loss", share, BAR, ""))
        ours[preset] = {
            "share": share,
            "how": how,
            "runs": {str(part): [vars(result) for result in results] for part, results in runs.items()},
        }
    return {
        "scale": vars(scale),
        "seeds": seeds,
        "tuning": {str(rate): vars(result) for rate, result in tuning.items()},
        "baseline": {"lr": lr, "loss": target, "runs": [vars(result) for result in baseline]},
        "ours": ours,
        "bars": bars,
    }


def mean(values: Any) -> float:
    numbers = list(values)
    return float(sum(numbers) / len(numbers))


def share_to_reach(target: float, losses: dict[float, float]) -> tuple[float, str]:
    """The share of the tokens at which the loss comes down to ``target``, and how that is known.

    Args:
        losses: at each share, of runs whose schedule ended there.
    """
    shares = sorted(losses)
    if losses[shares[0]] <= target:
        return shares[0], f"already reached at {shares[0]:.2f} of the tokens, the least that was tried"
    for less, more in pairwise(shares):
        if losses[more] <= target:
            inside = (losses[less] - target) / (losses[less] - losses[more])
            share = math.exp(math.log(less) + inside * (math.log(more) - math.log(less)))
            return share, f"between {less:.2f} and {more:.2f} of the tokens"
    return 1.0, f"not reached at {shares[-1]:.2f} of the tokens, the most that was tried"


def prepare(corpus: Path, scratch: Path, scale: Scale) -> Data:
    """Documents, tokenizer and shards as the product's stages make them."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    from llm_core.config import LlmRuntime, ShardsConfig, TokenizerConfig
    from llm_core.progress import no_progress
    from llm_core.stages import train_tokenizer, write_shards

    documents = scratch / "split"
    (documents / "documents").mkdir(parents=True)
    texts = [t for t in ds.dataset(str(corpus), format="parquet").to_table(columns=["text"])["text"].to_pylist() if t]
    table = pa.table(
        {
            "text": texts,
            "doc_id": [f"{number:032x}" for number in range(len(texts))],
            "split": ["validation" if n % VALIDATION_SHARE == 0 else "train" for n in range(len(texts))],
        }
    )
    pq.write_table(table, documents / "documents" / "part-00000.parquet")
    data = Data(scratch / "tokenizer", scratch / "shards")
    data.tokenizer.mkdir()
    data.shards.mkdir()
    inputs = {"documents": documents}
    train_tokenizer.run(TokenizerConfig(vocab_size=scale.vocab_size), inputs, data.tokenizer, no_progress, LlmRuntime())
    write_shards.run(
        ShardsConfig(), {**inputs, "tokenizer": data.tokenizer}, data.shards, no_progress, LlmRuntime(encode_workers=1)
    )
    return data


def recipe(scale: Scale, who: str, steps: int, seed: int, lr: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model and training as configurations. The feed-forward networks have as many weights in all of them."""
    shape = {
        "layers": scale.layers,
        "dim": scale.dim,
        "heads": scale.heads,
        "ffn_dim": 4 * scale.dim,
        "context_length": scale.context_length,
    }
    train: dict[str, Any] = {
        "steps": steps,
        "batch_tokens": scale.batch_tokens,
        "precision": "bf16",
        "seed": seed,
        "eval_every": 10**9,
    }
    if who == "nanogpt":
        optimizer = {"name": "adamw", "lr": lr, "betas": (0.9, 0.95), "weight_decay": 0.1, "clip_norm": 1.0}
        schedule = {"kind": "cosine", "warmup_steps": max(10, steps // 50), "final_fraction": 0.1}
        return {"preset": "gpt2", **shape}, {**train, "optimizer": optimizer, "schedule": schedule}
    if who == "portable":  # three matrices instead of two
        shape["ffn_dim"] = round(8 * scale.dim / 3 / 8) * 8
    optimizer = {"name": "muon", "lr": scale.adamw_lr, "muon_lr": scale.muon_lr}
    schedule = {"kind": "wsd", "warmup_steps": 20, "decay_fraction": 0.5, "final_fraction": 0.02}
    return {"preset": who, **shape}, {**train, "optimizer": optimizer, "schedule": schedule}


def train(data: Data, scratch: Path, scale: Scale, who: str, steps: int, seed: int, lr: float | None = None) -> Result:
    """One run of the product's trainer."""
    from llm_core.config import LlmRuntime, PretrainStage
    from llm_core.evaluate.bits_per_byte import loss_on_rows
    from llm_core.model.initialization import initialize
    from llm_core.model.transformer import Transformer
    from llm_core.progress import no_progress
    from llm_core.shards.loader import TokenRows
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.batches import TokenBatches
    from llm_core.train.objectives import next_token
    from llm_core.train.task import Task, train_model, workplace

    model_config, train_config = recipe(scale, who, steps, seed, lr)
    stage = PretrainStage.model_validate({"model": model_config, "train": train_config})
    runtime = LlmRuntime(checkpoint_every_seconds=86_400)
    tokenizer = Tokenizer.load(data.tokenizer)
    context = stage.model.context_length
    rows, held_out = (TokenRows.open(data.shards, split, context) for split in ("train", "validation"))
    with workplace(runtime) as (device, parallel):
        model = Transformer(stage.model, tokenizer.vocab_size)
        initialize(model, seed)
        model.to(device)

        def validate(final: bool, tick: Any) -> dict[str, float]:
            return loss_on_rows(model, held_out, tokenizer.byte_lengths, None, device, tick).metrics()

        task = Task(
            model=model,
            shape=stage.model,
            outputs=tokenizer.vocab_size,
            objective=next_token,
            batches=TokenBatches(rows, stage.train.batch_tokens, seed),
            row_tokens=context,
            fixed_shapes=True,
            validate=validate,
            steps=steps,
            train=stage.train,
            identity={"stage": "pretrain", "config": stage.model_dump(mode="json")},
        )
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            trained, _ = train_model(task, Path(out), device, parallel, no_progress, runtime)
    result = Result(
        trained.validation["loss"], trained.validation["bits_per_byte"], trained.tokens, model.num_parameters()
    )
    name = f"{who}, seed {seed}" + (f", lr {lr:g}" if lr else "")
    print(f"{name:34} {result.tokens:14,} {result.loss:8.4f} {result.bits_per_byte:10.4f}", flush=True)
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sample_efficiency", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--corpus", help=f"a Parquet file or folder with a text column (or {VARIABLE})")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    parser.add_argument("--steps", type=int, help="of the baseline")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    options = parser.parse_args(arguments)
    if options.corpus:
        os.environ[VARIABLE] = str(Path(options.corpus).resolve())
    scale = SCALES[options.scale]
    if options.steps:
        scale = replace(scale, steps=options.steps)
    with tempfile.TemporaryDirectory(prefix="groundup-bench-") as scratch:
        result = compete(Path(scratch), scale, SEEDS[: options.seeds])
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
