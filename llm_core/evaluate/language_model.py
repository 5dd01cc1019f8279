"""The language model beside its baselines, all on the same held-out documents, all in bits per byte."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from llm_core.evaluate.bits_per_byte import (
    byte_unigram_bits_per_byte,
    loss_on_documents,
    split_tokens,
    token_unigram_bits_per_byte,
    xz_bytes,
    zstd_bytes,
)
from llm_core.model.transformer import Transformer
from llm_core.shards.documents import read_documents
from llm_core.tokenizer.encode import Tokenizer

#: Text that a compressor is shown at most: they are slow, and a longer text hardly changes the ratio.
COMPRESSED_BYTES = 16_000_000


def evaluate_language_model(
    model: Transformer,
    tokenizer: Tokenizer,
    shards: Path,
    documents: Path,
    device: torch.device,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Loss, perplexity and bits per byte on the validation documents, each by itself; baselines with their names.

    `xz_validation`, `zstd_validation`: the validation documents alone, joined by a newline, compressed.
    `xz_after_train`: what the validation documents add to a file that begins with the train documents, so that xz has
    read what the model has read.
    `xz_train_and_validation`: all of that file, per byte of it: the number that `xz -9e corpus.txt` shows.
    `byte_unigram`, `token_unigram`: frequencies of the train split.
    """
    texts: dict[str, list[str]] = {"train": [], "validation": []}
    for piece in read_documents(documents):
        for text, split in zip(piece.texts, piece.splits, strict=True):
            if split in texts:
                texts[split].append(text)
    joined = {split: "\n".join(each).encode() for split, each in texts.items()}
    text_bytes = sum(len(text.encode()) for text in texts["validation"])
    ids = tokenizer.encode_batch(texts["validation"])
    measured = loss_on_documents(model, ids, text_bytes, tokenizer.eot_id, tokenizer.pad_id, device, tick)
    tick()
    train = joined["train"][-COMPRESSED_BYTES:] + b"\n"
    validation = joined["validation"][:COMPRESSED_BYTES]
    with ThreadPoolExecutor(2) as both:  # lzma lets other threads run
        xz_train, xz_all = both.map(xz_bytes, (train, train + validation))
    baselines = {
        "xz_validation": 8 * xz_bytes(validation) / max(1, len(validation)),
        "xz_after_train": 8 * (xz_all - xz_train) / max(1, len(validation)),
        "xz_train_and_validation": 8 * xz_all / len(train + validation),
        "zstd_validation": 8 * zstd_bytes(validation) / max(1, len(validation)),
        "byte_unigram": byte_unigram_bits_per_byte(joined["train"], joined["validation"]),
        "token_unigram": token_unigram_bits_per_byte(
            split_tokens(shards, "train"), split_tokens(shards, "validation"), tokenizer.vocab_size, text_bytes
        ),
    }
    return {
        "split": "validation",
        "documents": len(texts["validation"]),
        "bytes": text_bytes,
        "tokens": measured.tokens,
        "loss": measured.loss,
        "perplexity": measured.perplexity,
        "bits_per_byte": measured.bits_per_byte,
        "baselines": baselines,
    }
