"""The order of training rows as a function, not an iterator.

Row number i of epoch e is a keyed permutation of i: computed for any i at once, in constant memory. So the loader's
whole state is one integer, and a resumed or resized run sees exactly the rows that an unbroken one sees.
"""

from __future__ import annotations

import hashlib

import numpy as np

ROUNDS = 6


def permute(seed: int, epoch: int, index: int, n: int) -> int:
    """Where ``index`` goes when ``range(n)`` is shuffled for this ``seed`` and ``epoch``.

    A Feistel network (Luby & Rackoff 1988) permutes the smallest 4^k >= n; a result that is not below n is sent
    through again ("cycle walking", Black & Rogaway 2002) until it is, which takes under four rounds on average.

    Args:
        index: 0 <= index < n.

    Returns:
        An integer in ``range(n)``; for fixed ``seed``, ``epoch`` and ``n`` a bijection.
    """
    if not 0 <= index < n:
        raise ValueError(f"index {index} is outside of range({n})")
    half = max(1, ((n - 1).bit_length() + 1) // 2)  # bits of each of the two halves
    mask = (1 << half) - 1
    keys = _round_keys(seed, epoch)
    value = index
    while True:
        left, right = value >> half, value & mask
        for key in keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        value = (left << half) | right
        if value < n:
            return value


def _round_keys(seed: int, epoch: int) -> list[int]:
    digest = hashlib.sha512(f"groundup row order {seed} {epoch}".encode()).digest()
    return [int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(ROUNDS)]


def _mix(x: int) -> int:
    """64 bits in, 64 well stirred bits out (the finalizer of splitmix64, Steele et al. 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)


def permute_many(seed: int, epoch: int, indices: np.ndarray, n: int) -> np.ndarray:
    """:func:`permute` of many ``indices`` at once (int64): the same values, some hundred times faster.

    Raises:
        ValueError: an index is outside of ``range(n)``.
    """
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < n:
        raise ValueError(f"an index is outside of range({n})")
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    keys = np.array(_round_keys(seed, epoch), dtype=np.uint64)
    result = np.empty(len(indices), dtype=np.int64)
    open_ = np.arange(len(indices))  # those that aren't below n yet
    values = indices.astype(np.uint64)
    while len(open_):
        left, right = values >> shift, values & mask
        for key in keys:
            left, right = right, left ^ (_mix_many(right ^ key) & mask)
        values = (left << shift) | right
        done = values < np.uint64(n)
        result[open_[done]] = values[done].astype(np.int64)
        open_, values = open_[~done], values[~done]
    return result


def _mix_many(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # unsigned products wrap around at 2^64
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
