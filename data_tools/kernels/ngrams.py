"""Looking for word n-grams in texts: a rolling hash over the hashes of words, and a table of those that are sought.

What a word is, and its hash, comes from ``data_tools.kernels.words``. An n-gram w1..wn has the hash
sum(w_i * M^(n-i)) modulo 2^64. A bit table (a Bloom filter with one hash function) answers for nearly all n-grams that
aren't there; what passes it is looked up, and what is found is compared word by word.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from data_tools.kernels.characters import MARK, UNSEGMENTED, WORD, decode
from data_tools.kernels.words import BLOCK, scan_words

#: Odd, so that multiplying by it loses nothing modulo 2^64.
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_63 = np.uint64(63)
_6 = np.uint64(6)
_1 = np.uint64(1)
# Hashes of words at a time: they and the bit table should stay in the second-level cache.
_WORDS = 8_192


@njit
def _power(words):  # type: ignore[no-untyped-def]
    power = np.uint64(1)
    for _ in range(words):
        power *= MULTIPLIER
    return power


@njit
def _any_sought(hashes, count, window, bits, shift, keys, lengths, full):  # type: ignore[no-untyped-def]
    """Whether one of the sought n-grams (by their hashes) ends somewhere in ``hashes[:count]``."""
    power = _power(window)
    h = np.uint64(0)
    for last in range(count):
        h = h * MULTIPLIER + hashes[last]
        if last >= window:
            h -= hashes[last - window] * power
        place = h >> shift
        if not (bits[np.int64(place >> _6)] >> (place & _63)) & _1 or last < window - 1:
            continue
        at = np.searchsorted(keys, h)
        while at < len(keys) and keys[at] == h:
            words = lengths[at]
            if words <= last + 1:
                whole = np.uint64(0)
                for i in range(last - words + 1, last + 1):
                    whole = whole * MULTIPLIER + hashes[i]
                if whole == full[at]:
                    return True
            at += 1
    return False


@njit(cache=True, nogil=True)
def texts_with_ngrams(  # type: ignore[no-untyped-def]
    data, offsets, flags, lower, longest, window, bits, shift, keys, lengths, full, met
):
    """Or into ``met`` whether each text has one of the sought n-grams, by their hashes.

    Args:
        data, offsets: texts (see ``buffers.text_buffers``).
        longest: words of the longest n-gram.
        window: n-grams are found by the hash of so many words at their ends.
        bits, shift: (2^k / 64,) uint64 with bit ``key >> shift`` set for each key, and 64 - k.
        keys, lengths, full: (n-grams,) sorted: that hash; how many words the n-gram has; the hash of all of them.
        met: (texts,) bool.
    """
    room = _WORDS + BLOCK
    hashes = np.empty(room, dtype=np.uint64)
    for text in range(len(offsets) - 1):
        position, end = offsets[text], offsets[text + 1]
        carried = np.int64(0)
        while position < end and not met[text]:
            position, count = scan_words(data, position, end, flags, lower, hashes, carried, room)
            met[text] = _any_sought(hashes, count, window, bits, shift, keys, lengths, full)
            carried = min(count, longest - 1)
            for i in range(carried):
                hashes[i] = hashes[count - carried + i]


@njit(cache=True, nogil=True)
def words_of(data, position, end, flags, lower, hashes, starts, ends):  # type: ignore[no-untyped-def]
    """The words of ``data[position:end]``: their hashes, first bytes, and the bytes behind them.

    The arrays need a place for every second byte, and ``BLOCK`` more. Returns how many words there are.
    """
    count = 0
    at = position
    while at < end:
        start = at
        code, length = decode(data, at)
        at += length
        flag = flags[code]
        if not flag & WORD:
            continue
        alone = (flag & UNSEGMENTED) != 0
        while at < end:
            code, length = decode(data, at)
            flag = flags[code]
            if not (flag & MARK or (not alone and flag & WORD and not flag & UNSEGMENTED)):
                break
            at += length
        starts[count], ends[count] = start, at
        count += 1
    hashed = np.int64(0)
    while position < end:
        position, hashed = scan_words(data, position, end, flags, lower, hashes, hashed, len(hashes))
    if hashed != count:
        raise AssertionError("two definitions of a word")
    return count


@njit
def _same_word(data, start, end, other, other_start, other_end, lower):  # type: ignore[no-untyped-def]
    while start < end and other_start < other_end:
        code, length = decode(data, start)
        other_code, other_length = decode(other, other_start)
        if lower[code] != lower[other_code]:
            return False
        start += length
        other_start += other_length
    return start == end and other_start == other_end


@njit(cache=True, nogil=True)
def locate(  # type: ignore[no-untyped-def]
    data, hashes, starts, ends, lower, window, keys, firsts, lengths, sought, sought_starts, sought_ends, found
):
    """Where in a text the sought n-grams stand.

    Args:
        data, hashes, starts, ends: the text and its words (see ``words_of``).
        window: how many words of an n-gram the keys are hashes of: all of them, or its last ones.
        keys, firsts, lengths: (n-grams,) sorted hashes; the n-gram's first word among the sought words; how many.
        sought, sought_starts, sought_ends: the sought words.
        found: (places, 3) int64, filled with n-gram, first byte, byte behind it, as far as there is room.

    Returns:
        How many were found, be there room for them or not.
    """
    count = 0
    if len(hashes) < window:
        return count
    power = _power(window)
    h = np.uint64(0)
    for last in range(len(hashes)):
        h = h * MULTIPLIER + hashes[last]
        if last >= window:
            h -= hashes[last - window] * power
        if last < window - 1:
            continue
        at = np.searchsorted(keys, h)
        while at < len(keys) and keys[at] == h:
            words = lengths[at]
            first = last - words + 1
            same = first >= 0
            word = 0
            while same and word < words:
                theirs = firsts[at] + word
                ours = first + word
                same = _same_word(
                    data, starts[ours], ends[ours], sought, sought_starts[theirs], sought_ends[theirs], lower
                )
                word += 1
            if same:
                if count < len(found):
                    found[count, 0] = at
                    found[count, 1] = starts[first]
                    found[count, 2] = ends[last]
                count += 1
            at += 1
    return count
