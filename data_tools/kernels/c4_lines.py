"""C4's line rules (``filters.c4``): one pass that judges every line, measures what stays and writes it down."""

from __future__ import annotations

import numpy as np
from numba import njit

from data_tools.kernels.blocks import (
    BLOCK,
    address_of,
    copy_bytes,
    equal,
    find_byte,
    first_bits,
    ones,
    trailing_zeros,
    within,
)
from data_tools.kernels.characters import SPACE, decode
from data_tools.kernels.line_spans import count_characters, skip_space, skip_space_back
from data_tools.kernels.phrases import CURLY_BRACE, JAVASCRIPT, LOREM_IPSUM, POLICY, find_phrases
from data_tools.kernels.punctuation import CLOSER, LINE_BREAK, SENTENCE_END, WIDE_END

PAPER, CODE, DATATROVE = 0, 1, 2
#: Columns of the counts: lines that went, and places cut out of lines that stay.
LONG_WORD, NO_END_MARK, FEW_WORDS, WITH_JAVASCRIPT, WITH_POLICY, CITATION = range(6)

LONG_PARAGRAPH_CHARS = 200
MAX_WORD_CHARS = 1000

_NEWLINE, _RETURN, _DOT, _BRACKET = 0x0A, 0x0D, 0x2E, 0x5B
_ONE, _63 = np.uint64(1), np.uint64(63)
_CITATION_NEEDED = np.frombuffer(b"[citation needed]", dtype=np.uint8)
_EDIT = np.frombuffer(b"[edit]", dtype=np.uint8)


@njit(cache=True, nogil=True)
def count_words(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Words between white space in ``data[start:end]``."""
    base = address_of(data)
    words = np.int64(0)
    blank_before = _ONE  # whether white space, or the start, is before the block
    reaching = np.int64(0)  # bytes of the block that belong to white space begun before it
    for block in range(start, end, BLOCK):
        address = base + np.uint64(block)
        inside = first_bits(end - block)
        space = equal(address, 0x20) | within(address, 0x09, 0x0D) | within(address, 0x1C, 0x1F)
        if reaching:
            space |= first_bits(reaching)
            reaching = np.int64(0)
        # Other white space begins with C2, E1, E2 or E3.
        others = (equal(address, 0xC2) | within(address, 0xE1, 0xE3)) & inside
        while others:
            place = np.int64(trailing_zeros(others))
            others &= others - _ONE
            code, size = decode(data, block + place)
            if flags[code] & SPACE:
                space |= first_bits(size) << np.uint64(place)
                reaching = max(np.int64(0), place + size - BLOCK)
        words += np.int64(ones(~space & ((space << _ONE) | blank_before) & inside))
        blank_before = space >> _63
    return words


@njit(cache=True, nogil=True)
def _longest_word(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Characters of the longest word between white space."""
    longest, length = 0, 0
    while start < end:
        code, size = decode(data, start)
        length = 0 if flags[code] & SPACE else length + 1
        longest = max(longest, length)
        start += size
    return longest


@njit(cache=True, nogil=True)
def _next_mark(data, start, end):  # type: ignore[no-untyped-def]
    """Where the next character stands that may end a sentence; ``end`` if there is none."""
    base = address_of(data)
    for block in range(start, end, BLOCK):
        address = base + np.uint64(block)
        marks = equal(address, _DOT) | equal(address, 0x21) | equal(address, 0x3F)  # . ! ?
        marks |= within(address, 0xE2, 0xE3) | equal(address, 0xEF)  # others begin so
        if marks:
            return min(block + np.int64(trailing_zeros(marks)), end)
    return end


@njit(cache=True, nogil=True)
def count_sentences(data, start, end, flags, punctuation):  # type: ignore[no-untyped-def]
    """Sentences in ``data[start:end]``, by the rule ``marks`` (see ``filters.c4``)."""
    boundaries = 0
    marked, wide, spaced = False, False, False
    content = skip_space(data, start, end, flags) < end
    position = start
    while position < end:
        if not marked:  # nothing happens before the next mark
            position = _next_mark(data, position, end)
            if position == end:
                break
        code = np.int64(data[position])
        size = 1
        if code >= 0x80:
            code, size = decode(data, position)
        position += size
        kind = punctuation[code]
        if flags[code] & SPACE:
            spaced = marked
            continue
        if marked and (wide or not spaced) and kind & (SENTENCE_END | WIDE_END | CLOSER):
            wide = wide or kind & WIDE_END != 0
            continue
        if marked and (wide or spaced):
            boundaries += 1
        marked = kind & (SENTENCE_END | WIDE_END) != 0
        wide = kind & WIDE_END != 0
        spaced = False
    return boundaries + int(content)


@njit(cache=True, nogil=True)
def _is(data, at, end, literal):  # type: ignore[no-untyped-def]
    if at + len(literal) > end:
        return False
    for index in range(len(literal)):  # noqa: SIM110
        if data[at + index] != literal[index]:
            return False
    return True


@njit(cache=True, nogil=True)
def _citation(data, at, end):  # type: ignore[no-untyped-def]
    """Bytes of the citation mark at ``at``: ``[``, digits or none, ``]``; ``[edit]``; ``[citation needed]``."""
    position = at + 1
    while position < end and 0x30 <= data[position] <= 0x39:
        position += 1
    if position < end and data[position] == 0x5D:
        return position + 1 - at
    if _is(data, at, end, _EDIT):
        return len(_EDIT)
    if _is(data, at, end, _CITATION_NEEDED):
        return len(_CITATION_NEEDED)
    return 0


@njit(cache=True, nogil=True)
def move_back(data, start, end, to):  # type: ignore[no-untyped-def]
    """Move ``data[start:end]`` to ``to``, which is before it; return where it ends then."""
    for position in range(start, end):
        data[to + position - start] = data[position]
    return to + end - start


@njit(cache=True, nogil=True)
def _ends_well(data, start, end, variant):  # type: ignore[no-untyped-def]
    if end == start:
        return False
    last = data[end - 1]
    if variant == PAPER and last == 0x9D and end - start >= 3:  # ”
        return data[end - 2] == 0x80 and data[end - 3] == 0xE2
    if last == 0x27:  # '
        return variant == DATATROVE
    if not (last == _DOT or last == 0x3F or last == 0x21 or last == 0x22):  # . ? ! "
        return False
    return not (
        variant != PAPER and end - start >= 3 and last == _DOT and data[end - 2] == _DOT and data[end - 3] == _DOT
    )


@njit(cache=True, nogil=True)
def _line_end(data, start, end, punctuation):  # type: ignore[no-untyped-def]
    """Where the line from ``start`` on ends, and where the next begins, as ``str.splitlines`` has it."""
    base = address_of(data)
    for block in range(start, end, BLOCK):
        address = base + np.uint64(block)
        breaks = within(address, 0x0A, 0x0D) | within(address, 0x1C, 0x1E)
        breaks |= equal(address, 0xC2) | equal(address, 0xE2)  # U+0085, U+2028 and U+2029 begin so
        breaks &= first_bits(end - block)
        while breaks:
            position = block + np.int64(trailing_zeros(breaks))
            breaks &= breaks - _ONE
            code, size = decode(data, position)
            if punctuation[code] & LINE_BREAK:
                if code == _RETURN and position + 1 < end and data[position + 1] == _NEWLINE:
                    size = 2
                return position, position + size
    return end, end


@njit(cache=True, nogil=True)
def apply_line_rules(  # type: ignore[no-untyped-def]
    data, offsets, flags, punctuation, variant, min_words, end_marks, kept, kept_offsets, signals, counts
):
    """Write what stays of the texts to ``kept`` (as large as all of them, and ``blocks.REACH``), where each of them
    begins to ``kept_offsets``; fill ``signals`` (texts, 6; ``schema.C4_SIGNALS``) and ``counts`` (texts, 6)."""
    write = np.int64(0)
    for text in range(len(offsets) - 1):
        kept_offsets[text] = write
        text_start = write
        lines, words_kept, sentences, page = 0, 0, 0, 0
        start, end = offsets[text], offsets[text + 1]
        while start < end:
            line_end, following = _line_end(data, start, end, punctuation)
            first = skip_space(data, start, line_end, flags)
            last = skip_space_back(data, first, line_end, flags)
            start = following
            if first == last:
                continue
            begin = write + int(lines > 0)
            stop = begin + last - first
            copy_bytes(data, first, last, kept, begin)
            found = 0
            if variant == PAPER:  # says "any page"; the code asks only the lines that come so far
                found = find_phrases(kept, begin, stop)
                page |= found
            words = count_words(kept, begin, stop, flags)
            if (
                variant != PAPER
                and last - first > MAX_WORD_CHARS
                and _longest_word(kept, begin, stop, flags) > MAX_WORD_CHARS
            ):
                counts[text, LONG_WORD] += 1
                continue
            citations = 0
            position = find_byte(data, first, last, _BRACKET)
            stop = begin + position - first
            while position < last:
                skipped = _citation(data, position, last)
                citations += int(skipped > 0)
                position += skipped
                bracket = find_byte(data, position + int(skipped == 0), last, _BRACKET)
                copy_bytes(data, position, bracket, kept, stop)
                stop += bracket - position
                position = bracket
            words_left = words
            if citations:
                if variant == PAPER:
                    stop = skip_space_back(kept, begin, stop, flags)
                    stop = move_back(kept, skip_space(kept, begin, stop, flags), stop, begin)
                words_left = count_words(kept, begin, stop, flags)
            if end_marks and not _ends_well(kept, begin, stop, variant):
                counts[text, NO_END_MARK] += 1
                continue
            if (words if variant == DATATROVE else words_left) < min_words:
                counts[text, FEW_WORDS] += 1
                continue
            if citations or variant != PAPER:
                found = find_phrases(kept, begin, stop)
            if variant != PAPER:
                page |= found & LOREM_IPSUM
            if found & JAVASCRIPT:
                counts[text, WITH_JAVASCRIPT] += 1
                continue
            if variant != PAPER:
                page |= found & CURLY_BRACE
            if found & POLICY:
                counts[text, WITH_POLICY] += 1
                continue
            if lines:
                kept[write] = _NEWLINE
            write = stop
            lines += 1
            words_kept += words_left
            counts[text, CITATION] += citations
            sentences += count_sentences(kept, begin, stop, flags, punctuation)
        write = skip_space_back(kept, text_start, write, flags)
        content = skip_space(kept, text_start, write, flags)
        if content > text_start:
            write = move_back(kept, content, write, text_start)
        long_paragraphs = 0
        start = offsets[text]
        while start <= end:
            stop = find_byte(data, start, end, _NEWLINE)
            if stop - start >= LONG_PARAGRAPH_CHARS:
                long_paragraphs += int(count_characters(data, start, stop) >= LONG_PARAGRAPH_CHARS)
            start = stop + 1
        signals[text, 0], signals[text, 1], signals[text, 2] = lines, words_kept, sentences
        signals[text, 3] = long_paragraphs
        signals[text, 4] = page & LOREM_IPSUM != 0
        signals[text, 5] = page & CURLY_BRACE != 0
    kept_offsets[len(offsets) - 1] = write
