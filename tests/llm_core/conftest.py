"""A tiny corpus with everything made from it, small enough for every test to train on."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from llm_core.config import LlmRuntime, ModelConfig, ShardsConfig, TokenizerConfig
from llm_core.progress import no_progress
from llm_core.stages import train_tokenizer, write_shards

SUBJECTS = {
    "animals": ["the cat", "a small dog", "the grey wolf", "an old horse"],
    "places": ["the city", "a river", "the northern coast", "an island"],
    "numbers": ["the sum", "a prime", "the square root", "an integer"],
}
PREDICATES = ["is known for its age", "was described long ago", "lies near the border", "has many names"]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Toy:
    """Artifact folders as the stages write them."""

    documents: Path
    tokenizer: Path
    shards: Path
    labelled: Path
    conversations: Path
    model: ModelConfig
    runtime: LlmRuntime


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("toy")
    draw = random.Random(7)
    rows = []
    for number in range(240):
        label = sorted(SUBJECTS)[number % 3]
        words = [f"{draw.choice(SUBJECTS[label])} {draw.choice(PREDICATES)}." for _ in range(draw.randint(1, 6))]
        split = "validation" if number % 10 == 0 else "test" if number % 10 == 1 else "train"
        rows.append({"text": " ".join(words), "doc_id": f"{number:032x}", "split": split, "label": label})
    folders = {name: root / name for name in ("documents", "tokenizer", "shards", "labelled", "conversations")}
    for folder in folders.values():
        folder.mkdir()
    (folders["documents"] / "documents").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folders["documents"] / "documents" / "part-00000.parquet")
    (folders["labelled"] / "examples").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folders["labelled"] / "examples" / "part-00000.parquet")
    (folders["labelled"] / "labels.json").write_text(json.dumps(sorted(SUBJECTS)))
    (folders["conversations"] / "examples").mkdir()
    talks = [
        {
            "doc_id": row["doc_id"],
            "split": row["split"],
            "messages": json.dumps(
                [
                    {"role": "user", "content": "Say something."},
                    {"role": "assistant", "content": row["text"]},
                ]
            ),
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(talks), folders["conversations"] / "examples" / "part-00000.parquet")
    runtime = LlmRuntime(device="cpu", threads=1, log_every=1)
    train_tokenizer.run(
        TokenizerConfig(vocab_size=400), {"documents": folders["documents"]}, folders["tokenizer"], no_progress, runtime
    )
    write_shards.run(
        ShardsConfig(shard_tokens=2000),
        {"documents": folders["documents"], "tokenizer": folders["tokenizer"]},
        folders["shards"],
        no_progress,
        runtime,
    )
    shape = ModelConfig(layers=2, dim=32, heads=2, ffn_dim=64, context_length=32)
    return Toy(model=shape, runtime=runtime, **folders)
