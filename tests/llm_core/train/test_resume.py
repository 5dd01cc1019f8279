"""What may be different when a run goes on: the micro-batch, and how many processes encoded the text."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.atomic import sha256_of
from llm_core.config import PretrainStage, ShardsConfig
from llm_core.progress import no_progress
from llm_core.shards.loader import TokenRows
from llm_core.stages import pretrain, write_shards
from llm_core.train.batches import Share, TokenBatches


class _Crash(BaseException):
    """What nothing catches."""


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def digest(shards: Path, step: int, rows: int, parts: int) -> str:
    """Of all that step ``step`` reads, in pieces of ``rows`` by ``parts`` processes."""
    source = TokenBatches(TokenRows.open(shards, "train", 32), 256, seed=1)
    pieces = [batch for rank in range(parts) for batch in source.micro_batches(step, rows, Share(rank, parts))]
    counting = [batch for batch in pieces if batch.valid]  # the others fill up, where rows can't be shared evenly
    read = torch.cat([torch.stack((batch.tokens, batch.targets)) for batch in counting], dim=1)
    return hashlib.sha256(read.numpy().tobytes()).hexdigest()


def test_micro_batch_and_workers_may_change_between_two_runs(toy: Any, tmp_path: Path) -> None:
    again = tmp_path / "shards"
    again.mkdir()
    inputs = {"documents": toy.documents, "tokenizer": toy.tokenizer}
    runtime = toy.runtime.model_copy(update={"encode_workers": 2})
    write_shards.run(ShardsConfig(shard_tokens=2000), inputs, again, no_progress, runtime)
    assert sha256_of(again / "index.json") == sha256_of(toy.shards / "index.json")
    for step in (0, 5, 70):  # the last one in a later epoch
        ways = ((toy.shards, 8, 1), (toy.shards, 3, 1), (again, 1, 1), (again, 2, 3))
        assert len({digest(shards, step, rows, parts) for shards, rows, parts in ways}) == 1

    train = {"steps": 8, "batch_tokens": 256, "eval_every": 3}  # AdamW: Muon itself rounds to bf16
    config = PretrainStage.model_validate({"model": toy.model.model_dump(), "train": train})

    def crash(done: float, total: float | None, message: str = "") -> None:
        if done == 5:
            raise _Crash

    def run(out: Path, shards: Path, rows: int, progress: Any = no_progress) -> None:
        out.mkdir(exist_ok=True)
        inputs = {"shards": shards, "tokenizer": toy.tokenizer}
        pretrain.run(config, inputs, out, progress, toy.runtime.model_copy(update={"micro_batch_rows": rows}))

    run(tmp_path / "whole", toy.shards, 8)
    with pytest.raises(_Crash):
        run(tmp_path / "broken", toy.shards, 8, crash)
    run(tmp_path / "broken", again, 3)
    assert losses(tmp_path / "broken") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert losses(tmp_path / "broken")[:3] == losses(tmp_path / "whole")[:3]
    events = [json.loads(line) for line in (tmp_path / "broken" / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [3]
