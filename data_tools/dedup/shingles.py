"""A text as the set of its word n-grams (shingles; Broder 1997), each named by a 64-bit hash.

The definition is our own and has golden vectors in the tests, since libraries change theirs: lower-cased runs of
letters, digits and underscores of any script are the words, so two renderings of a text that differ in punctuation,
line breaks or markup have (nearly) the same shingles.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

#: Raised when the same text would get other shingles.
SHINGLE_VERSION = 1

Shingles: TypeAlias = npt.NDArray[np.uint64]

_WORD = re.compile(r"\w+")
# Odd, so that multiplying by it loses nothing modulo 2^64 (the golden ratio's bits, as in Fibonacci hashing).
_MULTIPLIER = 0x9E3779B97F4A7C15


class ShingleHasher:
    """Texts to sorted arrays of distinct shingle hashes.

    A shingle of words w1..wn has the hash sum(xxh3_64(w_i) * M^(n-i)) mod 2^64: the word hashes are random and M is
    odd, so that two different shingles collide with probability 2^-64, and the sum is one vector operation per word
    position. Hashes of words are remembered (bounded), since most words of a text were met before.
    """

    _REMEMBERED_WORDS = 1_000_000

    def __init__(self, shingle_words: int) -> None:
        self.shingle_words = shingle_words
        self._word_hashes: dict[str, int] = {}
        self._powers = np.array(
            [pow(_MULTIPLIER, shingle_words - 1 - i, 2**64) for i in range(shingle_words)], dtype=np.uint64
        )

    def shingles(self, text: str) -> Shingles:
        """The distinct shingles of a text, sorted, uint64. A text shorter than one shingle is one shingle of all its
        words; a text without words has none."""
        hashes = self._hash_words(_WORD.findall(text.lower()))
        n = min(self.shingle_words, len(hashes))
        if n == 0:
            return hashes
        windows = len(hashes) - n + 1
        total = np.zeros(windows, dtype=np.uint64)
        for i, power in enumerate(self._powers[-n:]):
            total += hashes[i : i + windows] * power
        return np.unique(total)

    def _hash_words(self, words: list[str]) -> Shingles:
        known = self._word_hashes
        if len(known) > self._REMEMBERED_WORDS:
            known.clear()
        for word in set(words).difference(known):
            known[word] = xxhash.xxh3_64_intdigest(word.encode())
        return np.fromiter(map(known.__getitem__, words), dtype=np.uint64, count=len(words))


def jaccard(a: Shingles, b: Shingles) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted arrays of distinct values; two empty sets are unlike."""
    if not len(a) or not len(b):
        return 0.0
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
