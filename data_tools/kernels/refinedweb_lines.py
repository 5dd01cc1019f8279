"""RefinedWeb's line rules as DCLM has them (``filters.refinedweb``): one pass that judges every line and writes down
what stays."""

from __future__ import annotations

import numpy as np
from numba import njit

from data_tools.kernels.c4_lines import count_words, move_back
from data_tools.kernels.characters import DIGIT, SPACE, UPPER, WORD, decode
from data_tools.kernels.line_spans import skip_space, skip_space_back
from data_tools.kernels.phrases import stands_at

#: Columns of the counts: lines that went, and places cut out of lines that stay.
UPPERCASE, NUMERIC, COUNTER, FEW_WORDS, PHRASE = range(5)

_NEWLINE, _COMMA, _DOT = 0x0A, 0x2C, 0x2E
_MAX_PHRASE_WORDS = 10

_ITEMS_IN_CART = np.frombuffer(b"items in cart", dtype=np.uint8)
_READ_MORE = np.frombuffer(b"read more...", dtype=np.uint8)
_SIGN_IN = np.frombuffer(b"sign-in", dtype=np.uint8)
# What is counted, one behind the other with a blank behind each.
_COUNTED = np.frombuffer(
    b"likes shares comments retweets reposts quotes bookmarks upvotes downvotes downloads views followers ",
    dtype=np.uint8,
)


@njit(cache=True, nogil=True)
def _counted_word(data, start, end):  # type: ignore[no-untyped-def]
    """Bytes of the counted word that begins at ``start``, 0 if none does."""
    first = 0
    for index in range(len(_COUNTED)):
        if _COUNTED[index] == 0x20:
            if stands_at(data, start, start, end, _COUNTED[first:index]):
                return index - first
            first = index + 1
    return 0


@njit(cache=True, nogil=True)
def _is_counter(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Whether the line is a number, perhaps with K, M or B, and what is counted; with symbols around it."""
    position = start
    while position < end:
        code, size = decode(data, position)
        if flags[code] & WORD:
            break
        position += size
    digits = 0
    while position < end:
        code, size = decode(data, position)
        if not (flags[code] & DIGIT or (digits and code in (_COMMA, _DOT))):
            break
        digits += 1
        position += size
    if digits == 0 or position >= end:
        return False
    unit = data[position] | 0x20
    if unit == 0x6B or unit == 0x6D or unit == 0x62:  # k, m, b
        position += 1
    content = skip_space(data, position, end, flags)
    if content == position:
        return False
    length = _counted_word(data, content, end)
    if length == 0:
        return False
    position = content + length
    while position < end:
        code, size = decode(data, position)
        if flags[code] & WORD:
            return False
        position += size
    return True


@njit(cache=True, nogil=True)
def _blank_before(data, start, position, flags):  # type: ignore[no-untyped-def]
    """``position``, or one character before it if that is white space."""
    if position > start:
        before = position - 1
        while before > start and data[before] & 0xC0 == 0x80:
            before -= 1
        code, _ = decode(data, before)
        if flags[code] & SPACE:
            return before
    return position


@njit(cache=True, nogil=True)
def _cut_phrases(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Cut the phrases out of ``data[start:end]``, in place; return where it ends then, and how many there were."""
    cut = 0
    position = write = behind_cut = start
    while position < end:
        if stands_at(data, position, start, end, _ITEMS_IN_CART):
            if position > behind_cut:
                write = _blank_before(data, start, write, flags)
            position += len(_ITEMS_IN_CART)
            behind_cut = position
            cut += 1
        else:
            data[write] = data[position]
            write += 1
            position += 1
    if stands_at(data, write - len(_READ_MORE), start, write, _READ_MORE):
        write = _blank_before(data, start, write - len(_READ_MORE), flags)
        cut += 1
    if stands_at(data, start, start, write, _SIGN_IN):
        position = start + len(_SIGN_IN)
        if position < write:
            code, size = decode(data, position)
            if flags[code] & SPACE:
                position += size
        write = move_back(data, position, write, start)
        cut += 1
    return write, cut


@njit(cache=True, nogil=True)
def apply_line_rules(data, offsets, flags, kept, kept_offsets, counts):  # type: ignore[no-untyped-def]
    """Write what stays of the texts to ``kept`` (as large as all of them, and ``blocks.REACH``), where each of them
    begins to ``kept_offsets``; fill ``counts`` (texts, 5)."""
    write = np.int64(0)
    for text in range(len(offsets) - 1):
        kept_offsets[text] = write
        text_start = write
        lines = 0
        start, end = offsets[text], offsets[text + 1]
        while start <= end:
            chars, upper, digits = 0, 0, 0
            stop = start
            begin = write + int(lines > 0)
            tail = begin
            while stop < end and data[stop] != _NEWLINE:
                code = np.int64(data[stop])
                size = 1
                if code >= 0x80:
                    code, size = decode(data, stop)
                flag = flags[code]
                chars += 1
                upper += int(flag & UPPER != 0)
                digits += int(flag & DIGIT != 0)
                for _ in range(size):
                    kept[tail] = data[stop]
                    tail += 1
                    stop += 1
            start = stop + 1
            if chars:
                if 2 * upper > chars:
                    counts[text, UPPERCASE] += 1
                    continue
                if digits == chars:
                    counts[text, NUMERIC] += 1
                    continue
                if _is_counter(kept, begin, tail, flags):
                    counts[text, COUNTER] += 1
                    continue
                words = count_words(kept, begin, tail, flags)
                if words < 2:
                    counts[text, FEW_WORDS] += 1
                    continue
                if words <= _MAX_PHRASE_WORDS:
                    tail, cut = _cut_phrases(kept, begin, tail, flags)
                    counts[text, PHRASE] += cut
                    if cut and skip_space(kept, begin, tail, flags) == tail:
                        continue
            if lines:
                kept[write] = _NEWLINE
            lines += 1
            write = tail
        write = skip_space_back(kept, text_start, write, flags)
        content = skip_space(kept, text_start, write, flags)
        if content > text_start:
            write = move_back(kept, content, write, text_start)
    kept_offsets[len(offsets) - 1] = write
