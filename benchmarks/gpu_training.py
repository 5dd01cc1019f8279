"""Tokens per second and peak memory on one GPU, beside a plain loop as in nanoGPT: same shape, SDPA, torch.compile,
fused AdamW, bfloat16 by autocast, whole logits.

    python -m benchmarks.gpu_training                            # all sizes, ours and the plain loop: 5 to 8 minutes
    python -m benchmarks.gpu_training --parts 124m --rows 64     # one size, with a given micro-batch
    python -m benchmarks.gpu_training --parts tiny --device cpu  # seconds: does the script work?

Needs no more than PyTorch and this source tree: tokens are random unless a file of uint16 ids is given. Timed are
whole steps, the optimizer's among them; micro-batches are as many rows as are given, and the batch is one micro-batch
times ``--accumulate``, so that the optimizer's share is that of a real run.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.contest import bar
from llm_core.config import LlmRuntime, ModelConfig, OptimizerConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.optim import Optimizer
from llm_core.train.batches import Batch, batch_of
from llm_core.train.device import autocast, compile_model, prepare_device
from llm_core.train.gradients import scale_and_clip
from llm_core.train.objectives import next_token
from llm_core.train.parallel import Parallel


@dataclass(frozen=True)
class Part:
    """One size of the model."""

    model: dict[str, Any]
    vocab_size: int
    rows: int
    """Of a micro-batch."""
    accumulate: int
    """Micro-batches a step: with 8 of 64 rows of 1,024 tokens, a batch of half a million."""
    goal: float | None = None
    """Tokens per second that an H200 should reach."""


PARTS = {
    # GPT-2's size, with heads of 128 as in the records that the bar comes from
    "124m": Part({"size": "124m", "context_length": 1024}, 50_304, 64, 8, 490_000),
    "350m": Part({"size": "350m", "context_length": 2048}, 32_768, 16, 16, 158_000),
    "1b": Part({"size": "1b", "context_length": 2048}, 32_768, 8, 16, 49_000),
    "tiny": Part({"layers": 2, "dim": 32, "heads": 2, "ffn_dim": 64, "context_length": 16}, 128, 2, 2),
}


class PlainBlock(nn.Module):
    """What one writes down first: fused qkv, LayerNorm, GELU, dropout left out."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, bias=False), nn.LayerNorm(dim, bias=False)
        self.qkv, self.project = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        gathered = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(gathered.transpose(1, 2).reshape(batch, steps, dim))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Plain(nn.Module):
    """GPT-2's architecture with a tied head; the loss is taken from the whole logits."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, config.dim)
        self.positions = nn.Embedding(config.context_length, config.dim)
        self.blocks = nn.ModuleList(PlainBlock(config.dim, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def plain_step(part: Part, device: torch.device, compiled: bool) -> tuple[Callable[[list[Batch]], Tensor], int]:
    """One step of the plain loop, and how many parameters it trains."""
    model = Plain(ModelConfig(**part.model), part.vocab_size).to(device)
    forward: Callable[[Tensor, Tensor], Tensor] = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(batches: list[Batch]) -> Tensor:
        total = torch.zeros((), device=device)
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16):
                loss = forward(batch.tokens, batch.targets) / len(batches)
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    return step, sum(parameter.numel() for parameter in model.parameters())


def our_step(
    part: Part, device: torch.device, compiled: bool, *, preset: str, optimizer_name: str
) -> tuple[Callable[[list[Batch]], Tensor], int]:
    """One step as :mod:`llm_core.train.loop` takes it."""
    model = Transformer(ModelConfig(preset=preset, **part.model), part.vocab_size)  # type: ignore[arg-type]
    initialize(model, 1)
    model.to(device)
    runtime = LlmRuntime(device=str(device), compile="on" if compiled else "off")
    print(f"    {compile_model(model, device, runtime, fixed_shapes=True)}", flush=True)
    config = OptimizerConfig(name=optimizer_name, lr=6e-4)  # type: ignore[arg-type]
    optimizer = Optimizer(model, config)
    parallel = Parallel()

    def step(batches: list[Batch]) -> Tensor:
        total = parallel.forward_backward(
            model, lambda batch: next_token(model, batch), batches, lambda: autocast(device, "bf16")
        )
        valid = sum(batch.valid for batch in batches)
        norm = scale_and_clip(model.parameters(), valid, config.clip_norm, parallel)
        optimizer.step(1.0, torch.isfinite(norm).float())
        optimizer.zero_grad()
        return total / valid

    return step, model.num_parameters()


CONTENDERS: dict[str, Callable[[Part, torch.device, bool], tuple[Callable[[list[Batch]], Tensor], int]]] = {
    "groundup portable, Muon": lambda *given: our_step(*given, preset="portable", optimizer_name="muon"),
    "groundup portable, AdamW": lambda *given: our_step(*given, preset="portable", optimizer_name="adamw"),
    "groundup speed, Muon": lambda *given: our_step(*given, preset="speed", optimizer_name="muon"),
    "plain loop, AdamW": plain_step,
}


def measure(
    name: str, part: Part, device: torch.device, *, compiled: bool, steps: int, warm_up: int, tokens: Tensor | None
) -> dict[str, Any]:
    """Tokens per second and peak memory of one contender, or why there are none."""
    on_gpu = device.type == "cuda"
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(1)
    began = time.perf_counter()
    try:
        step, parameters = CONTENDERS[name](part, device, compiled)
        context = ModelConfig(**part.model).context_length
        batches = [
            batch.to(device) for batch in some_batches(part.rows, part.accumulate, context, part.vocab_size, tokens)
        ]
        for _ in range(warm_up):
            loss = step(batches)
        wait(device)
        ready = time.perf_counter()
        for _ in range(steps):
            loss = step(batches)
        wait(device)
        seconds = (time.perf_counter() - ready) / steps
    except torch.OutOfMemoryError:
        return {"contender": name, "failed": "out of memory"}
    step_tokens = part.rows * part.accumulate * context
    return {
        "contender": name,
        "parameters": parameters,
        "tokens_per_second": step_tokens / seconds,
        "seconds_per_step": seconds,
        "step_tokens": step_tokens,
        "rows": part.rows,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "start_seconds": ready - began,
        "loss": loss.item(),
    }


def some_batches(rows: int, count: int, context: int, vocab_size: int, tokens: Tensor | None) -> list[Batch]:
    """``count`` micro-batches, of the given ids or of random ones."""
    needed = count * rows * (context + 1)
    if tokens is None:
        tokens = torch.randint(0, vocab_size, (needed,), generator=torch.Generator().manual_seed(1))
    pieces = tokens[:needed].view(count, rows, context + 1)
    lengths = torch.full((rows,), context)
    return [batch_of(piece[:, :-1].contiguous(), piece[:, 1:].contiguous(), lengths) for piece in pieces]


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def run(scratch: Path) -> dict[str, Any]:
    """Everything, where there is a GPU."""
    if not torch.cuda.is_available():
        print("not measured: there is no GPU here")
        return {"parts": {}, "bars": []}
    return compare(list(PARTS)[:3], list(CONTENDERS), torch.device("cuda"))


def compare(
    parts: list[str],
    contenders: list[str],
    device: torch.device,
    *,
    rows: int | None = None,
    accumulate: int | None = None,
    steps: int = 6,
    warm_up: int = 3,
    compiled: bool = True,
    tokens: Tensor | None = None,
) -> dict[str, Any]:
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{where}, PyTorch {torch.__version__}")
    found: dict[str, Any] = {}
    bars = []
    for name in parts:
        part = PARTS[name]
        part = Part(part.model, part.vocab_size, rows or part.rows, accumulate or part.accumulate, part.goal)
        print(f"{name}: {part.rows} rows x {part.accumulate} a step")
        found[name] = []
        for contender in contenders:
            result = measure(contender, part, device, compiled=compiled, steps=steps, warm_up=warm_up, tokens=tokens)
            found[name].append(result)
            if "failed" in result:
                print(f"  {contender:26} {result['failed']}", flush=True)
                continue
            memory = result["peak_memory_bytes"]
            print(
                f"  {contender:26} {result['tokens_per_second']:11,.0f} tokens/s"
                f" {f'{memory / 1e9:7.1f} GB' if memory else '':10} {result['parameters'] / 1e6:7.1f}M parameters"
                f"   {result['start_seconds']:5.1f} s to start",
                flush=True,
            )
        ours = [r["tokens_per_second"] for r in found[name] if "failed" not in r and "groundup" in r["contender"]]
        if part.goal is not None:
            bars.append(bar(f"{name}, ours at best", max(ours, default=None), part.goal, " tokens/s"))
    return {"device": where, "torch": torch.__version__, "parts": found, "bars": bars}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_training", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS)[:3])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=int, help="of a micro-batch")
    parser.add_argument("--accumulate", type=int, help="micro-batches a step")
    parser.add_argument("--steps", type=int, default=6, help="that are timed")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--tokens", type=Path, help="a file of little-endian uint16 ids")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    options = parser.parse_args(arguments)
    tokens = None
    if options.tokens:
        tokens = torch.from_file(
            str(options.tokens), size=options.tokens.stat().st_size // 2, dtype=torch.uint16
        ).long()
    result = compare(
        options.parts,
        options.contenders,
        prepare_device(LlmRuntime(device=options.device)),
        rows=options.rows,
        accumulate=options.accumulate,
        steps=options.steps,
        warm_up=options.warm_up,
        compiled=not options.no_compile,
        tokens=tokens,
    )
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
