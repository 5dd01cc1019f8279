"""Words to shingles, shingles to MinHash signatures: one pass over a column of texts.

A shingle of the words w1..wn has the hash ``sum(h(w_i) * M^(n-i))`` modulo 2^64, which leads from one shingle to the
next in two multiplications. Its upper half is what the permutations work on (`data_tools.dedup.minhash`). All that a
text needs lies in two small buffers, whatever its length.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from data_tools.kernels.words import BLOCK, scan_words

# Odd, so that multiplying by it loses nothing modulo 2^64.
_M = np.uint64(0x9E3779B97F4A7C15)
# Shingles at a time: they and one permutation of them stay in the first-level cache.
_CHUNK = 2_048
# The loop over shingles takes this many at once (four vectors of eight). A chunk is filled up to a multiple of it with
# copies, which changes no minimum and spares texts of a few shingles the slow rest of the loop.
_LANES = 32
_EMPTY = np.uint32(0xFFFFFFFF)


@njit(inline="always")
def _murmur3_finalizer(h):  # type: ignore[no-untyped-def]
    # Every step is cast: numba makes 64 bits of a product of two 32-bit integers.
    h = uint32(h ^ uint32(h >> uint32(16)))
    h = uint32(h * uint32(0x85EBCA6B))
    h = uint32(h ^ uint32(h >> uint32(13)))
    h = uint32(h * uint32(0xC2B2AE35))
    return uint32(h ^ uint32(h >> uint32(16)))


@njit(inline="always")
def _fold(words, first, size):  # type: ignore[no-untyped-def]
    """The hash of the shingle ``words[first:first + size]``."""
    h = uint64(0)
    for i in range(first, first + size):
        h = h * _M + words[i]
    return h


@njit(inline="always")
def _power(exponent):  # type: ignore[no-untyped-def]
    value = uint64(1)
    for _ in range(exponent):
        value *= _M
    return value


@njit(cache=True, nogil=True)
def signatures(  # type: ignore[no-untyped-def]
    data, offsets, flags, lower, shingle_words, a, b, out, counts, bound, sketches, ends
):
    """MinHash signatures of a column of texts, and those shingles whose mixed hash is below ``bound``.

    Args:
        data, offsets: `kernels.buffers.text_buffers`.
        a, b: (permutations,) uint32: permutation k of a mixed hash h is ``a[k] * h + b[k]`` modulo 2^32.
        out: (texts, permutations) uint32, written. All 0xFFFFFFFF for a text without words.
        counts: (texts,) int64, written: shingles of each text, repeated ones included.
        bound: uint64. 0 for none, 2^32 for all.
        sketches: uint64, written one text after the other, repeated ones included; a place for every shingle that may
            be below the bound.
        ends: (texts,) int64, written: where those of each text end.
    """
    bound = uint64(bound)
    kept = 0
    overlap = shingle_words - 1
    room = overlap + _CHUNK + BLOCK
    words = np.empty(room, dtype=np.uint64)
    mixed = np.empty(_CHUNK + BLOCK + _LANES, dtype=np.uint32)
    leading = _power(overlap)
    permutations = len(a)
    for text in range(len(offsets) - 1):
        least = out[text]
        least[:] = _EMPTY
        counts[text] = 0
        position, end = offsets[text], offsets[text + 1]
        held = 0
        while position < end:
            position, held = scan_words(data, position, end, flags, lower, words, held, room)
            size = held - overlap
            if size <= 0:
                if position < end or held == 0 or counts[text] > 0:
                    continue
                # Shorter than a shingle: one of all its words.
                h = _fold(words, 0, held)
                size = 1
            else:
                h = _fold(words, 0, shingle_words)
            mixed[0] = _murmur3_finalizer(uint32(h >> uint64(32)))
            if uint64(mixed[0]) < bound:
                sketches[kept] = h
                kept += 1
            for i in range(1, size):
                h = (h - words[i - 1] * leading) * _M + words[i + overlap]
                mixed[i] = _murmur3_finalizer(uint32(h >> uint64(32)))
                if uint64(mixed[i]) < bound:
                    sketches[kept] = h
                    kept += 1
            for i in range(overlap):
                words[i] = words[size + i]
            held = overlap
            counts[text] += size
            padded = (size + _LANES - 1) // _LANES * _LANES
            for i in range(size, padded):
                mixed[i] = mixed[0]
            for k in range(permutations):
                multiplier, offset = a[k], b[k]
                minimum = least[k]
                for i in range(padded):
                    minimum = min(minimum, uint32(uint32(multiplier * mixed[i]) + offset))
                least[k] = minimum
        ends[text] = kept


@njit(cache=True, nogil=True)
def shingles(data, offsets, flags, lower, shingle_words, out, ends):  # type: ignore[no-untyped-def]
    """The shingle hashes of a column of texts one after the other, in the order of the texts, repeated ones included.

    Args:
        out: uint64, written; one place for every two bytes of text and ``BLOCK`` more are enough.
        ends: (texts,) int64, written: where the shingles of each text end in ``out``.
    """
    overlap = shingle_words - 1
    leading = _power(overlap)
    room = len(out)
    count = 0
    for text in range(len(offsets) - 1):
        _, end = scan_words(data, offsets[text], offsets[text + 1], flags, lower, out, count, room)
        size = end - count - overlap
        if size > 0:
            # In place: the shingle takes the place of its first word, which is needed once more for the next.
            h = _fold(out, count, shingle_words)
            for i in range(count, count + size):
                first = out[i]
                out[i] = h
                if i + 1 < count + size:
                    h = (h - first * leading) * _M + out[i + shingle_words]
            count += size
        elif end > count:
            out[count] = _fold(out, count, end - count)
            count += 1
        ends[text] = count


@njit(cache=True, nogil=True)
def drop_repeats(values, ends):  # type: ignore[no-untyped-def]
    """Of several sorted runs, each up to its end in ``ends``, leave each value of a run once. Both arrays are changed;
    what is left lies in ``values[:ends[-1]]``."""
    kept = start = 0
    for run in range(len(ends)):
        end = ends[run]
        for i in range(start, end):
            if i == start or values[i] != values[i - 1]:
                values[kept] = values[i]
                kept += 1
        start = end
        ends[run] = kept


@njit(cache=True, nogil=True)
def shared_values(a, b):  # type: ignore[no-untyped-def]
    """How many values two sorted arrays of distinct uint64 have in common."""
    i = j = shared = 0
    while i < len(a) and j < len(b):
        left, right = a[i], b[j]
        # Steps by comparison results and not by branches, which no processor could foresee.
        shared += left == right
        i += left <= right
        j += right <= left
    return shared
