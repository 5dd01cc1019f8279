"""The signals of Gopher's quality rules in one pass over the bytes and one over the words (``filters.gopher``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.characters import MARK, SPACE, WORD, character_flags, decode
from data_tools.kernels.punctuation import LINE_BREAK, punctuation_flags
from data_tools.kernels.word_spans import HAS_LETTER, HAS_LETTER_OR_DIGIT, HAS_OTHER_THAN_SYMBOLS, WordSpans

PAPER, DATATROVE, DCLM = 0, 1, 2

SIGNALS = 8

_NEWLINE, _RETURN, _HASH, _DOT, _BLANK, _ELLIPSIS = 0x0A, 0x0D, 0x23, 0x2E, 0x20, 0x2026


@njit(cache=True, nogil=True)
def _stop_word(data, start, end, fold):  # type: ignore[no-untyped-def]
    """Which stop word stands in these bytes: a bit of its own for each of the eight, 0 if none."""
    length = end - start
    if length < 2 or length > 4:
        return 0
    value = 0
    for position in range(start, end):
        byte = np.int64(data[position])
        if fold and 0x41 <= byte <= 0x5A:
            byte |= 0x20
        value = (value << 8) | byte
    if value == 0x746865:  # the
        return 1
    if value == 0x6265:  # be
        return 2
    if value == 0x746F:  # to
        return 4
    if value == 0x6F66:  # of
        return 8
    if value == 0x616E64:  # and
        return 16
    if value == 0x74686174:  # that
        return 32
    if value == 0x68617665:  # have
        return 64
    if value == 0x77697468:  # with
        return 128
    return 0


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
def _scan(data, start, end, flags, punctuation, definition):  # type: ignore[no-untyped-def]
    """Lines, lines that begin with a bullet, lines that end with an ellipsis, hash signs, ellipses, stop words (bits)."""
    lines, bullets, ellipsis_lines, hashes, ellipses, found = 0, 0, 0, 0, 0, 0
    dots, spaced_dots = 0, 0
    run = -1  # where the run of word characters began (paper)
    content, content_end, broken = -1, start, start  # first and last of the line but for white space; where it began
    position = start
    while position < end:
        code = np.int64(data[position])
        size = 1
        if code >= 0x80:
            code, size = decode(data, position)
        flag = flags[code]
        if definition == PAPER:
            if flag & (WORD | MARK):
                if run < 0:
                    run = position
            elif run >= 0:
                found |= _stop_word(data, run, position, True)
                run = -1
        if flag & SPACE:
            if code == _NEWLINE or (definition == DATATROVE and punctuation[code] & LINE_BREAK):
                if content >= 0 or definition == DATATROVE:
                    lines += 1
                if content >= 0 and _ends_with_ellipsis(data, content, content_end, definition):
                    ellipsis_lines += 1
                content = -1
                if code == _RETURN and position + 1 < end and data[position + 1] == _NEWLINE:
                    size = 2
                broken = position + size
        else:
            if content < 0:
                content = position
                if _is_bullet(code, definition):
                    bullets += 1
            content_end = position + size
            if code == _HASH:
                hashes += 1
            elif code == _ELLIPSIS:
                ellipses += 1
        if code == _DOT:
            dots += 1
            if dots == 3:
                ellipses += 1
                dots = 0
        else:
            dots = 0
        if definition == DCLM:
            # ". . ." by its five characters, as far as they have come; a match begins anew behind itself.
            if code == _DOT and spaced_dots % 2 == 0:
                spaced_dots += 1
            elif code == _BLANK and spaced_dots % 2 == 1:
                spaced_dots += 1
            else:
                spaced_dots = 1 if code == _DOT else 0
            if spaced_dots == 5:
                ellipses += 1
                spaced_dots = 0
        position += size
    if run >= 0:
        found |= _stop_word(data, run, end, True)
    if content >= 0 or (definition == DATATROVE and broken < end):
        lines += 1
    if content >= 0 and _ends_with_ellipsis(data, content, content_end, definition):
        ellipsis_lines += 1
    return lines, bullets, ellipsis_lines, hashes, ellipses, found


@njit(cache=True, nogil=True)
def _signals(data, offsets, flags, punctuation, definition, first, starts, ends, chars, kinds, out):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        lines, bullets, ellipsis_lines, hashes, ellipses, found = _scan(
            data, offsets[text], offsets[text + 1], flags, punctuation, definition
        )
        words = first[text + 1] - first[text]
        counted, length, with_letter, stop_words = 0, 0, 0, 0
        counts_with = HAS_OTHER_THAN_SYMBOLS if definition == DATATROVE else 255
        for word in range(first[text], first[text + 1]):
            kind = kinds[word]
            if kind & HAS_LETTER:
                with_letter += 1
            if kind & counts_with or definition != DATATROVE:
                counted += 1
                length += chars[word]
            if definition != PAPER and ends[word] - starts[word] <= 4:
                bit = _stop_word(data, starts[word], ends[word], definition == DCLM)
                found |= bit
                if bit:
                    stop_words += 1
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
        words.data, words.offsets, character_flags(), punctuation_flags(), definition,
        words.first, words.starts, words.ends, words.chars, words.kinds, out,
    )  # fmt: skip
    return out


def words_with_letters_or_digits(words: WordSpans) -> npt.NDArray[np.int64]:
    """(texts,) how many of each text's words hold a letter or a digit."""
    running = np.concatenate(([0], np.cumsum(words.kinds & HAS_LETTER_OR_DIGIT != 0)))
    return running[words.first[1:]] - running[words.first[:-1]]
