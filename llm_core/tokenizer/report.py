"""What a tokenizer makes of text, in numbers that can be compared and examples that can be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_core.config import TokenizerConfig
from llm_core.tokenizer import peers
from llm_core.tokenizer.encode import Tokenizer

#: Name of all texts together, where others have a language.
ALL = "all"
#: What texts of no known language are called.
UNKNOWN_LANGUAGE = "und"
#: The languages with most text get a row of their own.
MOST_LANGUAGES = 12


@dataclass(frozen=True)
class HeldOut:
    """Texts that no tokenizer was trained on; ``languages[i]`` is that of ``texts[i]``, or None."""

    texts: Sequence[str]
    languages: Sequence[str | None]

    def by_language(self) -> dict[str, list[int]]:
        """Numbers of the texts of each language, that with most text first; only ``ALL`` where there is but one."""
        found: dict[str, list[int]] = {}
        for number, language in enumerate(self.languages):
            found.setdefault(language or UNKNOWN_LANGUAGE, []).append(number)
        if len(found) < 2:
            return {ALL: list(range(len(self.texts)))}
        size = {language: sum(len(self.texts[n].encode()) for n in numbers) for language, numbers in found.items()}
        most = sorted(found, key=lambda language: (-size[language], language))[:MOST_LANGUAGES]
        return {ALL: list(range(len(self.texts)))} | {language: found[language] for language in most}


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
        counts += np.bincount(ids, minlength=tokenizer.vocab_size)
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


def comparison(
    tokenizer: Tokenizer, config: TokenizerConfig, sample: Sequence[str], held_out: HeldOut
) -> dict[str, Any]:
    """Ours beside other kinds of tokenizers with as many entries.

    Args:
        sample: what the others are trained on, a part of what ours was; some 500 kB, so that they take a second or two.

    Returns:
        ``rows``: one for each tokenizer and language; ``absent``: why others are missing; ``sample_bytes``.
    """
    makers: list[Callable[[], peers.Contender]] = [
        lambda: peers.ours("ours", tokenizer),
        lambda: peers.byte_level_bpe(sample, config),
        lambda: peers.sentencepiece(sample, config, "bpe"),
        lambda: peers.sentencepiece(sample, config, "unigram"),
        lambda: peers.words(sample, config),
        peers.gpt2,
    ]
    rows: list[dict[str, Any]] = []
    absent: list[str] = []
    for make in makers:
        try:
            rows += _rows(make(), held_out)
        except peers.Absent as reason:
            if str(reason) not in absent:
                absent.append(str(reason))
        except Exception as error:  # someone else's library; ours is trained and saved by now
            absent.append(f"a tokenizer failed ({type(error).__name__}: {error})")
    return {"rows": rows, "absent": absent, "sample_bytes": sum(len(text.encode()) for text in sample)}


def _rows(contender: peers.Contender, held_out: HeldOut) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    counts = contender.count(held_out.texts)
    seconds = time.perf_counter() - begin
    rows = []
    for language, numbers in held_out.by_language().items():
        size = sum(len(held_out.texts[n].encode()) for n in numbers)
        words = sum(len(held_out.texts[n].split()) for n in numbers)
        tokens = sum(counts[n][0] for n in numbers)
        row = {
            "tokenizer": contender.name,
            "vocab_size": contender.vocab_size,
            "language": language,
            "bytes": size,
            "tokens": tokens,
            "bytes_per_token": round(size / tokens, 4) if tokens else 0.0,
            "tokens_per_word": round(tokens / words, 4) if words else 0.0,
            "unknown_share": round(sum(counts[n][1] for n in numbers) / tokens, 6) if tokens else 0.0,
        }
        if language == ALL:
            row["megabytes_per_second"] = round(size / 1e6 / max(seconds, 1e-9), 2)
        rows.append(row)
    return rows
