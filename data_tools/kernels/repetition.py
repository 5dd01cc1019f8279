"""The signals of Gopher's repetition rules (``filters.repetition``): repeated lines, paragraphs and n-grams.

Equality is that of 64-bit hashes. Most n-grams of a text are there once, and most of the work is to find that out
cheaply: a hash of each is counted in a small table of bytes first (a Bloom filter with one hash function), and only
where two or more fell on one byte can anything be repeated. What is left goes through a table that tells hashes apart.

* ``_top_ngram``, ``_covered_by_duplicates``: an n-gram can be repeated only where the (n - 1)-grams at its word and at
  the next are, so each n looks only at what n - 1 found, and its hashes are those of n - 1, one word longer.
* ``_greedy_duplicates`` compares n-grams as strings without blanks, where "a bc" is "ab c": a longer one that is
  repeated need not begin with a shorter one that is. But equal strings begin with the same bytes, and the filter counts
  those: 16, and 32 for n-grams that are as long.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.blocks import REACH, address_of, copy_bytes, load_eight
from data_tools.kernels.characters import character_flags
from data_tools.kernels.line_spans import (
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

_ZERO, _ONE, _EIGHT, _SIXTEEN, _24 = (np.uint64(number) for number in (0, 1, 8, 16, 24))
_FACTOR = np.uint64(0xD1342543DE82EF95)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
# Bytes that the filter for strings looks at, from the first of an n-gram on.
_SHORT, _LONG = 16, 32


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
            hashes[count - 1] = mix(hashes[count - 1] * _FACTOR + key)
            lengths[count - 1] += length + 1
        else:
            hashes[count], lengths[count] = mix(_FACTOR + key), length
            count += 1
            inside = True
    return count


@njit(cache=True, nogil=True)
def _longer(key, value):  # type: ignore[no-untyped-def]
    """The hash of an n-gram from that of its first n - 1 words and its last."""
    key = (key ^ value) * _FACTOR
    return key ^ (key >> _HALF)


@njit(cache=True, nogil=True)
def _take_words(  # type: ignore[no-untyped-def]
    data, starts, ends, chars, kinds, hashes, first, end, definition, values, char_sums, joined, joints
):
    """Fill ``values`` with the hashes of the words that count, ``char_sums`` with the running sum of their characters
    and, for datatrove, ``joined`` with their bytes, where word i begins at ``joints[i]``; return how many there are."""
    count, at = 0, 0
    for word in range(first, end):
        if definition == DCLM and not kinds[word] & HAS_LETTER_OR_DIGIT:
            continue
        values[count] = hashes[word]
        if definition == DATATROVE:
            copy_bytes(data, starts[word], ends[word], joined, at)  # the next covers what is too much
            joints[count] = at
            at += ends[word] - starts[word]
        count += 1
        char_sums[count] = char_sums[count - 1] + chars[word]
    joints[count] = at
    return count


@njit(cache=True, nogil=True)
def _perhaps_repeated(keys, count, seen, found):  # type: ignore[no-untyped-def]
    """Write to ``found`` the places of all keys that there are twice or more, and of some others; return how many."""
    bits = 6
    while (1 << bits) < 8 * count:
        bits += 1
    seen[: 1 << bits] = 0
    shift = np.uint64(64 - bits)
    for index in range(count):
        slot = keys[index] >> shift
        seen[slot] = (seen[slot] << 1) | 1
    candidates = 0
    for index in range(count):
        found[candidates] = index
        candidates += int(seen[keys[index] >> shift] > 1)
    return candidates


@njit(cache=True, nogil=True)
def _next_candidates(n, values, keys, repeated, places, count):  # type: ignore[no-untyped-def]
    """Keep of ``places`` those where an n-gram may be repeated, with its hash in ``keys``; return how many.

    ``repeated`` says where (n - 1)-grams are, and is all False afterwards.
    """
    kept = 0
    for candidate in range(count):
        index = places[candidate]
        both = repeated[index] & repeated[index + 1]
        repeated[index] = False
        if both:  # so there are n words
            keys[index] = _longer(keys[index], values[index + n - 1])
            places[kept] = index
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _top_ngram(n, definition, keys, char_sums, repeated, places, count, table):  # type: ignore[no-untyped-def]
    """Characters of the most frequent n-gram, all occurrences together, of the ``count`` n-grams that begin at
    ``places``. Marks in ``repeated`` those that there are twice or more."""
    bits = _bits(count)
    size = 1 << bits
    table[: 2 * size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    best, best_count, best_chars = np.int64(0), np.int64(1), np.int64(0)
    if definition == DATATROVE:  # where nothing is repeated, the first n-gram of all is its most frequent
        best_chars = char_sums[n]
    for candidate in range(count):
        index = places[candidate]
        key = keys[index] | _ONE
        slot = np.int64(key >> shift)
        while table[2 * slot] != _ZERO and table[2 * slot] != key:
            slot = (slot + 1) & mask
        if table[2 * slot] == key:
            entry = table[2 * slot + 1] + _ONE
            times, where = np.int64(entry & _LOW), np.int64(entry >> _HALF)
            repeated[index] = True
            repeated[where] = True
            if times >= best_count:
                length = char_sums[where + n] - char_sums[where]
                # Among ties datatrove takes what came first, the others the longest.
                if times > best_count or (where < best if definition == DATATROVE else length > best_chars):
                    best, best_count, best_chars = where, times, length
        else:
            table[2 * slot] = key
            entry = (np.uint64(index) << _HALF) | _ONE
        table[2 * slot + 1] = entry
    if definition == DATATROVE:
        best_chars += n - 1
    return best_chars * best_count


@njit(cache=True, nogil=True)
def _covered_by_duplicates(n, keys, char_sums, repeated, places, count, table):  # type: ignore[no-untyped-def]
    """Characters of the words inside any n-gram that there is twice or more, each word once.

    Looks at and marks the same as ``_top_ngram``.
    """
    bits = _bits(count)
    size = 1 << bits
    table[: 2 * size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    for candidate in range(count):
        index = places[candidate]
        key = keys[index] | _ONE
        slot = np.int64(key >> shift)
        while table[2 * slot] != _ZERO and table[2 * slot] != key:
            slot = (slot + 1) & mask
        if table[2 * slot] == key:
            repeated[index] = True
            repeated[np.int64(table[2 * slot + 1])] = True
        else:
            table[2 * slot], table[2 * slot + 1] = key, np.uint64(index)
    covered, chars = 0, 0
    for candidate in range(count):
        index = places[candidate]
        if repeated[index]:
            chars += char_sums[index + n] - char_sums[max(index, covered)]
            covered = index + n
    return chars


@njit(cache=True, nogil=True)
def _equal_beginnings(words, joined, joints, keys, seen, places, same, found):  # type: ignore[no-untyped-def]
    """Write to ``places`` the words at which a string of five words or more may begin that is repeated: others begin
    with the same 16 bytes (``same`` is 1 there; 2 with the same 32), or five words are fewer. Return how many."""
    base = address_of(joined)
    for word in range(words):
        at = base + np.uint64(joints[word])
        keys[word] = _longer(_longer(_FACTOR, load_eight(at)), load_eight(at + _EIGHT))
        same[word] = 0
    for candidate in range(_perhaps_repeated(keys, words, seen, found)):
        same[found[candidate]] = 1
    count = 0
    for word in range(words - 4):
        places[count] = word
        count += int(same[word] != 0 or joints[word + 5] - joints[word] < _SHORT)
    for candidate in range(count):
        word = places[candidate]
        at = base + np.uint64(joints[word])
        keys[candidate] = _longer(_longer(keys[word], load_eight(at + _SIXTEEN)), load_eight(at + _24))
    for candidate in range(_perhaps_repeated(keys, count, seen, found)):
        same[places[found[candidate]]] += 1
    return count


@njit(cache=True, nogil=True)
def _greedy_duplicates(words, n, char_sums, joined, joints, same, places, count, table):  # type: ignore[no-untyped-def]
    """Characters of n-grams that were there before; the scan goes on behind each that it finds (datatrove).

    Keeps of ``places`` those that may matter for a longer n, too; returns how many as well.
    """
    bits = _bits(count)
    size = 1 << bits
    table[:size] = _ZERO
    shift, mask = np.uint64(64 - bits), size - 1
    found, behind, kept = 0, 0, 0
    for candidate in range(count):
        index = places[candidate]
        if index + n > words:
            break
        length = joints[index + n] - joints[index]
        if same[index] < int(length >= _SHORT) + int(length >= _LONG):
            continue
        places[kept] = index
        kept += 1
        if index < behind:
            continue
        key = hash_bytes(joined, joints[index], joints[index + n]) | _ONE
        slot = np.int64(key >> shift)
        while table[slot] != _ZERO and table[slot] != key:
            slot = (slot + 1) & mask
        if table[slot] == key:
            found += char_sums[index + n] - char_sums[index]
            behind = index + n
        else:
            table[slot] = key
    return found, kept


@njit(cache=True, nogil=True)
def _signals(  # type: ignore[no-untyped-def]
    data, offsets, flags, definition, text_chars,
    first_word, word_starts, word_ends, word_chars, word_kinds, word_hashes,
    first_line, line_starts, line_ends, line_chars, line_blank, line_hashes, out,
):  # fmt: skip
    most_bytes, most_words, most_lines = 0, 0, 0
    for text in range(len(offsets) - 1):
        most_bytes = max(most_bytes, offsets[text + 1] - offsets[text])
        most_words = max(most_words, first_word[text + 1] - first_word[text])
        most_lines = max(most_lines, first_line[text + 1] - first_line[text])
    values = np.empty(most_words + 1, dtype=np.uint64)
    keys = np.empty(most_words + 1, dtype=np.uint64)
    char_sums = np.zeros(most_words + 1, dtype=np.int64)
    repeated = np.zeros(most_words + 1, dtype=np.bool_)
    places = np.empty(most_words + 1, dtype=np.int64)
    found = np.empty(most_words + 1, dtype=np.int64)
    same = np.empty(most_words + 1, dtype=np.uint8)
    joints = np.zeros(most_words + 1, dtype=np.int64)
    joined = np.zeros((most_bytes if definition == DATATROVE else 0) + REACH, dtype=np.uint8)
    seen = np.empty(16 * most_words + 64, dtype=np.uint8)
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
            paragraph_hashes, paragraph_chars, none_skipped, np.int64(0), count, every, table
        )
        if definition == DATATROVE:
            chars = text_chars[text]
        if paragraphs:
            out[text, 1] = repeated_paragraphs / paragraphs
        if chars:
            out[text, 3] = repeated_chars / chars
        words = _take_words(
            data, word_starts, word_ends, word_chars, word_kinds, word_hashes,
            first_word[text], first_word[text + 1], definition, values, char_sums, joined, joints,
        )  # fmt: skip
        chars = text_chars[text] if definition == DATATROVE else char_sums[words]
        if words == 0 or chars == 0:
            continue
        for word in range(words - 1):
            keys[word] = _longer(_longer(_FACTOR, values[word]), values[word + 1])
        count = _perhaps_repeated(keys, words - 1, seen, places)
        for n in range(2, 5 if definition == DATATROVE else 11):
            if words < n:
                break
            if n > 2:
                count = _next_candidates(n, values, keys, repeated, places, count)
            if n < 5:
                top = _top_ngram(n, definition, keys, char_sums, repeated, places, count, table)
            else:
                top = _covered_by_duplicates(n, keys, char_sums, repeated, places, count, table)
            out[text, n + 2] = top / chars
        for candidate in range(count):
            repeated[places[candidate]] = False
        if definition == DATATROVE:
            count = _equal_beginnings(words, joined, joints, keys, seen, places, same, found)
            for n in range(5, 11):
                covered, count = _greedy_duplicates(words, n, char_sums, joined, joints, same, places, count, table)
                out[text, n + 2] = covered / chars


def ngram_and_segment_signals(words: WordSpans, lines: LineSpans, definition: int) -> npt.NDArray[np.float64]:
    """(texts, 13) in the order of ``schema.REPETITION_SIGNALS``. ``lines`` are stripped but for ``DATATROVE``."""
    out = np.zeros((len(words.offsets) - 1, SIGNALS))
    _signals(
        words.data, words.offsets, character_flags(), definition, lines.text_chars,
        words.first, words.starts, words.ends, words.chars, words.kinds, words.hashes,
        lines.first, lines.starts, lines.ends, lines.chars, lines.blank, lines.hashes, out,
    )  # fmt: skip
    return out
