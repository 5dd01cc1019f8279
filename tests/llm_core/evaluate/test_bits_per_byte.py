import math
from typing import Any

import numpy as np
import pytest
import torch

from llm_core.config import ModelConfig
from llm_core.evaluate.bits_per_byte import (
    LanguageModelLoss,
    _windows,
    loss_on_documents,
    loss_on_rows,
    unigram_bits_per_byte,
    xz_bytes,
    zstd_bytes,
)
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.shards.loader import TokenRows
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.batches import IGNORE

CPU = torch.device("cpu")


def nothing() -> None: ...


def uniform_model(vocab: int) -> Transformer:
    """Every token is equally likely: ln(vocab) nats each."""
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16), vocab)
    torch.nn.init.zeros_(model.embedding.weight)
    return model.eval()


def test_by_hand() -> None:
    measured = LanguageModelLoss(loss_sum=6 * math.log(2), tokens=3, bytes=4)
    assert measured.loss == pytest.approx(2 * math.log(2))
    assert measured.perplexity == pytest.approx(4.0)
    assert measured.bits_per_byte == pytest.approx(1.5)


def test_a_model_that_knows_nothing_pays_log2_of_the_vocabulary_for_each_token() -> None:
    documents = [[3, 4, 5], [6] * 40]
    measured = loss_on_documents(uniform_model(64), documents, 100, 0, 1, CPU, nothing)
    assert measured.tokens == 3 + 1 + 40 + 1  # with the tokens that close them
    assert measured.bits_per_byte == pytest.approx(45 * 6 / 100, rel=1e-5)


@pytest.mark.parametrize("length", [2, 15, 16, 17, 18, 40, 100])
def test_windows_count_every_token_once_with_at_least_half_a_window_before_it(length: int) -> None:
    ids = list(range(length))
    counted: list[int] = []
    for number, window in enumerate(_windows(ids, 16)):
        assert isinstance(window.targets, list) and len(window.tokens) == len(window.targets) <= 16
        wanted = [(at, target) for at, target in enumerate(window.targets) if target != IGNORE]
        assert all(window.tokens[at] == target - 1 for at, target in wanted)
        assert number == 0 or wanted[0][0] >= 8
        counted += [target for _, target in wanted]
    assert counted == ids[1:]


def test_the_same_text_costs_the_same_alone_and_in_a_batch() -> None:
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16), 64)
    initialize(model, 3)
    documents = [[5, 6, 7], [8, 9], [10] * 30]
    with torch.no_grad():
        together = loss_on_documents(model, documents, 1, 0, 1, CPU, nothing).loss_sum
        alone = sum(loss_on_documents(model, [d], 1, 0, 1, CPU, nothing).loss_sum for d in documents)
    assert together == pytest.approx(alone, rel=1e-5)


def test_rows_count_the_bytes_of_their_targets(toy: Any) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    rows = TokenRows.open(toy.shards, "validation", 16)
    model = uniform_model(tokenizer.vocab_size)
    measured = loss_on_rows(model, rows, tokenizer.byte_lengths, 3, CPU, nothing)
    targets = rows.read(np.arange(3) * len(rows) // 3).targets  # from all over the split
    assert measured.whole.tokens == 48
    assert measured.whole.bytes == len(tokenizer.decode_bytes(targets.ravel()))
    assert measured.whole.loss == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-5)
    assert measured.sources == {} and set(measured.metrics()) == {"loss", "bits_per_byte"}


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_told_source_by_source(toy: Any, masked: bool) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    rows = TokenRows.open(toy.shards, "validation", 16)
    model = Transformer(ModelConfig(layers=1, dim=16, heads=2, ffn_dim=16, context_length=16), tokenizer.vocab_size)
    initialize(model, 3)
    lengths = tokenizer.byte_lengths
    with torch.no_grad():
        before = loss_on_rows(model, rows, lengths, None, CPU, nothing, document_mask=masked).whole
        split = rows.index.splits["validation"]
        split = split.model_copy(update={"source_tokens": {"a": 1, "b/c": 1}})
        rows.index = rows.index.model_copy(update={"sources": ["a", "b/c"], "splits": {"validation": split}})
        rows.sources = np.arange(len(rows.offsets) - 1) % 2
        measured = loss_on_rows(model, rows, lengths, None, CPU, nothing, document_mask=masked)
        # Each source by the definition: the losses of the targets that stand in its documents.
        read = rows.read(np.arange(len(rows)), documents=True)
        assert read.documents is not None
        ids = torch.from_numpy(read.documents) if masked else None
        losses = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(read.tokens), document_ids=ids).flatten(0, 1),
            torch.from_numpy(read.targets).flatten(),
            reduction="none",
        )
    of = rows.sources[read.documents.ravel()]
    assert set(measured.sources) == {"a", "b_c"}
    for number, name in enumerate(("a", "b_c")):
        mine = measured.sources[name]
        assert mine.tokens == (of == number).sum() and mine.bytes == lengths[read.targets.ravel()[of == number]].sum()
        assert mine.loss_sum == pytest.approx(losses[torch.from_numpy(of == number)].sum().item(), rel=1e-5)
    assert measured.whole.loss_sum == pytest.approx(before.loss_sum, rel=1e-5)
    assert measured.whole.tokens == before.tokens and measured.whole.bytes == before.bytes
    assert set(measured.metrics()) == {"loss", "bits_per_byte", "a/bits_per_byte", "b_c/bits_per_byte"}


def test_unigrams_by_hand() -> None:
    # counts with one added: a 3, b 2, the 254 others 1 each, 259 in all
    train, validation = (np.bincount(list(text), minlength=256) for text in (b"aab", b"ab"))
    expected = -(math.log2(3 / 259) + math.log2(2 / 259)) / 2
    assert unigram_bits_per_byte(train, validation, 2) == pytest.approx(expected)


def test_compressors_shrink_what_repeats() -> None:
    content = b"the city of the river, the city of the sea. " * 50
    assert 0 < xz_bytes(content) < len(content) / 8
    assert 0 < zstd_bytes(content) < len(content) / 8
