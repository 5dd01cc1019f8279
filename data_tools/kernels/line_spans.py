"""The lines of a column of texts, found once and read by every kernel that works on lines.

Lines are told apart by a 64-bit hash of their bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_tools.kernels.blocks import BLOCK, address_of, first_bits, load_eight, ones, padded_buffers, within
from data_tools.kernels.buffers import Bytes, Offsets
from data_tools.kernels.characters import SPACE, character_flags, decode

_NEWLINE = 0x0A
# A hash takes eight bytes at a time, and a mixer at the end.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _EIGHT, _64 = np.uint64(0), np.uint64(8), np.uint64(64)


class LineSpans(NamedTuple):
    """Lines ``first[i]`` to ``first[i + 1]`` are those of text ``i``, split at ``\\n``; an empty text has one."""

    data: Bytes  # with the room behind it that kernels.blocks asks for
    offsets: Offsets
    first: npt.NDArray[np.int64]  # (texts + 1,)
    starts: npt.NDArray[np.int64]  # (lines,) bytes in data
    ends: npt.NDArray[np.int64]
    chars: npt.NDArray[np.int64]  # length in characters
    blank: npt.NDArray[np.bool_]  # nothing but white space
    hashes: npt.NDArray[np.uint64]
    text_chars: npt.NDArray[np.int64]  # (texts,) characters of each text, line breaks included


def find_lines(column: pa.ChunkedArray | pa.Array, stripped: bool) -> LineSpans:
    """The lines of every text, without the white space around them if they are to be ``stripped``."""
    data, offsets = padded_buffers(column)
    texts = len(offsets) - 1
    breaks = np.flatnonzero(data[offsets[0] : offsets[-1]] == _NEWLINE) + offsets[0]
    room = len(breaks) + texts
    lines = LineSpans(
        data,
        offsets,
        first=np.zeros(texts + 1, dtype=np.int64),
        starts=np.empty(room, dtype=np.int64),
        ends=np.empty(room, dtype=np.int64),
        chars=np.empty(room, dtype=np.int64),
        blank=np.empty(room, dtype=np.bool_),
        hashes=np.empty(room, dtype=np.uint64),
        text_chars=np.empty(texts, dtype=np.int64),
    )
    _find(character_flags(), stripped, breaks, *lines)
    return lines


@njit(cache=True, nogil=True)
def mix(value):  # type: ignore[no-untyped-def]
    """Spread a 64-bit number over all its bits."""
    value ^= value >> _HALF
    value *= _MIX
    return value ^ (value >> _HALF)


@njit(cache=True, nogil=True)
def hash_bytes(data, start, end):  # type: ignore[no-untyped-def]
    """64 bits that stand for ``data[start:end]``."""
    at, left = address_of(data) + np.uint64(start), np.uint64(end - start)
    value = left * _MIX  # zeros at the end fill up the last eight
    while left > _EIGHT:
        value = (value ^ load_eight(at)) * _FACTOR
        value ^= value >> _HALF
        at += _EIGHT
        left -= _EIGHT
    if left:
        value = (value ^ (load_eight(at) & (_ONES >> (_64 - _EIGHT * left)))) * _FACTOR
    return mix(value)


@njit(cache=True, nogil=True)
def count_characters(data, start, end):  # type: ignore[no-untyped-def]
    """Code points in ``data[start:end]``: the bytes that don't go on with one."""
    base = address_of(data)
    count = end - start
    for position in range(start, end, BLOCK):
        continuing = within(base + np.uint64(position), 0x80, 0xBF) & first_bits(end - position)
        count -= np.int64(ones(continuing))
    return count


@njit(cache=True, nogil=True)
def skip_space(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Where the first character of ``data[start:end]`` that is no white space begins; ``end`` if there is none."""
    while start < end:
        code = np.int64(data[start])
        size = 1
        if code >= 0x80:
            code, size = decode(data, start)
        if not flags[code] & SPACE:
            break
        start += size
    return start


@njit(cache=True, nogil=True)
def skip_space_back(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Behind the last character of ``data[start:end]`` that is no white space; ``start`` if there is none."""
    while end > start:
        position = end - 1
        while position > start and data[position] & 0xC0 == 0x80:
            position -= 1
        code, _ = decode(data, position)
        if not flags[code] & SPACE:
            break
        end = position
    return end


@njit(cache=True, nogil=True)
def _find(flags, stripped, breaks, data, offsets, first, starts, ends, chars, blank, hashes, text_chars):  # type: ignore[no-untyped-def]
    count, breaks_seen = 0, 0
    for text in range(len(offsets) - 1):
        first[text] = count
        start, text_end = offsets[text], offsets[text + 1]
        total = 0
        while True:
            end = text_end
            if breaks_seen < len(breaks) and breaks[breaks_seen] < text_end:
                end = breaks[breaks_seen]
                breaks_seen += 1
            content, content_end = skip_space(data, start, end, flags), end
            length = count_characters(data, content, end)
            total += length + int(end < text_end)
            if content > start:
                before = count_characters(data, start, content)
                total += before
                length += 0 if stripped else before
            if stripped:
                content_end = skip_space_back(data, content, end, flags)
                if content_end < end:
                    length -= count_characters(data, content_end, end)
            starts[count] = content if stripped else start
            ends[count] = content_end
            chars[count] = length
            blank[count] = content >= end
            hashes[count] = hash_bytes(data, starts[count], content_end)
            count += 1
            start = end + 1
            if end >= text_end:
                break
        text_chars[text] = total
    first[len(offsets) - 1] = count
