"""Bits per byte: how many bits the model needs to tell one byte of held-out text.

A loss per token can't be compared between tokenizers: longer tokens are harder to guess and there are fewer of them.
Divided by the bytes of the text it can, and also with compressors, which need their bits per byte too.

    bits per byte = (sum of the loss over all tokens, in nats) / ln 2 / (UTF-8 bytes of the text)

The tokens that close the documents are paid for in the numerator and bring no bytes.
"""

from __future__ import annotations

import lzma
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from llm_core.model.transformer import Transformer
from llm_core.shards.loader import TokenRows
from llm_core.train.batches import IGNORE, Batch, Example, in_order, token_batch
from llm_core.train.objectives import linear_cross_entropy, next_token

#: Tokens in one forward pass.
BATCH_TOKENS = 8192
#: Sources that a validation tells apart.
MOST_SOURCES = 20


@dataclass(frozen=True)
class LanguageModelLoss:
    loss_sum: float
    """nats"""
    tokens: int
    """Targets that were predicted."""
    bytes: int
    """UTF-8 bytes that they stand for."""

    @property
    def loss(self) -> float:
        """nats per token"""
        return self.loss_sum / max(1, self.tokens)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float:
        return bits_per_byte(self.loss_sum, self.bytes)


def bits_per_byte(nats: float, text_bytes: int) -> float:
    return nats / math.log(2) / max(1, text_bytes)


@dataclass(frozen=True)
class LossBySource:
    whole: LanguageModelLoss
    sources: dict[str, LanguageModelLoss]
    """By source, where there are several; the largest ones, so that they may be fewer than all."""

    def metrics(self) -> dict[str, float]:
        """What a validation tells."""
        named = {f"{name}/bits_per_byte": measured.bits_per_byte for name, measured in self.sources.items()}
        return {"loss": self.whole.loss, "bits_per_byte": self.whole.bits_per_byte, **named}


def loss_on_rows(
    model: Transformer,
    rows: TokenRows,
    byte_lengths: np.ndarray,
    limit: int | None,
    device: torch.device,
    tick: Callable[[], None],
    *,
    document_mask: bool = False,
) -> LossBySource:
    """The loss on ``limit`` rows from all over a split, each row with nothing before it; also source by source. Cheap,
    for use in training."""
    count = len(rows) if limit is None else min(limit, len(rows))
    numbers = np.arange(count) * len(rows) // max(1, count)
    size = max(1, BATCH_TOKENS // rows.context_length)
    names = rows.index.sources
    several = len(rows.index.splits[rows.split].source_tokens) > 1
    nats, tokens, text_bytes = (np.zeros(len(names)) for _ in range(3))
    for start in range(0, count, size):
        tick()
        piece = rows.read(numbers[start : start + size], documents=document_mask or several)
        valid = np.flatnonzero(piece.targets.ravel() != IGNORE)
        targets = piece.targets.ravel()[valid]
        sources = np.zeros(len(valid), dtype=np.int64)
        if piece.documents is not None:
            sources = rows.sources[piece.documents.ravel()[valid]].astype(np.int64)
        batch = token_batch(piece if document_mask else replace(piece, documents=None)).to(device)
        hidden = model.hidden(batch.tokens, document_ids=batch.document_ids).flatten(0, 1)
        for source in np.unique(sources).tolist():
            chosen = torch.from_numpy(valid[sources == source]).to(device)
            nats[source] += linear_cross_entropy(
                hidden[chosen],
                model.head.weight,
                batch.targets.flatten()[chosen],
                len(chosen),
                softcap=model.config.logit_softcap,
            ).item()
        tokens += np.bincount(sources, minlength=len(names))
        text_bytes += np.bincount(sources, weights=byte_lengths[targets], minlength=len(names))
    measured = [LanguageModelLoss(float(a), int(b), int(c)) for a, b, c in zip(nats, tokens, text_bytes, strict=True)]
    whole = LanguageModelLoss(float(nats.sum()), int(tokens.sum()), int(text_bytes.sum()))
    largest = sorted(np.flatnonzero(tokens).tolist(), key=lambda source: (-tokens[source], names[source]))[
        :MOST_SOURCES
    ]
    return LossBySource(whole, {metric_name(names[s]): measured[s] for s in largest} if several else {})


def metric_name(source: str) -> str:
    """A source's name with only what a metric's name may hold (MLflow's rule; the slash divides)."""
    return re.sub(r"[^\w. -]", "_", source, flags=re.ASCII)[:100] or "_"


def loss_on_documents(
    model: Transformer,
    documents: Sequence[Sequence[int]],
    text_bytes: int,
    eot_id: int,
    pad_id: int,
    device: torch.device,
    tick: Callable[[], None],
) -> LanguageModelLoss:
    """The loss on whole documents, each by itself after <|endoftext|>, its own closing <|endoftext|> included.

    Documents that are longer than the window go through it in windows that overlap by half; every token is counted
    once, in the window where it has the most text before it.

    Args:
        documents: token ids without <|endoftext|>.
        text_bytes: UTF-8 bytes of all of them.
    """
    context = model.config.context_length
    windows = [window for document in documents for window in _windows([eot_id, *document, eot_id], context)]
    longest = max((len(window.tokens) for window in windows), default=1)
    loss_sum, tokens = 0.0, 0
    for _, batch in in_order(windows, pad_id, max(1, BATCH_TOKENS // longest)):
        tick()
        loss_sum += next_token(model, batch.to(device)).item()
        tokens += batch.valid
    return LanguageModelLoss(loss_sum, tokens, text_bytes)


def _windows(ids: list[int], context: int) -> list[Example]:
    """Cut one document; targets that an earlier window counted are ignored."""
    targets = ids[1:]
    windows: list[Example] = []
    counted = start = 0
    while counted < len(targets):
        end = min(start + context, len(targets))
        wanted = [IGNORE] * (counted - start) + targets[counted:end]
        windows.append(Example(ids[start:end], wanted))
        counted = end
        start = end - context // 2
    return windows


def loss_on_examples(
    model: Transformer,
    examples: Sequence[Example],
    pad_id: int,
    device: torch.device,
    tick: Callable[[], None],
) -> LanguageModelLoss:
    """The loss on fine-tuning rows, over the targets that count. Bytes aren't known here: 0."""
    longest = max((len(example.tokens) for example in examples), default=1)
    loss_sum, tokens = 0.0, 0
    batches: list[Batch] = [batch for _, batch in in_order(examples, pad_id, max(1, BATCH_TOKENS // longest))]
    for batch in batches:
        tick()
        loss_sum += next_token(model, batch.to(device)).item()
        tokens += batch.valid
    return LanguageModelLoss(loss_sum, tokens, 0)


def unigram_bits_per_byte(train: np.ndarray, validation: np.ndarray, validation_bytes: int) -> float:
    """A model that knows how frequent each symbol is in the train split and nothing else, with add-one smoothing.

    Args:
        train, validation: (symbols,) how often each token, or byte, occurs.
    """
    counts = train + 1.0
    nats = -np.log(counts / counts.sum())
    return bits_per_byte(float(nats @ validation), validation_bytes)


def xz_bytes(content: bytes) -> int:
    """Bytes that `xz -9e` makes of ``content``."""
    return len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def zstd_bytes(content: bytes) -> int:
    """Bytes that `zstd -19` makes of ``content``."""
    import pyarrow as pa

    return len(pa.Codec("zstd", compression_level=19).compress(content, asbytes=True))
