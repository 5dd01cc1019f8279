"""What a tokenizer makes of text, in numbers that can be compared and examples that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_core.tokenizer.encode import Tokenizer


def tokenizer_report(tokenizer: Tokenizer, texts: Sequence[str], *, examples: int = 3) -> dict[str, Any]:
    """Measure ``tokenizer`` on ``texts``, best on text that it wasn't trained on.

    Returns:
        ``bytes_per_token`` (higher: shorter sequences), ``tokens_per_word`` (whitespace words), ``vocabulary_used``
        (share of the entries that occur), the longest tokens, and the segmentation of some texts.
    """
    encoded = tokenizer.encode_batch(list(texts))
    tokens = sum(map(len, encoded))
    size = sum(len(text.encode()) for text in texts)
    words = sum(len(text.split()) for text in texts)
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for ids in encoded:
        np.add.at(counts, ids, 1)
    longest = sorted(range(tokenizer.vocab_size), key=lambda i: (-len(tokenizer.bytes_of[i]), i))[:20]
    frequent = sorted(range(tokenizer.vocab_size), key=lambda i: (-counts[i], i))[:20]
    return {
        "vocab_size": tokenizer.vocab_size,
        "digest": tokenizer.digest,
        "texts": len(texts),
        "bytes": size,
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 4) if tokens else 0.0,
        "tokens_per_word": round(tokens / words, 4) if words else 0.0,
        "vocabulary_used": round(float((counts > 0).sum()) / tokenizer.vocab_size, 4),
        "unknown": 0,  # never: every byte is a token
        "longest_tokens": [tokenizer.decode([i]) for i in longest],
        "most_frequent_tokens": [tokenizer.decode([i]) for i in frequent],
        "examples": [segmentation(tokenizer, text[:200]) for text in texts[:examples]],
    }


def segmentation(tokenizer: Tokenizer, text: str) -> list[str]:
    """``text`` cut where the tokenizer cuts it; half characters show as U+FFFD."""
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]
