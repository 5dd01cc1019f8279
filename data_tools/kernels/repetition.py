"""The signals of Gopher's repetition rules (``filters.repetition``): repeated lines, paragraphs and n-grams.

Equality is that of 64-bit hashes. The hash of an n-gram comes from running sums: with ``S[k]`` the sum of the first
``k`` items, each times ``B`` to the power of its place, ``(S[i + n] - S[i]) * B**-i`` (modulo 2^64, where an odd ``B``
has an inverse) depends on the ``n`` items from ``i`` on and on nothing else. The items are words' hashes, or, where
n-grams are compared as one string without blanks, single bytes (the powers the other way round). One table of 2^k slots
is cleared for each n.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.characters import character_flags
from data_tools.kernels.line_spans import (
    BASE,
    LineSpans,
    count_characters,
    hash_bytes,
    mix,
    skip_space,
    skip_space_back,
)
from data_tools.kernels.word_spans import HAS_LETTER_OR_DIGIT, WordSpans

PAPER, DATATROVE, DCLM = 0, 1, 2

SIGNALS = 13

_INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
# Powers of the base and of its inverse, for the lengths of most words.
_POWERS = np.array([pow(int(BASE), n, 2**64) for n in range(64)], dtype=np.uint64)
_INVERSES = np.array([pow(int(_INVERSE), n, 2**64) for n in range(64)], dtype=np.uint64)
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def _bits(items):  # type: ignore[no-untyped-def]
    """So that a table of 2**bits slots is at most half full."""
    bits = 4
    while (1 << bits) < 2 * items:
        bits += 1
    return bits


@njit(cache=True, nogil=True)
def table_size(items):  # type: ignore[no-untyped-def]
    """Numbers in a table that counts so many things."""
    return 2 << _bits(items)


@njit(cache=True, nogil=True)
def repeated_segments(hashes, chars, skipped, first, end, every, table):  # type: ignore[no-untyped-def]
    """Segments ``first`` to ``end`` (but for the ``skipped``): how many, how many of them repeated, characters of all,
    characters of the repeated.

    Repeated are ``every`` one that there is twice or more, or else all but the first of each. ``table`` is as
    large as ``table_size`` says.
    """
    bits = _bits(end - first)
    size = 1 << bits
    table[: 2 * size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    count, repeated, total, repeated_chars = 0, 0, 0, 0
    for index in range(first, end):
        if skipped[index]:
            continue
        length = chars[index]
        count += 1
        total += length
        key = hashes[index]
        if key == _ZERO:
            key = _ONE
        slot = np.int64(key >> shift)
        while table[2 * slot] != _ZERO and table[2 * slot] != key:
            slot = (slot + 1) & mask
        if table[2 * slot] == key:
            times = 2 if every and table[2 * slot + 1] == _ONE else 1
            table[2 * slot + 1] += _ONE
            repeated += times
            repeated_chars += times * length
        else:
            table[2 * slot], table[2 * slot + 1] = key, _ONE
    return count, repeated, total, repeated_chars


@njit(cache=True, nogil=True)
def _paragraphs(data, flags, definition, first, end, starts, ends, chars, blank, line_hashes, hashes, lengths):  # type: ignore[no-untyped-def]
    """Write the hash and the characters of every paragraph of lines ``first`` to ``end``; return how many there are."""
    while first < end and blank[first]:
        first += 1
    while end > first and blank[end - 1]:
        end -= 1
    count = 0
    inside = False
    for line in range(first, end):
        if starts[line] == ends[line] if definition == DATATROVE else blank[line]:
            inside = False
            continue
        key, length = line_hashes[line], np.int64(chars[line])
        if definition == DATATROVE and (line == first or line == end - 1):  # the text is stripped as a whole
            start, stop = starts[line], ends[line]
            if line == first:
                start = skip_space(data, start, stop, flags)
            if line == end - 1:
                stop = skip_space_back(data, start, stop, flags)
            key, length = hash_bytes(data, start, stop), count_characters(data, start, stop)
        if inside:
            hashes[count - 1] = mix(hashes[count - 1] * BASE + key)
            lengths[count - 1] += length + 1
        else:
            hashes[count], lengths[count] = mix(BASE + key), length
            count += 1
            inside = True
    return count


@njit(cache=True, nogil=True)
def _sum_words(  # type: ignore[no-untyped-def]
    starts, ends, chars, kinds, polynomials, first, end, definition, word_sums, char_sums, byte_sums, byte_powers
):
    """Fill the running sums over the words; return how many words count."""
    count = 0
    power, byte_power, inverse = _ONE, _ONE, _ONE
    for word in range(first, end):
        if definition == DCLM and not kinds[word] & HAS_LETTER_OR_DIGIT:
            continue
        value = polynomials[word]
        if definition == DATATROVE:
            length = ends[word] - starts[word]
            byte_powers[count] = byte_power
            while length:
                step = min(length, 63)
                byte_power *= _POWERS[step]
                inverse *= _INVERSES[step]
                length -= step
            byte_sums[count + 1] = byte_sums[count] + value * inverse
            byte_powers[count + 1] = byte_power
        word_sums[count + 1] = word_sums[count] + mix(value) * power
        power *= BASE
        char_sums[count + 1] = char_sums[count] + chars[word]
        count += 1
    return count


@njit(cache=True, nogil=True)
def _top_ngram(words, n, definition, word_sums, char_sums, repeated, table):  # type: ignore[no-untyped-def]
    """Characters of the most frequent n-gram, all occurrences together.

    ``repeated`` says of each word whether the (n - 1)-gram that begins there is repeated (all are taken to be for
    n = 2), and afterwards whether the n-gram is: only where two neighbours are can the longer one be.
    """
    if words < n:
        return 0
    candidates = 0
    for index in range(words - n + 1):
        candidates += int(repeated[index] & repeated[index + 1])
    bits = _bits(candidates)
    size = 1 << bits
    table[: 2 * size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    inverse = _ONE
    best, best_count, best_chars = np.int64(0), np.int64(1), np.int64(0)
    if definition == DATATROVE:  # where nothing is repeated, the first n-gram of all is its most frequent
        best_chars = char_sums[n]
    for index in range(words - n + 1):
        candidate = repeated[index] & repeated[index + 1]
        repeated[index] = False
        if candidate:
            key = mix((word_sums[index + n] - word_sums[index]) * inverse)
            if key == _ZERO:
                key = _ONE
            slot = np.int64(key >> shift)
            while table[2 * slot] != _ZERO and table[2 * slot] != key:
                slot = (slot + 1) & mask
            if table[2 * slot] == key:
                entry = table[2 * slot + 1] + _ONE
                count, where = np.int64(entry & _LOW), np.int64(entry >> _HALF)
                repeated[index] = True
                repeated[where] = True
                if count >= best_count:
                    length = char_sums[where + n] - char_sums[where]
                    # Among ties datatrove takes what came first, the others the longest.
                    if count > best_count or (where < best if definition == DATATROVE else length > best_chars):
                        best, best_count, best_chars = where, count, length
            else:
                table[2 * slot] = key
                entry = (np.uint64(index) << _HALF) | _ONE
            table[2 * slot + 1] = entry
        inverse *= _INVERSE
    for index in range(words - n + 1, words):
        repeated[index] = False
    if definition == DATATROVE:
        best_chars += n - 1
    return best_chars * best_count


@njit(cache=True, nogil=True)
def _greedy_duplicates(words, n, char_sums, byte_sums, byte_powers, table):  # type: ignore[no-untyped-def]
    """Characters of n-grams that were there before; the scan goes on behind each that it finds (datatrove)."""
    if words < n:
        return 0
    bits = _bits(words)
    size = 1 << bits
    table[:size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    found, index = 0, 0
    while index + n <= words:
        key = mix((byte_sums[index + n] - byte_sums[index]) * byte_powers[index + n])
        if key == _ZERO:
            key = _ONE
        slot = np.int64(key >> shift)
        while table[slot] != _ZERO and table[slot] != key:
            slot = (slot + 1) & mask
        if table[slot] == key:
            found += char_sums[index + n] - char_sums[index]
            index += n
        else:
            table[slot] = key
            index += 1
    return found


@njit(cache=True, nogil=True)
def _covered_by_duplicates(words, n, word_sums, char_sums, repeated, table):  # type: ignore[no-untyped-def]
    """Characters of the words inside any n-gram that there is twice or more, each word once.

    ``repeated`` is read and written as by ``_top_ngram``.
    """
    candidates = 0
    for index in range(words - n + 1):
        candidates += int(repeated[index] & repeated[index + 1])
    bits = _bits(candidates)
    size = 1 << bits
    table[: 2 * size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    inverse = _ONE
    for index in range(words - n + 1):
        candidate = repeated[index] & repeated[index + 1]
        repeated[index] = False
        if candidate:
            key = mix((word_sums[index + n] - word_sums[index]) * inverse)
            if key == _ZERO:
                key = _ONE
            slot = np.int64(key >> shift)
            while table[2 * slot] != _ZERO and table[2 * slot] != key:
                slot = (slot + 1) & mask
            if table[2 * slot] == key:
                repeated[index] = True
                repeated[np.int64(table[2 * slot + 1])] = True
            else:
                table[2 * slot], table[2 * slot + 1] = key, np.uint64(index)
        inverse *= _INVERSE
    for index in range(max(0, words - n + 1), words):
        repeated[index] = False
    covered, chars = 0, 0
    for index in range(words - n + 1):
        if repeated[index]:
            chars += char_sums[index + n] - char_sums[max(index, covered)]
            covered = index + n
    return chars


@njit(cache=True, nogil=True)
def _signals(  # type: ignore[no-untyped-def]
    data, offsets, flags, definition, text_chars,
    first_word, word_starts, word_ends, word_chars, word_kinds, word_polynomials,
    first_line, line_starts, line_ends, line_chars, line_blank, line_hashes, out,
):  # fmt: skip
    most_words, most_lines = 0, 0
    for text in range(len(offsets) - 1):
        most_words = max(most_words, first_word[text + 1] - first_word[text])
        most_lines = max(most_lines, first_line[text + 1] - first_line[text])
    word_sums = np.zeros(most_words + 1, dtype=np.uint64)
    char_sums = np.zeros(most_words + 1, dtype=np.int64)
    byte_sums = np.zeros(most_words + 1, dtype=np.uint64)
    byte_powers = np.empty(most_words + 1, dtype=np.uint64)
    repeated = np.empty(most_words + 1, dtype=np.bool_)
    table = np.empty(table_size(max(most_words, most_lines)), dtype=np.uint64)
    paragraph_hashes = np.empty(most_lines, dtype=np.uint64)
    paragraph_chars = np.empty(most_lines, dtype=np.int64)
    skipped = line_starts == line_ends
    none_skipped = np.zeros(most_lines, dtype=np.bool_)
    every = definition != DATATROVE
    for text in range(len(offsets) - 1):
        first, end = first_line[text], first_line[text + 1]
        if offsets[text] == offsets[text + 1]:
            if definition == DATATROVE:  # it drops an empty text as such
                out[text, 0] = 1.0
            continue
        lines, repeated_lines, chars, repeated_chars = repeated_segments(
            line_hashes, line_chars, skipped, first, end, every, table
        )
        if definition == DATATROVE:
            # Split at runs of line breaks: one at an end leaves an empty string there, and two equal ones repeat.
            edges = int(skipped[first]) + int(skipped[end - 1])
            lines += edges
            repeated_lines += edges == 2
            chars = text_chars[text]
        if lines:
            out[text, 0] = repeated_lines / lines
        if chars:
            out[text, 2] = repeated_chars / chars
        count = _paragraphs(
            data, flags, definition, first, end, line_starts, line_ends, line_chars, line_blank, line_hashes,
            paragraph_hashes, paragraph_chars,
        )  # fmt: skip
        paragraphs, repeated_paragraphs, chars, repeated_chars = repeated_segments(
            paragraph_hashes, paragraph_chars, none_skipped, 0, count, every, table
        )
        if definition == DATATROVE:
            chars = text_chars[text]
        if paragraphs:
            out[text, 1] = repeated_paragraphs / paragraphs
        if chars:
            out[text, 3] = repeated_chars / chars
        words = _sum_words(
            word_starts, word_ends, word_chars, word_kinds, word_polynomials,
            first_word[text], first_word[text + 1], definition, word_sums, char_sums, byte_sums, byte_powers,
        )  # fmt: skip
        chars = text_chars[text] if definition == DATATROVE else char_sums[words]
        if words == 0 or chars == 0:
            continue
        repeated[: words + 1] = True
        for n in range(2, 5):
            out[text, n + 2] = _top_ngram(words, n, definition, word_sums, char_sums, repeated, table) / chars
        for n in range(5, 11):
            if definition == DATATROVE:
                found = _greedy_duplicates(words, n, char_sums, byte_sums, byte_powers, table)
            else:
                found = _covered_by_duplicates(words, n, word_sums, char_sums, repeated, table)
            out[text, n + 2] = found / chars


def ngram_and_segment_signals(words: WordSpans, lines: LineSpans, definition: int) -> npt.NDArray[np.float64]:
    """(texts, 13) in the order of ``schema.REPETITION_SIGNALS``. ``lines`` are stripped but for ``DATATROVE``."""
    out = np.zeros((len(words.offsets) - 1, SIGNALS))
    _signals(
        words.data, words.offsets, character_flags(), definition, lines.text_chars,
        words.first, words.starts, words.ends, words.chars, words.kinds, words.polynomials,
        lines.first, lines.starts, lines.ends, lines.chars, lines.blank, lines.hashes, out,
    )  # fmt: skip
    return out
