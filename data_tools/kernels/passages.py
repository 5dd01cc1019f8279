"""Lines and paragraphs of texts, each by a hash: where it stands, how often it did before."""

from __future__ import annotations

import numpy as np
from numba import njit

_NEWLINE = np.uint8(10)
_SPACE = np.uint8(32)
_TAB = np.uint8(9)
_RETURN = np.uint8(13)
# FNV-1a's prime, and an odd number of random bits (the golden ratio's): two hashes of 64 bits side by side.
_PRIME = np.uint64(0x100000001B3)
_OTHER = np.uint64(0x9E3779B97F4A7C15)
_BASIS = np.uint64(0xCBF29CE484222325)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_33 = np.uint64(33)


@njit(inline="always")
def _blank(byte):  # type: ignore[no-untyped-def]
    return byte in (_SPACE, _TAB, _RETURN, _NEWLINE)


@njit(inline="always")
def _finish(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> _33)) * _MIX
    return h ^ (h >> _33)


@njit(cache=True, nogil=True)
def find_passages(data, offsets, paragraphs, min_chars, documents, starts, followings, high, low):  # type: ignore[no-untyped-def]
    """Every passage of at least ``min_chars`` characters, in order; blanks around it don't count.

    Args:
        data, offsets: texts (see ``buffers.text_buffers``).
        paragraphs: passages are what stands between blank lines, else single lines.
        documents, starts, followings: int64, filled with each passage's text, its first byte, and where the next
            passage begins (or the text ends). They need a place for each line.
        high, low: uint64, filled with the 128 bits of each passage's hash.

    Returns:
        How many there are.
    """
    count = 0
    for document in range(len(offsets) - 1):
        position, end = offsets[document], offsets[document + 1]
        start = np.int64(-1)  # of the passage that is open
        stop = np.int64(-1)
        previous = np.int64(-1)  # the passage that was closed last, if it is among those that are returned
        while position < end or start >= 0:
            line_end = position
            while line_end < end and data[line_end] != _NEWLINE:
                line_end += 1
            first, last = position, line_end
            while first < last and _blank(data[first]):
                first += 1
            while last > first and _blank(data[last - 1]):
                last -= 1
            if first < last:
                if start < 0:
                    start = position
                    if previous >= 0:
                        followings[previous] = position
                stop = last
            at_end = line_end >= end
            if start >= 0 and (not paragraphs or first >= last or at_end):
                begin = start
                while _blank(data[begin]):
                    begin += 1
                chars = 0
                h, g = _BASIS, _OTHER
                for i in range(begin, stop):
                    byte = data[i]
                    if byte & np.uint8(0xC0) != np.uint8(0x80):
                        chars += 1
                    h = (h ^ np.uint64(byte)) * _PRIME
                    g = (g + np.uint64(byte)) * _OTHER
                    g ^= g >> _33
                previous = np.int64(-1)
                if chars >= min_chars:
                    documents[count], starts[count] = document, start
                    # A line ends with its line break; a paragraph with the blank lines behind it.
                    followings[count] = end if paragraphs else min(line_end + 1, end)
                    high[count], low[count] = _finish(h), _finish(g)
                    if paragraphs:
                        previous = np.int64(count)
                    count += 1
                start = np.int64(-1)
            position = line_end + 1
            if at_end:
                break
    return count


@njit(cache=True, nogil=True)
def count_over(high, low, known_high, known_low, left, over):  # type: ignore[no-untyped-def]
    """Say of each passage whether it is one too many.

    Args:
        high, low: (passages,) their hashes, in order.
        known_high, known_low: (known,) hashes of repeated passages, sorted.
        left: (known,) int64, how often each may still stand; counted down.
        over: (passages,) bool, filled in.
    """
    for passage in range(len(high)):
        over[passage] = False
        at = np.searchsorted(known_high, high[passage])
        while at < len(known_high) and known_high[at] == high[passage]:
            if known_low[at] == low[passage]:
                over[passage] = left[at] <= 0
                left[at] -= 1
                break
            at += 1
