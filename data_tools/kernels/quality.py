"""The signals of Gopher's quality rules in one pass over the bytes and one over the words (``filters.gopher``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.blocks import BLOCK, address_of, equal, load_eight, trailing_zeros, within
from data_tools.kernels.characters import MARK, WORD, character_flags, decode
from data_tools.kernels.line_spans import skip_space, skip_space_back
from data_tools.kernels.word_spans import HAS_LETTER, HAS_LETTER_OR_DIGIT, HAS_OTHER_THAN_SYMBOLS, HAS_SYMBOL, WordSpans

PAPER, DATATROVE, DCLM = 0, 1, 2

SIGNALS = 8

_ZERO, _ONE, _TWO = np.uint64(0), np.uint64(1), np.uint64(2)
_ANY_CASE = np.uint64(0x20202020)

_NEWLINE, _RETURN, _HASH, _DOT, _BLANK = 0x0A, 0x0D, 0x23, 0x2E, 0x20


# A key for each stop word: its bytes, the first lowest, and above them how many they are. A multiplication sends each
# to a place of its own in a table.
_STOP_WORDS = (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with")
_LENGTH_SHIFT, _PLACE_SHIFT = np.uint64(32), np.uint64(60)


def _tables() -> tuple[np.uint64, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The multiplier, and by place: the stop word's key, and a bit for it."""
    words = [int.from_bytes(word, "little") | len(word) << 32 for word in _STOP_WORDS]
    multiplier = 0x9E3779B97F4A7C15
    while len({(word * multiplier % 2**64) >> 60 for word in words}) < len(words):
        multiplier = (multiplier * 0xD1342543DE82EF95 + 2) % 2**64
    keys, bits = np.zeros(16, dtype=np.uint64), np.zeros(16, dtype=np.int64)
    for number, word in enumerate(words):
        place = (word * multiplier % 2**64) >> 60
        keys[place], bits[place] = word, 1 << number
    return np.uint64(multiplier), keys, bits


_MULTIPLIER, _KEYS, _STOP_BITS = _tables()


@njit(cache=True, nogil=True)
def _stop_word(address, length, case):  # type: ignore[no-untyped-def]
    """Which stop word stands in these bytes: a bit of its own for each of the eight, 0 if none.

    ``case`` is 0x20202020 if it doesn't matter (only a letter can become one of a to z by this bit), 0 if it does.
    """
    # Without a branch, which processors would guess wrong for every third word.
    mask = (_ONE << np.uint64(8 * min(length, 4))) - _ONE
    key = ((load_eight(address) | case) & mask) | (np.uint64(length) << _LENGTH_SHIFT)
    place = (key * _MULTIPLIER) >> _PLACE_SHIFT
    return _STOP_BITS[place] * int(_KEYS[place] == key)


@njit(cache=True, nogil=True)
def _is_bullet(code, definition):  # type: ignore[no-untyped-def]
    if code == 0x2022 or code == 0x2D:  # • -
        return True
    if definition == DATATROVE:
        return False
    if code == 0x25CF or code == 0x2A:  # ● *
        return True
    return definition == PAPER and (code == 0x2023 or code == 0x25E6)  # ‣ ◦


@njit(cache=True, nogil=True)
def _ends_with_ellipsis(data, start, end, definition):  # type: ignore[no-untyped-def]
    length = end - start
    if length >= 3 and data[end - 1] == _DOT and data[end - 2] == _DOT and data[end - 3] == _DOT:
        return True
    if length >= 3 and data[end - 1] == 0xA6 and data[end - 2] == 0x80 and data[end - 3] == 0xE2:
        return True
    return (
        definition == DCLM
        and length >= 5
        and data[end - 1] == _DOT
        and data[end - 2] == _BLANK
        and data[end - 3] == _DOT
        and data[end - 4] == _BLANK
        and data[end - 5] == _DOT
    )


@njit(cache=True, nogil=True)
def _next_stop(data, start, end, definition):  # type: ignore[no-untyped-def]
    """Where the next byte stands that there is something to look at; ``end`` if there is none."""
    base = address_of(data)
    for position in range(start, end, BLOCK):
        address = base + np.uint64(position)
        second, third = address + _ONE, address + _TWO
        stops = equal(address, _HASH) | (equal(address, 0xE2) & equal(third, 0xA6))  # …
        dots, more = equal(address, _DOT), equal(second, _DOT)  # a full stop by itself is nothing
        if definition == DCLM:
            more |= equal(second, _BLANK) & equal(third, _DOT)
        stops |= dots & more
        if definition == DATATROVE:
            stops |= within(address, _NEWLINE, _RETURN) | within(address, 0x1C, 0x1E)
            stops |= (equal(address, 0xC2) & equal(second, 0x85)) | (equal(address, 0xE2) & within(third, 0xA8, 0xA9))
        else:
            stops |= equal(address, _NEWLINE)
        if stops:
            return min(position + np.int64(trailing_zeros(stops)), end)
    return end


@njit(cache=True, nogil=True)
def _scan(data, start, end, flags, definition):  # type: ignore[no-untyped-def]
    """Lines, lines that begin with a bullet, lines that end with an ellipsis, hash signs, ellipses."""
    lines, bullets, ellipsis_lines, hashes, ellipses = 0, 0, 0, 0, 0
    spaced_from = start  # where the next ". . ." may begin: behind the last
    line_start = position = start
    while True:
        position = _next_stop(data, position, end, definition)
        size = 0  # of the line break, if it is one
        if position < end:
            byte = data[position]
            if byte == _HASH:
                hashes += 1
            elif byte == _DOT:
                run = position
                while position + 1 < end and data[position + 1] == _DOT:
                    position += 1
                ellipses += (position + 1 - run) // 3
                if (
                    definition == DCLM
                    and position >= spaced_from
                    and position + 4 < end
                    and data[position + 1] == _BLANK
                    and data[position + 2] == _DOT
                    and data[position + 3] == _BLANK
                    and data[position + 4] == _DOT
                ):
                    ellipses += 1
                    spaced_from = position + 5
            elif byte == 0xE2:
                if data[position + 1] == 0x80 and data[position + 2] == 0xA6:  # …
                    ellipses += 1
                elif data[position + 1] == 0x80 and data[position + 2] & 0xFE == 0xA8 and definition == DATATROVE:
                    size = 3  # U+2028, U+2029
            elif byte == 0xC2:
                size = 2 if data[position + 1] == 0x85 else 0
            elif byte == _RETURN and position + 1 < end and data[position + 1] == _NEWLINE:
                size = 2
            else:
                size = 1
            if size == 0:
                position += 1
                continue
        elif definition == DATATROVE and line_start == end:
            break  # nothing stands behind the last line break
        content = skip_space(data, line_start, position, flags)
        if content < position:
            content_end = skip_space_back(data, content, position, flags)
            code, _ = decode(data, content)
            bullets += _is_bullet(code, definition)
            ellipsis_lines += _ends_with_ellipsis(data, content, content_end, definition)
            lines += 1
        elif definition == DATATROVE:
            lines += 1
        if position >= end:
            break
        position += size
        line_start = position
    return lines, bullets, ellipsis_lines, hashes, ellipses


@njit(cache=True, nogil=True)
def _is_letter(byte):  # type: ignore[no-untyped-def]
    return (byte | 0x20 >= 0x61) & (byte | 0x20 <= 0x7A)


@njit(cache=True, nogil=True)
def _bare_stop_word(data, start, end, flags):  # type: ignore[no-untyped-def]
    """As ``_stop_word``, in any case and without the symbols around the word."""
    if end - start > 5 and _is_letter(data[start]) & _is_letter(data[end - 2]):
        return 0  # five bytes or more between the symbols
    while start < end:
        code, size = decode(data, start)
        if flags[code] & (WORD | MARK):
            break
        start += size
    while end > start:
        position = end - 1
        while position > start and data[position] & 0xC0 == 0x80:
            position -= 1
        code, _ = decode(data, position)
        if flags[code] & (WORD | MARK):
            break
        end = position
    return _stop_word(address_of(data) + np.uint64(start), end - start, _ANY_CASE)


@njit(cache=True, nogil=True)
def _signals(data, offsets, flags, definition, first, starts, ends, chars, kinds, out):  # type: ignore[no-untyped-def]
    base = address_of(data)
    case = _ZERO if definition == DATATROVE else _ANY_CASE
    for text in range(len(offsets) - 1):
        lines, bullets, ellipsis_lines, hashes, ellipses = _scan(
            data, offsets[text], offsets[text + 1], flags, definition
        )
        words = first[text + 1] - first[text]
        counted, length, with_letter, stop_words = 0, 0, 0, 0
        found = 0  # stop words, a bit each
        for word in range(first[text], first[text + 1]):
            kind = kinds[word]
            with_letter += kind & HAS_LETTER
            counts = int(kind & HAS_OTHER_THAN_SYMBOLS != 0 or definition != DATATROVE)
            counted += counts
            length += counts * chars[word]
            if definition == PAPER and kind & HAS_SYMBOL:
                found |= _bare_stop_word(data, starts[word], ends[word], flags)
            else:
                bit = _stop_word(base + np.uint64(starts[word]), ends[word] - starts[word], case)
                found |= bit
                stop_words += bit != 0
        if definition == DCLM:
            hashes += ellipses
        else:
            stop_words = 0
            while found:
                found &= found - 1
                stop_words += 1
        out[text, 0] = counted
        out[text, 1] = length / counted if counted else 0.0
        out[text, 2] = hashes / words if words else 0.0
        out[text, 3] = ellipses / words if words else 0.0
        out[text, 4] = bullets / lines if lines else 0.0
        out[text, 5] = ellipsis_lines / lines if lines else 0.0
        out[text, 6] = with_letter / words if words else 0.0
        out[text, 7] = stop_words


def quality_signals(words: WordSpans, definition: int) -> npt.NDArray[np.float64]:
    """(texts, 8) in the order of ``schema.GOPHER_SIGNALS``."""
    out = np.zeros((len(words.offsets) - 1, SIGNALS))
    _signals(
        words.data, words.offsets, character_flags(), definition,
        words.first, words.starts, words.ends, words.chars, words.kinds, out,
    )  # fmt: skip
    return out


def words_with_letters_or_digits(words: WordSpans) -> npt.NDArray[np.int64]:
    """(texts,) how many of each text's words hold a letter or a digit."""
    running = np.concatenate(([0], np.cumsum(words.kinds & HAS_LETTER_OR_DIGIT != 0)))
    return running[words.first[1:]] - running[words.first[:-1]]
