"""Rows of whole documents: nothing is lost, little is wasted, and what is masked is what stands in another document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.config import ModelConfig
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.shards.format import ShardIndex, read_index, write_index
from llm_core.shards.loader import NO_TARGET, TokenRows
from llm_core.shards.packing import best_fit_decreasing, pack_documents
from llm_core.shards.writer import EncodedSplit, ShardWriter
from llm_core.train.batches import Batch, Share, TokenBatches
from llm_core.train.objectives import next_token

EOT = 0
SHAPE = ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16)


def plain_best_fit_decreasing(sizes: list[int], capacity: int) -> list[int]:
    """Room left in each bin, item by item."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [number for number, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting, key=lambda number: rooms[number])] -= size
        else:
            rooms.append(capacity - size)
    return sorted(rooms)


@given(st.integers(1, 40), st.data())
def test_bins_are_those_of_the_plain_algorithm(capacity: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    bins, count = best_fit_decreasing(np.array(sizes, dtype=np.int64), capacity)
    filled = np.bincount(bins, weights=sizes, minlength=count).astype(int)
    assert sorted((capacity - filled).tolist()) == plain_best_fit_decreasing(sizes, capacity)


@given(st.lists(st.integers(2, 70), min_size=1, max_size=60), st.integers(2, 33))
def test_packing_loses_nothing_and_cuts_only_what_is_too_long(lengths: list[int], row: int) -> None:
    offsets = np.cumsum([0, *lengths])
    spans = pack_documents(offsets, row)
    covered = np.zeros(offsets[-1], dtype=int)
    for number in range(len(spans.first) - 1):
        here = slice(spans.first[number], spans.first[number + 1])
        assert 0 < spans.lengths[here].sum() <= row
        for start, length in zip(spans.starts[here], spans.lengths[here], strict=True):
            covered[start : start + length] += 1
            document = int(np.searchsorted(offsets, start, side="right")) - 1
            assert start + length <= offsets[document + 1]
            assert lengths[document] > row or length == lengths[document]
    assert (covered == 1).all()


def whole_split(shards: Path, split: str) -> np.ndarray:
    index = read_index(shards)
    return np.concatenate([np.fromfile(shards / file.name, dtype=index.dtype) for file in index.splits[split].files])


def write(folder: Path, documents: list[list[int]], shard_tokens: int = 60) -> Path:
    """Shards of ``documents`` (ids without <|endoftext|>)."""
    writer = ShardWriter(folder, {}, dtype="uint16", shard_tokens=shard_tokens)
    tokens = np.array([len(document) + 1 for document in documents])
    ids = np.concatenate([[*document, EOT] for document in documents])
    sources = np.arange(len(documents)) % 2
    writer.add_piece({"train": EncodedSplit(ids, tokens, tokens, sources)}, ["a", "b"])
    splits = writer.finish()
    fields = {"tokenizer_digest": "", "vocab_size": 64, "eot_id": EOT, "dtype": "uint16", "sources": ["a", "b"]}
    write_index(folder, ShardIndex.model_validate({**fields, "splits": splits}))
    writer.forget()
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(3)
    documents = [draw.integers(1, 64, draw.integers(1, 30)).tolist() for _ in range(100)]
    return write(tmp_path_factory.mktemp("shards"), documents, shard_tokens=300)


def test_best_fit_rows_hold_whole_documents(shards: Path) -> None:
    rows = TokenRows.open(shards, "train", 16, packing="best_fit", verify=True)
    assert len(rows.index.splits["train"].files) > 3
    whole = whole_split(shards, "train")
    read = rows.read(np.arange(len(rows))[::-1], documents=True)
    assert read.documents is not None
    targets, valid = read.targets, read.targets != NO_TARGET
    assert valid.sum() == len(whole) and sorted(targets[valid].tolist()) == sorted(whole.tolist())
    assert (read.lengths == valid.sum(1)).all()
    assert (np.diff(valid.astype(int), axis=1) <= 0).all()  # padding is on the right
    assert ((read.documents >= 0) == valid).all()
    for row in range(len(rows)):
        for document in set(read.documents[row][valid[row]].tolist()):
            here = np.flatnonzero(read.documents[row] == document)
            assert (np.diff(here) == 1).all()
            start, end = rows.offsets[document], rows.offsets[document + 1]
            ids, found = whole[start:end].tolist(), targets[row][here].tolist()
            before = [EOT, *ids[:-1]]
            if end - start <= 16:
                assert found == ids and read.tokens[row][here].tolist() == before
            else:  # a piece of it, continued by what follows there
                at = next(k for k in range(len(ids)) if ids[k : k + len(found)] == found)
                assert at % 16 == 0 and read.tokens[row][here].tolist() == before[at : at + len(found)]
    lengths = np.diff(rows.offsets)
    assert rows.documents_cut() == (lengths > 16).sum()
    assert rows.utilization == pytest.approx(valid.mean())
    again = TokenRows.open(shards, "train", 16, packing="best_fit").read(np.arange(len(rows))[::-1])
    assert np.array_equal(again.tokens, read.tokens) and np.array_equal(again.targets, read.targets)


def test_best_fit_cuts_fewer_documents(shards: Path) -> None:
    concatenated = TokenRows.open(shards, "train", 16)
    number = (np.arange(concatenated.tokens) - 1) // 16  # the row that each target is in
    cut = sum(number[a] != number[b - 1] for a, b in zip(concatenated.offsets, concatenated.offsets[1:], strict=False))
    assert concatenated.documents_cut() == cut > TokenRows.open(shards, "train", 16, packing="best_fit").documents_cut()
    assert concatenated.utilization == 1.0


def losses_of(model: Transformer, batch: Batch) -> torch.Tensor:
    """(rows, time) the loss of each target."""
    logits = model(batch.tokens, document_ids=batch.document_ids)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_masked_documents_are_predicted_as_if_alone(shards: Path, packing: str) -> None:
    """From the <|endoftext|> before them on, which is also how documents are generated and evaluated."""
    rows = TokenRows.open(shards, "train", 16, packing=packing)  # type: ignore[arg-type]
    model = Transformer(SHAPE, 64)
    initialize(model, 1)
    batch = TokenBatches(rows, 16 * 40, seed=1, document_mask=True).micro_batches(0, 40)[0]
    whole = whole_split(shards, "train").tolist()
    compared = 0
    with torch.no_grad():
        found = losses_of(model, batch)
        assert batch.document_ids is not None
        for row in range(40):
            for document in set(batch.document_ids[row].tolist()) - {-1}:
                here = batch.document_ids[row] == document
                ids = whole[rows.offsets[document] : rows.offsets[document + 1]]
                if int(here.sum()) == len(ids):  # the row has all of it
                    alone = Batch(
                        torch.tensor([[EOT, *ids[:-1]]]), torch.tensor([ids]), torch.tensor([len(ids)]), len(ids), 0
                    )
                    assert torch.allclose(found[row][here], losses_of(model, alone)[0], atol=1e-5)
                    compared += 1
        total = next_token(model, batch).item()
    assert compared > 5 and total == pytest.approx(found[batch.targets != NO_TARGET].sum().item(), rel=1e-5)
    assert batch.valid == batch.real_tokens == int((batch.targets != NO_TARGET).sum())


def test_reading_ahead_changes_nothing(shards: Path) -> None:
    rows = TokenRows.open(shards, "train", 16, packing="best_fit")
    plain, ahead = (TokenBatches(rows, 64, seed=2, read_ahead=flag) for flag in (False, True))
    # In order, repeated, backwards, with other micro-batches and for another process.
    for wanted in [(0, 4), (1, 4), (2, 4), (2, 4), (9, 4), (1, 4), (2, 2), (3, 2, Share(1, 2)), (4, 2, Share(0, 2))]:
        for a, b in zip(plain.micro_batches(*wanted), ahead.micro_batches(*wanted), strict=True):  # type: ignore[arg-type]
            assert torch.equal(a.tokens, b.tokens) and torch.equal(a.targets, b.targets)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=30), st.integers(2, 20), st.integers(10, 80))
def test_every_token_is_a_target_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], context: int, shard_tokens: int
) -> None:
    numbers = iter(range(1, 10**6))
    documents = [[next(numbers) for _ in range(length)] for length in lengths]
    folder = write(tmp_path_factory.mktemp("shards"), documents, shard_tokens)
    whole = whole_split(folder, "train")
    for packing in ("concatenate", "best_fit"):
        rows = TokenRows(folder, TokenRows.open(folder, "train", 1).index, "train", context, packing)  # type: ignore[arg-type]
        read = rows.read(rows.shuffled(0, len(rows), seed=4))
        targets = sorted(read.targets[read.targets != NO_TARGET].tolist())
        used = whole[1 : 1 + len(rows) * context] if packing == "concatenate" else whole
        assert targets == sorted(used.tolist())
        if packing == "concatenate":
            assert len(whole) - 1 - len(targets) < context
