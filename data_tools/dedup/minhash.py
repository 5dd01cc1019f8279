"""MinHash signatures (Broder 1997) and their bands (locality-sensitive hashing).

The i-th value of a signature is the least value of the i-th permutation over a text's shingles. Two texts agree in one
value with probability J, their Jaccard similarity; so the share of values that agree estimates J, and a band of r
values that agree as a whole makes a pair a candidate: with b bands that happens with probability 1 - (1 - J^r)^b.

The permutations are those of datasketch's ``MinHash(scheme="affine32")``: the 32-bit shingle hash is mixed once by
MurmurHash3's finalizer, then permutation k is a_k * h + b_k modulo 2^32 with a_k odd, a bijection. Signatures are
bit-identical to datasketch's (tested), a matrix at a time instead of an object a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from data_tools.dedup.shingles import Shingles

Signature: TypeAlias = npt.NDArray[np.uint32]

# Shingles at a time: 112 permutations of 2,048 values of 4 bytes fit the second-level cache.
_CHUNK = 2_048
_EMPTY = np.uint32(0xFFFFFFFF)


def hash32(shingles: Shingles) -> npt.NDArray[np.uint32]:
    """The upper half of the 64-bit shingle hashes: what the permutations work on."""
    return (shingles >> np.uint64(32)).astype(np.uint32)


class MinHasher:
    """``permutations`` hash functions drawn from ``seed``."""

    def __init__(self, permutations: int, seed: int) -> None:
        generator = np.random.RandomState(seed)
        multipliers = generator.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        offsets = generator.randint(0, 1 << 32, permutations, dtype=np.uint32)
        self._a = multipliers[:, None]  # (permutations, 1)
        self._b = offsets[:, None]
        self._buffer = np.empty((permutations, _CHUNK), dtype=np.uint32)

    def signature(self, shingles: Shingles) -> Signature:
        """(permutations,) uint32 of one text; all 0xFFFFFFFF for a text without shingles."""
        mixed = _murmur3_finalizer(hash32(shingles))
        least = np.full(len(self._a), _EMPTY, dtype=np.uint32)
        for start in range(0, len(mixed), _CHUNK):
            chunk = mixed[start : start + _CHUNK]
            permuted = self._buffer[:, : len(chunk)]  # (permutations, chunk)
            np.multiply(self._a, chunk, out=permuted)  # wraps around: the modulo 2^32 that is meant
            np.add(permuted, self._b, out=permuted)
            np.minimum(least, permuted.min(axis=1), out=least)
        return least

    def signatures(self, texts: Sequence[Shingles]) -> npt.NDArray[np.uint32]:
        """(texts, permutations) uint32."""
        result = np.empty((len(texts), len(self._a)), dtype=np.uint32)
        for row, shingles in enumerate(texts):
            result[row] = self.signature(shingles)
        return result


def _murmur3_finalizer(h: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def estimated_jaccard(signature: Signature, others: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Share of agreeing values between one signature and each row of ``others`` (n, permutations): (n,)."""
    return (others == signature).mean(axis=1)


def band_keys(signatures: npt.NDArray[np.uint32], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """(n, bands) uint64: a hash of each band's ``rows`` values. Equal bands have equal keys; that unequal ones meet
    too (2^-64) does no harm, since candidates are verified."""
    banded = signatures.reshape(len(signatures), bands, rows)
    keys = np.zeros((len(signatures), bands), dtype=np.uint64)
    for row in range(rows):
        keys = (keys ^ banded[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys
