"""Shards: what goes in comes out, splits don't leak, damage is named, the order is a permutation."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.config import LlmRuntime, ShardsConfig, TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.progress import no_progress
from llm_core.shards.documents import split_of
from llm_core.shards.format import read_index, token_dtype
from llm_core.shards.loader import TokenRows
from llm_core.shards.order import permute, permute_many
from llm_core.stages import train_tokenizer, write_shards
from llm_core.tokenizer.encode import Tokenizer
from tests.llm_core.stand_ins import read_documents

SPLITS = ["train"] * 8 + ["validation", "test"]


def write_documents(folder: Path, texts: list[str], *, splits: list[str] | None = None, **columns: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": texts, **({"split": splits} if splits else {}), **columns})
    half = len(texts) // 2
    pq.write_table(table.slice(0, half), folder / "part-00000.parquet")
    pq.write_table(table.slice(half), folder / "part-00001.parquet")
    return folder


def some_texts(n: int) -> list[str]:
    return [f"Document {i}: the city of number {i * 37 % 101} has <|endoftext|> and a café 東京." for i in range(n)]


def whole_split(shards: Path, split: str) -> np.ndarray:
    index = read_index(shards)
    return np.concatenate([np.fromfile(shards / file.name, dtype=index.dtype) for file in index.splits[split].files])


def run_stages(documents: Path, out: Path, *, shard_tokens: int = 1000) -> tuple[Path, Path]:
    tokenizer, shards = out / "tokenizer", out / "shards"
    for folder in (tokenizer, shards):
        folder.mkdir(parents=True)
    inputs = {"documents": documents}
    train_tokenizer.run(TokenizerConfig(vocab_size=400), inputs, tokenizer, no_progress, LlmRuntime())
    inputs["tokenizer"] = tokenizer
    write_shards.run(ShardsConfig(shard_tokens=shard_tokens), inputs, shards, no_progress, LlmRuntime())
    return tokenizer, shards


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return some_texts(300)


@pytest.fixture
def built(tmp_path: Path, texts: list[str]) -> tuple[Path, Path]:
    return run_stages(write_documents(tmp_path / "documents", texts, splits=SPLITS * 30), tmp_path / "out")


def test_round_trip_without_leaks(built: tuple[Path, Path], texts: list[str]) -> None:
    tokenizer = Tokenizer.load(built[0])
    index = read_index(built[1])
    assert index.tokenizer_digest == tokenizer.digest and index.dtype == "uint16"
    assert len(index.splits["train"].files) > 1  # the test covers several files
    for split in ("train", "validation", "test"):
        found: list[str] = []
        for file in index.splits[split].files:
            ids = np.fromfile(built[1] / file.name, dtype=index.dtype)
            offsets = np.load(built[1] / file.offsets, allow_pickle=False)
            assert offsets[0] == 0 and offsets[-1] == len(ids) == file.tokens
            for start, end in pairwise(offsets):
                assert ids[end - 1] == tokenizer.eot_id and tokenizer.eot_id not in ids[start : end - 1]
                found.append(tokenizer.decode(ids[start:end]))
        expected = [text for text, its in zip(texts, SPLITS * 30, strict=True) if its == split]
        assert found == expected
        assert index.splits[split].documents == len(expected)
        assert index.splits[split].bytes == sum(len(text.encode()) for text in expected)


def test_the_same_documents_give_the_same_bytes(tmp_path: Path, texts: list[str]) -> None:
    documents = write_documents(tmp_path / "documents", texts, splits=SPLITS * 30)
    digests = []
    for name in ("a", "b"):
        run_stages(documents, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file() and path.stem != "report")
        digests.append({str(p.relative_to(tmp_path / name)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
    assert digests[0] == digests[1] and len(digests[0]) > 8


def test_rows_tile_the_split(built: tuple[Path, Path]) -> None:
    whole = whole_split(built[1], "train")
    rows = TokenRows.open(built[1], "train", 33, verify=True)
    assert len(rows) == (len(whole) - 1) // 33
    read = rows.read(np.arange(len(rows)), documents=True)
    used = len(rows) * 33
    assert np.array_equal(read.tokens.ravel(), whole[:used])
    assert np.array_equal(read.targets.ravel(), whole[1 : used + 1])
    assert set(read.lengths.tolist()) == {33}
    # A target belongs to the document that it stands in, its closing <|endoftext|> included.
    assert read.documents is not None
    closed = np.cumsum(whole == rows.index.eot_id)
    assert np.array_equal(read.documents.ravel(), closed[:used])
    again = rows.read(np.array([5, 2, 5]))
    assert np.array_equal(again.tokens, read.tokens[[5, 2, 5]]) and again.documents is None
    for outside in (len(rows), -1):
        with pytest.raises(IndexError):
            rows.read(np.array([outside]))


def test_training_rows_are_a_function_of_their_place(built: tuple[Path, Path]) -> None:
    rows = TokenRows.open(built[1], "train", 33)
    n = len(rows)
    three_epochs = rows.shuffled(0, 3 * n, seed=5)
    assert np.array_equal(rows.shuffled(n - 2, 4, seed=5), three_epochs[n - 2 : n + 2])  # across the epochs' border
    epochs = three_epochs.reshape(3, n)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(n))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(rows.shuffled(0, n, seed=6), epochs[0])
    assert epochs[1].tolist() == [permute(5, 1, i, n) for i in range(n)]


def test_a_flipped_bit_is_found_and_named(built: tuple[Path, Path]) -> None:
    file = read_index(built[1]).splits["train"].files[1]
    for name in (file.name, file.offsets, file.sources):
        path = built[1] / name
        content = path.read_bytes()
        path.write_bytes(flipped(content, len(content) - 3, 2))
        TokenRows.open(built[1], "train", 33)  # the size is right
        with pytest.raises(LlmCoreError, match=rf"{name}.*sha256"):
            TokenRows.open(built[1], "train", 33, verify=True)
        path.write_bytes(content)
    TokenRows.open(built[1], "train", 33, verify=True)


@given(st.data())
def test_no_bit_of_the_index_can_flip_unseen(index_bytes: tuple[Path, bytes], data: st.DataObject) -> None:
    folder, content = index_bytes
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    (folder / "index.json").write_bytes(flipped(content, at, bit))
    with pytest.raises(LlmCoreError, match=r"index\.json"):
        read_index(folder)


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.fixture(scope="module")
def index_bytes(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> tuple[Path, bytes]:
    root = tmp_path_factory.mktemp("index")
    _, shards = run_stages(write_documents(root / "documents", texts), root / "out")
    return shards, (shards / "index.json").read_bytes()


def test_other_damage_is_named(built: tuple[Path, Path]) -> None:
    file = read_index(built[1]).splits["train"].files[1]
    path = built[1] / file.name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(LlmCoreError, match=rf"{file.name}.*bytes"):
        TokenRows.open(built[1], "train", 33)
    path.unlink()
    with pytest.raises(LlmCoreError, match=rf"{file.name}.*missing"):
        TokenRows.open(built[1], "train", 33)
    (built[1] / "index.json").write_text('{"format": "other"}')
    with pytest.raises(LlmCoreError, match=r"index\.json"):
        TokenRows.open(built[1], "train", 33)
    (built[1] / "index.json").write_text('{"format": "groundup-token-shards", "version": 1}')
    with pytest.raises(LlmCoreError, match=r"of version 1, this program reads version 2.*Run the shards stage again"):
        TokenRows.open(built[1], "train", 33)


def test_documents_keep_their_sources(tmp_path: Path, texts: list[str]) -> None:
    sources = [f"source {i % 7 % 3}" for i in range(300)]
    _, shards = run_stages(
        write_documents(tmp_path / "documents", texts, splits=SPLITS * 30, source=sources), tmp_path / "out"
    )
    index = read_index(shards)
    assert index.sources == ["source 0", "source 1", "source 2"]
    for split in ("train", "validation"):
        rows = TokenRows.open(shards, split, 8, verify=True)
        expected = [s for s, its in zip(sources, SPLITS * 30, strict=True) if its == split]
        assert [index.sources[number] for number in rows.sources] == expected
        tokens = Counter[str]()
        for source, length in zip(expected, np.diff(rows.offsets), strict=True):
            tokens[source] += int(length)
        assert index.splits[split].source_tokens == tokens


def test_a_context_longer_than_the_shards_is_explained(built: tuple[Path, Path]) -> None:
    with pytest.raises(LlmCoreError, match=r"context is longer than the shards.*model\.context_length"):
        TokenRows.open(built[1], "validation", 100_000)
    with pytest.raises(LlmCoreError, match="no split 'tests'"):
        TokenRows.open(built[1], "tests", 8)


def test_an_empty_train_split_is_refused(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents", some_texts(20), splits=["validation"] * 20)
    with pytest.raises(LlmCoreError, match="train split has no text"):
        run_stages(documents, tmp_path / "out")
    good = write_documents(tmp_path / "good", some_texts(20), splits=["train"] * 20)
    tokenizer, _ = run_stages(good, tmp_path / "good_out")
    inputs = {"documents": documents, "tokenizer": tokenizer}
    with pytest.raises(LlmCoreError, match="train split is empty"):
        write_shards.run(ShardsConfig(), inputs, tmp_path / "out" / "shards", no_progress, LlmRuntime())
    assert not (tmp_path / "out" / "shards" / "index.json").exists()


def test_without_a_split_column_the_hash_decides(tmp_path: Path) -> None:
    texts = some_texts(3000)
    ids = [f"{i:032x}" for i in range(3000)]
    documents = write_documents(tmp_path / "documents", texts, doc_id=ids)
    splits = [split for batch in read_documents(documents) for split in batch.splits]
    assert splits == [split_of(doc_id) for doc_id in ids]
    assert 90 < splits.count("validation") < 220 and set(splits) == {"train", "validation"}


def test_bad_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(LlmCoreError, match="no Parquet files"):
        list(read_documents(tmp_path))
    documents = write_documents(tmp_path / "documents", some_texts(10), splits=["train"] * 9 + ["holdout"])
    with pytest.raises(LlmCoreError, match=r"part-00001\.parquet.*'holdout'"):
        list(read_documents(documents))
    part = documents / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(LlmCoreError, match=r"part-00000\.parquet.*can't be read"):
        list(read_documents(documents))
    pq.write_table(pa.table({"body": ["x"]}), part)
    with pytest.raises(LlmCoreError, match=r"part-00000\.parquet.*no column `text`"):
        list(read_documents(documents))


def test_a_sample_is_capped_and_spread(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents", some_texts(2000), splits=["train"] * 2000)
    out = tmp_path / "tokenizer"
    out.mkdir()
    config = TokenizerConfig(vocab_size=300, sample_bytes=40_000)
    counters = train_tokenizer.run(config, {"documents": documents}, out, no_progress, LlmRuntime())
    assert 30_000 < int(counters["trained_on_bytes"]) < 50_000


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 600))
def test_the_order_is_a_permutation(seed: int, epoch: int, n: int) -> None:
    order = [permute(seed, epoch, i, n) for i in range(n)]
    assert sorted(order) == list(range(n))
    assert permute_many(seed, epoch, np.arange(n), n).tolist() == order


@given(st.integers(0, 2**31), st.integers(1, 10**12), st.data())
def test_large_orders_stay_in_range(seed: int, n: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, n - 1))
    assert 0 <= permute(seed, 0, index, n) < n
    assert permute_many(seed, 0, np.array([index, 0]), n).tolist() == [permute(seed, 0, i, n) for i in (index, 0)]


def test_the_order_is_well_mixed_and_pinned() -> None:
    n = 1000
    order = np.array([permute(1, 0, i, n) for i in range(n)])
    assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.1
    assert (order == np.arange(n)).sum() < 10
    assert (np.diff(order) == 1).sum() < 10
    other = np.array([permute(1, 1, i, n) for i in range(n)])
    assert (order == other).sum() < 10
    with pytest.raises(ValueError, match="outside"):
        permute(1, 0, 5, 5)
    with pytest.raises(ValueError, match="outside"):
        permute_many(1, 0, np.array([4, 5]), 5)


def test_dtype_follows_the_vocabulary() -> None:
    assert token_dtype(65_536) == "uint16" and token_dtype(65_537) == "uint32"
