"""Rows of 1,024 tokens out of shards, one thread: must be far more than a GPU can eat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contender, as_json, bar, contest, times_faster

#: 20 times what a model of 124M parameters learns from in a second on an H200 (490,000).
BAR_TOKENS = 9.8
TIME, ROWS, MICRO_BATCH, STEPS = 1024, 512, 32, 40
TOKENS, MEAN_DOCUMENT = 50_000_000, 700

CONTENDERS = (
    Contender("groundup", "groundup", ("llm_core",), repeats=3),
    Contender("groundup_best_fit", "groundup, whole documents, masks", ("llm_core",), repeats=3),
    Contender("data_loader", "PyTorch DataLoader", ("torch",), repeats=3),
    Contender("random_windows", "random windows (nanoGPT)", ("torch",), repeats=3),
)


def run(scratch: Path) -> dict[str, Any]:
    shards = _shards(scratch / "shards")
    spec = {
        "shards": str(shards),
        "file": str(shards / "train-00000.bin"),
        "time": TIME,
        "rows": ROWS,
        "micro_batch": MICRO_BATCH,
        "steps": STEPS,
    }
    amount = STEPS * ROWS * TIME / 1e6
    entries = contest("loader", [(contender, spec, amount) for contender in CONTENDERS], unit="Mtok")
    rates = [None if entry.failed else entry.rate for entry in entries]
    bars = [
        bar("million tokens per CPU second", rates[0], BAR_TOKENS, ""),
        bar("the same with whole documents and masks", rates[1], BAR_TOKENS, ""),
        bar("against DataLoader", times_faster(entries, "data_loader"), 1.0),
    ]
    rows = None if rates[0] is None else rates[0] * 1e6 / TIME
    return {"entries": as_json(entries, "Mtok"), "bars": bars, "rows_per_cpu_second": rows}


def _shards(folder: Path) -> Path:
    """Random tokens in documents of random lengths, written by our own writer as one file."""
    from llm_core.shards.format import ShardIndex, write_index
    from llm_core.shards.writer import EncodedSplit, ShardWriter

    draw = np.random.default_rng(1)
    tokens = 2 + draw.exponential(MEAN_DOCUMENT, TOKENS // MEAN_DOCUMENT).astype(np.int64)
    ids = draw.integers(1, 50_000, int(tokens.sum()), dtype=np.uint16)
    ids[np.cumsum(tokens) - 1] = 0
    folder.mkdir()
    writer = ShardWriter(folder, {}, dtype="uint16", shard_tokens=10**9)
    writer.add_piece({"train": EncodedSplit(ids, tokens, tokens, np.zeros_like(tokens))}, ["bench"])
    splits = writer.finish()
    fields = {"tokenizer_digest": "", "vocab_size": 50_000, "eot_id": 0, "dtype": "uint16", "sources": ["bench"]}
    write_index(folder, ShardIndex.model_validate({**fields, "splits": splits}))
    writer.forget()
    return folder
