"""Shards come out the same whatever the encoder, the number of processes and the kills on the way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.config import LlmRuntime, ShardsConfig, TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.progress import no_progress
from llm_core.shards.documents import document_pieces, read_piece
from llm_core.shards.format import read_index
from llm_core.shards.workers import WorkerDied, map_in_order
from llm_core.stages import train_tokenizer, write_shards
from llm_core.tokenizer import parity
from llm_core.tokenizer.encoders import ENCODERS, Encoded, HuggingFaceEncoder
from tests.llm_core.stand_ins import read_documents

ROOT = Path(__file__).parents[2]
ONE = LlmRuntime(encode_workers=1)
CONFIG = ShardsConfig(shard_tokens=1000)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("inputs")
    documents, tokenizer = root / "documents", root / "tokenizer"
    documents.mkdir()
    tokenizer.mkdir()
    for part in range(3):
        texts = [
            f"Document {i} of part {part}: <|endoftext|> in the café 東京 {'again ' * (i % 13)}" for i in range(60)
        ]
        texts[7] = ""
        splits = [("train", "train", "validation", "test")[i % 4] for i in range(60)]
        sources = [None if i % 9 == 0 else f"s{(i * part) % 5}" for i in range(60)]
        table = pa.table({"text": texts, "split": splits, "source": sources})
        pq.write_table(table, documents / f"part-{part}.parquet", row_group_size=15)
    train_tokenizer.run(TokenizerConfig(vocab_size=400), {"documents": documents}, tokenizer, no_progress, LlmRuntime())
    return {"documents": documents, "tokenizer": tokenizer}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row group is a piece, and every piece is noted."""
    monkeypatch.setattr(write_shards, "PIECE_BYTES", 1)
    monkeypatch.setattr(write_shards, "JOURNAL_SECONDS", -1.0)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Path]) -> dict[str, str]:
    out = tmp_path_factory.mktemp("unbroken")
    counters = write_shards.run(CONFIG, inputs, out, no_progress, ONE)
    assert counters["encoder"] == "huggingface"  # so little text isn't worth a probe
    index = read_index(out)
    assert set(index.sources) == {"documents", "s0", "s1", "s2", "s3", "s4"}
    assert len(index.splits["train"].files) > 2
    return digests(out)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "huggingface"])
def test_every_encoder_gives_the_same_bytes(
    name: str, tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setattr(parity, "choose_encoder", lambda wanted, *_: parity.Choice(wanted))
    counters = write_shards.run(CONFIG, inputs, tmp_path, no_progress, LlmRuntime(encoder=name, encode_workers=1))
    assert counters["encoder"] == name and "encoders_left_out" not in counters
    assert digests(tmp_path) == unbroken


def test_processes_give_the_same_bytes(tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str]) -> None:
    write_shards.run(CONFIG, inputs, tmp_path, no_progress, LlmRuntime(encode_workers=2))
    assert digests(tmp_path) == unbroken


@pytest.mark.parametrize("pieces", [1, 7, 12])
def test_an_interrupted_run_goes_on(
    pieces: int, tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str]
) -> None:
    calls = list[float]()

    def stop(done: float, total: float | None, message: str = "") -> None:
        calls.append(done)
        if len(calls) == pieces:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards.run(CONFIG, inputs, tmp_path, stop, ONE)
    with max(tmp_path.glob("train-*.bin")).open("ab") as file:
        file.write(b"torn")  # what was written after the note is of no use
    (tmp_path / "train-00000.offsets.npy.1.tmp").write_bytes(b"torn")
    later = list[float]()
    write_shards.run(CONFIG, inputs, tmp_path, lambda done, total, message="": later.append(done), ONE)
    assert digests(tmp_path) == unbroken
    assert len(calls) + len(later) == 12 and sorted(calls + later) == calls + later


def test_a_killed_run_goes_on(tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str]) -> None:
    script = f"""
import os, signal
from pathlib import Path
from llm_core.config import LlmRuntime, ShardsConfig
from llm_core.stages import write_shards
write_shards.PIECE_BYTES, write_shards.JOURNAL_SECONDS = 1, -1.0
calls = []
def progress(done, total, message=""):
    calls.append(done)
    if len(calls) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
inputs = {{"documents": Path({str(inputs["documents"])!r}), "tokenizer": Path({str(inputs["tokenizer"])!r})}}
out = Path({str(tmp_path)!r})
write_shards.run(ShardsConfig(shard_tokens=1000), inputs, out, progress, LlmRuntime(encode_workers=1))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "unfinished" / "journal.json").read_bytes())["pieces"] == 7
    assert not (tmp_path / "index.json").exists()
    write_shards.run(CONFIG, inputs, tmp_path, no_progress, ONE)
    assert digests(tmp_path) == unbroken


def test_unfinished_work_of_something_else_is_thrown_away(
    tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str]
) -> None:
    def stop(done: float, total: float | None, message: str = "") -> None:
        if done > 100:
            raise KeyboardInterrupt

    for spoil in ("another configuration", "a lost file"):
        other = ShardsConfig(shard_tokens=1500) if spoil == "another configuration" else CONFIG
        with pytest.raises(KeyboardInterrupt):
            write_shards.run(other, inputs, tmp_path, stop, ONE)
        if spoil == "a lost file":
            for path in tmp_path.glob("*.bin"):
                path.unlink()
        write_shards.run(CONFIG, inputs, tmp_path, no_progress, ONE)
        assert digests(tmp_path) == unbroken


class _Careless(HuggingFaceEncoder):
    """Right ids, but for the fifth batch."""

    calls = 0

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        encoded = super().encode(texts)
        type(self).calls += 1
        if self.calls == 5:
            encoded.ids[0] += 1
        return encoded


class _Panicking(HuggingFaceEncoder):
    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        raise BaseException("panicked")  # what a library written in Rust raises


@pytest.mark.parametrize("encoder", [_Careless, _Panicking])
def test_an_encoder_that_fails_later_is_replaced(
    encoder: type, tmp_path: Path, inputs: dict[str, Path], unbroken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "tiktoken", encoder)
    monkeypatch.setattr(parity, "_fault", lambda *_: None)
    counters = write_shards.run(CONFIG, inputs, tmp_path, no_progress, LlmRuntime(encoder="tiktoken", encode_workers=1))
    assert counters["encoder"] == "huggingface"
    assert str(counters["encoders_left_out"]).startswith("tiktoken: ")
    assert digests(tmp_path) == unbroken


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert list(map_in_order(partial, (pow, 2), range(30), 2)) == [2**n for n in range(30)]
    assert list(map_in_order(partial, (pow, 2), [], 1)) == []


def test_failures_in_processes_are_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_order(partial, (int,), ["1", "x"], 2))
    with pytest.raises(WorkerDied):
        list(map_in_order(partial, (os._exit,), [3], 2))


def test_repetitions_can_be_read_once(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "a", "c"], "split": ["train"] * 4, "repetition": [0, 0, 1, None]})
    pq.write_table(table, tmp_path / "part-0.parquet")
    assert [text for batch in read_documents(tmp_path) for text in batch.texts] == ["a", "b", "a", "c"]
    assert [text for batch in read_documents(tmp_path, once=True) for text in batch.texts] == ["a", "b", "c"]


def test_pieces_are_whole_row_groups_and_batches_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{n} " + "x" * 1000 for n in range(400)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "part-0.parquet", row_group_size=50, use_dictionary=False)
    pieces = document_pieces(tmp_path, 120_000)
    assert [piece.groups for piece in pieces] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    monkeypatch.setattr("llm_core.shards.documents.BATCH_BYTES", 20_000)
    batches = [batch.texts for piece in pieces for batch in read_piece(piece)]
    assert max(map(len, batches)) <= 20
    assert [text for batch in batches for text in batch.to_pylist()] == texts


def test_text_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part-0.parquet"
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(LlmCoreError, match=r"part-0\.parquet.*UTF8"):
        list(read_documents(tmp_path))
    pq.write_table(pa.table({"text": [1, 2]}), path)
    with pytest.raises(LlmCoreError, match=r"part-0\.parquet.*holds no text.*int64"):
        list(read_documents(tmp_path))
    pq.write_table(pa.table({"text": pa.array(["a", "a", None]).dictionary_encode()}), path)
    assert [batch.texts for batch in read_documents(tmp_path)] == [["a", "a"]]
