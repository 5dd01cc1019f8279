"""MinHash signatures (Broder 1997) and their bands (locality-sensitive hashing).

The i-th value of a signature is the least value of the i-th permutation over a text's shingles. Two texts agree in one
value with probability J, their Jaccard similarity; so the share of values that agree estimates J, and a band of r
values that agree as a whole makes a pair a candidate: with b bands that happens with probability 1 - (1 - J^r)^b.

The permutations are those of datasketch's ``MinHash(scheme="affine32")``: the 32-bit shingle hash is mixed once by
MurmurHash3's finalizer, then permutation k is a_k * h + b_k modulo 2^32 with a_k odd, a bijection. Signatures are
bit-identical to datasketch's (tested), a column of texts at a time instead of an object a document.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_tools.dedup.shingles import Shingles, most_shingles, read_only
from data_tools.kernels import minhash as kernels
from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.characters import character_flags, lower_case

Signature: TypeAlias = npt.NDArray[np.uint32]


def hash32(shingles: Shingles) -> npt.NDArray[np.uint32]:
    """The upper half of the 64-bit shingle hashes: what the permutations work on."""
    return (shingles >> np.uint64(32)).astype(np.uint32)


class MinHasher:
    """``permutations`` hash functions drawn from ``seed``, over shingles of ``shingle_words`` words."""

    def __init__(self, permutations: int, seed: int, shingle_words: int) -> None:
        generator = np.random.RandomState(seed)
        self._a = generator.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        self._b = generator.randint(0, 1 << 32, permutations, dtype=np.uint32)
        self._shingle_words = shingle_words

    def signatures(self, column: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Signatures of a column of texts, and how many shingles each has (repeated ones included).

        Returns:
            ``(signatures, counts)``: (texts, permutations) uint32, all 0xFFFFFFFF for a text without words; (texts,)
            int64.
        """
        signatures, counts, _, _ = self._signatures(column, 0)
        return signatures, counts

    def signatures_and_sketches(
        self, column: pa.ChunkedArray | pa.Array, bound: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], Shingles, npt.NDArray[np.int64]]:
        """The same and, in the same pass, those shingles whose mixed hash is below ``bound`` (`sketches.sketch_bound`).

        Returns:
            ``(signatures, counts, sketches, ends)``: the distinct ones of text i are, sorted,
            ``sketches[ends[i - 1]:ends[i]]``; those of the first begin at 0.
        """
        signatures, counts, sketches, ends = self._signatures(column, bound)
        for start, end in pairwise([0, *ends.tolist()]):
            sketches[start:end].sort()
        kernels.drop_repeats(sketches, ends)
        return signatures, counts, sketches[: ends[-1] if len(ends) else 0].copy(), ends

    def _signatures(
        self, column: pa.ChunkedArray | pa.Array, bound: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], Shingles, npt.NDArray[np.int64]]:
        data, offsets = (read_only(buffer) for buffer in text_buffers(column))
        signatures = np.empty((len(offsets) - 1, len(self._a)), dtype=np.uint32)
        counts, ends = np.empty((2, len(offsets) - 1), dtype=np.int64)
        # Memory that isn't written to isn't taken.
        sketches = np.empty(most_shingles(offsets) if bound else 0, dtype=np.uint64)
        kernels.signatures(
            data,
            offsets,
            character_flags(),
            lower_case(),
            self._shingle_words,
            self._a,
            self._b,
            signatures,
            counts,
            np.uint64(bound),
            sketches,
            ends,
        )
        return signatures, counts, sketches, ends


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
