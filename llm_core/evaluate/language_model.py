"""The language model beside its baselines, all on the same held-out documents, all in bits per byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from llm_core.errors import LlmCoreError
from llm_core.evaluate.bits_per_byte import (
    MOST_SOURCES,
    LanguageModelLoss,
    loss_on_documents,
    unigram_bits_per_byte,
    xz_bytes,
    zstd_bytes,
)
from llm_core.model.transformer import Transformer
from llm_core.shards.documents import SPLITS, document_pieces, read_piece
from llm_core.shards.loader import TokenRows
from llm_core.tokenizer.encode import Tokenizer

#: Text that a compressor is shown at most: they are slow, and a longer text hardly changes the ratio.
COMPRESSED_BYTES = 16_000_000
#: Where the smaller sources are told together.
OTHERS = "(others)"


def evaluate_language_model(
    model: Transformer,
    tokenizer: Tokenizer,
    shards: Path,
    documents: Path,
    device: torch.device,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Loss, perplexity and bits per byte on the validation documents, each by itself; baselines with their names.

    Where documents come from several sources, also bits per byte of each. A mixture's repetitions of a document are
    left out: they would show the baselines text several times that they learn from once.

    `xz_validation`, `zstd_validation`: the validation documents alone, joined by a newline, compressed.
    `xz_after_train`: what the validation documents add to a file that begins with the train documents, so that xz has
    read what the model has read.
    `xz_train_and_validation`: all of that file, per byte of it: the number that `xz -9e corpus.txt` shows.
    `byte_unigram`, `token_unigram`: frequencies of the train split.
    """
    corpus = _read(documents, tick)
    losses: dict[str, LanguageModelLoss] = {}
    for source, texts in corpus.by_source().items():
        ids = tokenizer.encode_batch(texts)
        size = sum(len(text.encode()) for text in texts)
        losses[source] = loss_on_documents(model, ids, size, tokenizer.eot_id, tokenizer.pad_id, device, tick)
    measured = LanguageModelLoss(
        sum(each.loss_sum for each in losses.values()),
        sum(each.tokens for each in losses.values()),
        sum(each.bytes for each in losses.values()),
    )
    tick()
    train, validation = corpus.train_end(), "\n".join(corpus.validation).encode()
    compressed = validation[:COMPRESSED_BYTES]
    with ThreadPoolExecutor(2) as both:  # lzma lets other threads run
        xz_train, xz_all = both.map(xz_bytes, (train, train + compressed))
    tick()
    size, vocab = max(1, len(compressed)), tokenizer.vocab_size
    train_tokens = _token_counts(shards, "train", vocab, corpus.first["train"], documents)
    validation_tokens = _token_counts(shards, "validation", vocab, corpus.first["validation"], documents)
    validation_counts = np.bincount(np.frombuffer(validation, dtype=np.uint8), minlength=256)
    baselines = {
        "xz_validation": 8 * xz_bytes(compressed) / size,
        "xz_after_train": 8 * (xz_all - xz_train) / size,
        "xz_train_and_validation": 8 * xz_all / len(train + compressed),
        "zstd_validation": 8 * zstd_bytes(compressed) / size,
        "byte_unigram": unigram_bits_per_byte(corpus.train_bytes, validation_counts, len(validation)),
        "token_unigram": unigram_bits_per_byte(train_tokens, validation_tokens, measured.bytes),
    }
    return {
        "split": "validation",
        "documents": len(corpus.validation),
        "bytes": measured.bytes,
        "tokens": measured.tokens,
        "loss": measured.loss,
        "perplexity": measured.perplexity,
        "bits_per_byte": measured.bits_per_byte,
        "sources": {
            source: {"bytes": each.bytes, "bits_per_byte": each.bits_per_byte}
            for source, each in losses.items()
            if len(losses) > 1
        },
        "baselines": baselines,
    }


@dataclass
class _Corpus:
    """What is needed of the documents; of the train split, which may be large, only its end and its frequencies."""

    train_bytes: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    """How often each byte occurs."""
    train_ends: deque[bytes] = field(default_factory=deque)
    validation: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """Of the validation documents."""
    first: dict[str, np.ndarray] = field(default_factory=dict)
    """By split, for each document (repetitions too) whether it is not a repetition."""

    def add_train(self, texts: list[str]) -> None:
        content = b"".join(text.encode() + b"\n" for text in texts)
        self.train_bytes += np.bincount(np.frombuffer(content, dtype=np.uint8), minlength=256)
        self.train_ends.append(content)
        while sum(map(len, self.train_ends)) - len(self.train_ends[0]) > COMPRESSED_BYTES:
            self.train_ends.popleft()

    def train_end(self) -> bytes:
        return b"".join(self.train_ends)[-COMPRESSED_BYTES - 1 :]

    def by_source(self) -> dict[str, list[str]]:
        """The validation documents by source, the largest first; all but the largest sources together."""
        groups: dict[str, list[str]] = {}
        for text, source in zip(self.validation, self.sources, strict=True):
            groups.setdefault(source, []).append(text)
        names = sorted(groups, key=lambda source: (-sum(map(len, groups[source])), source))
        named = {source: groups[source] for source in names[:MOST_SOURCES]}
        rest = [text for source in names[MOST_SOURCES:] for text in groups[source]]
        return named | ({OTHERS: rest} if rest else {})


def _read(documents: Path, tick: Callable[[], None]) -> _Corpus:
    corpus = _Corpus()
    first: dict[str, list[np.ndarray]] = {split: [np.zeros(0, dtype=bool)] for split in SPLITS}
    for piece in document_pieces(documents, 0):
        tick()
        for batch in read_piece(piece):
            for code, split in enumerate(SPLITS):
                first[split].append(~batch.repeated[batch.splits == code])
            train, validation = (
                pa.array((batch.splits == SPLITS.index(split)) & ~batch.repeated) for split in ("train", "validation")
            )
            corpus.add_train(batch.texts.filter(train).to_pylist())
            corpus.validation += batch.texts.filter(validation).to_pylist()
            corpus.sources += batch.sources.filter(validation).to_pylist()
    corpus.first = {split: np.concatenate(parts) for split, parts in first.items()}
    return corpus


def _token_counts(shards: Path, split: str, vocab_size: int, first: np.ndarray, documents: Path) -> np.ndarray:
    """(vocab,) how often each token occurs in the documents of a split that aren't repetitions.

    Raises:
        LlmCoreError: the shards were written from other documents.
    """
    rows = TokenRows.open(shards, split, 1)
    lengths = np.diff(rows.offsets)
    if len(lengths) != len(first):
        raise LlmCoreError(
            f"the token shards have {len(lengths)} documents in the split {split!r}, the documents {len(first)}.",
            where=str(documents),
            fix="Run the shards stage again.",
        )
    return rows.count_tokens(vocab_size, first)
