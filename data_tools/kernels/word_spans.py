"""The words of a column of texts, found once and read by every kernel that works on words.

Two definitions, by the names that ``annotate.words`` has (``data_tools.text`` is the plain twin):

* ``whitespace``: what stands between white space, as ``str.split`` has it;
* ``unicode-words``: runs of letters and digits with inner apostrophes and hyphens. Combining marks belong to the word
  that they follow, and a letter of a script without blanks (Chinese, Japanese, Thai ...) is a word by itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_tools.kernels.blocks import (
    BLOCK,
    address_of,
    equal,
    first_bits,
    padded_buffers,
    trailing_zeros,
    within,
)
from data_tools.kernels.buffers import Bytes, Offsets
from data_tools.kernels.characters import ALPHA, MARK, SPACE, UNSEGMENTED, WORD, character_flags, decode
from data_tools.kernels.line_spans import hash_bytes
from data_tools.kernels.punctuation import SYMBOL, punctuation_flags

HAS_LETTER = 1
HAS_LETTER_OR_DIGIT = 2
HAS_OTHER_THAN_SYMBOLS = 4  # by datatrove's list of symbols
HAS_SYMBOL = 128  # anything but letters, digits, marks and the underscore
_KINDS = HAS_LETTER | HAS_LETTER_OR_DIGIT | HAS_OTHER_THAN_SYMBOLS | HAS_SYMBOL
# What else the loops ask of a character; beside the kinds in one table, so that each is looked up once.
_SPACE = 8
_MARK = 16
_JOINER = 32  # inside a word: apostrophes and the hyphen
_ALONE = 64

_ONE = np.uint64(1)


class WordSpans(NamedTuple):
    """Words ``first[i]`` to ``first[i + 1]`` are those of text ``i``."""

    data: Bytes  # with the room behind it that kernels.blocks asks for
    offsets: Offsets
    first: npt.NDArray[np.int64]  # (texts + 1,)
    starts: npt.NDArray[np.int64]  # (words,) bytes in data
    ends: npt.NDArray[np.int64]
    chars: npt.NDArray[np.int32]  # length in characters
    kinds: npt.NDArray[np.uint8]  # HAS_..., or-ed
    hashes: npt.NDArray[np.uint64]  # of their bytes: line_spans.hash_bytes

    def counts(self) -> npt.NDArray[np.int64]:
        """(texts,) words of each."""
        return np.diff(self.first)


def find_words(column: pa.ChunkedArray | pa.Array, definition: str) -> WordSpans:
    """The words of every text by the definition called ``definition``."""
    data, offsets = padded_buffers(column)
    texts = len(offsets) - 1
    # A word of one byte needs a byte between it and the next; those that need none have three. (Memory is taken by
    # touching it: what stays unused costs nothing.)
    room = int(offsets[-1] - offsets[0]) // 2 + texts + 1
    first = np.zeros(texts + 1, dtype=np.int64)
    starts, ends = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    chars, kinds = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.uint8)
    hashes = np.empty(room, dtype=np.uint64)
    kernel = {"whitespace": _whitespace_words, "unicode-words": _unicode_words}[definition]
    count = kernel(data, offsets, _character_kinds(), first, starts, ends, chars, kinds, hashes)
    return WordSpans(data, offsets, first, starts[:count], ends[:count], chars[:count], kinds[:count], hashes[:count])


@lru_cache(maxsize=1)
def _character_kinds() -> npt.NDArray[np.uint8]:
    """(code points,) what a character makes of the word that it is in, and the flags above."""
    flags = character_flags()
    table = np.zeros_like(flags)
    letter_or_digit = flags & WORD != 0
    letter_or_digit[ord("_")] = False
    table[flags & ALPHA != 0] |= HAS_LETTER
    table[letter_or_digit] |= HAS_LETTER_OR_DIGIT
    table[punctuation_flags() & SYMBOL == 0] |= HAS_OTHER_THAN_SYMBOLS
    table[flags & (WORD | MARK) == 0] |= HAS_SYMBOL
    table[flags & SPACE != 0] = _SPACE
    table[flags & MARK != 0] |= _MARK
    table[[ord(character) for character in "'’-"]] |= _JOINER
    table[flags & UNSEGMENTED != 0] |= _ALONE
    return table


@njit(cache=True, nogil=True)
def _whitespace_words(data, offsets, table, first, starts, ends, chars, kinds, hashes):  # type: ignore[no-untyped-def]
    """Words in ASCII are read off the bits of blocks, others character by character."""
    base = address_of(data)
    count = 0
    for text in range(len(offsets) - 1):
        first[text] = count
        position, end = offsets[text], offsets[text + 1]
        while position < end:
            address = base + np.uint64(position)
            foreign = within(address, 0x80, 0xFF)
            limit = min(end - position, BLOCK, np.int64(trailing_zeros(foreign)))
            letters = within(address, 0x61, 0x7A) | within(address, 0x41, 0x5A)
            digits = within(address, 0x30, 0x39)
            symbols = ~(letters | digits | equal(address, 0x5F))
            space = equal(address, 0x20) | within(address, 0x09, 0x0D) | within(address, 0x1C, 0x1F)
            inside = ~space & first_bits(limit)
            begins = inside & ~(inside << _ONE)
            finished = ~inside & (inside << _ONE)
            if limit < end - position and limit < BLOCK:  # the last word may go on with the character at the limit
                finished &= first_bits(limit)
            while finished:
                start, stop = trailing_zeros(begins), trailing_zeros(finished)
                begins &= begins - _ONE
                finished &= finished - _ONE
                span = ((_ONE << stop) - _ONE) & ~((_ONE << start) - _ONE)
                kind = np.uint8(0)
                if letters & span:
                    kind |= np.uint8(HAS_LETTER | HAS_LETTER_OR_DIGIT | HAS_OTHER_THAN_SYMBOLS)
                if digits & span:
                    kind |= np.uint8(HAS_LETTER_OR_DIGIT | HAS_OTHER_THAN_SYMBOLS)
                if symbols & span:
                    kind |= np.uint8(HAS_SYMBOL)
                starts[count], ends[count] = position + np.int64(start), position + np.int64(stop)
                chars[count], kinds[count] = np.int64(stop - start), kind
                hashes[count] = hash_bytes(data, starts[count], ends[count])
                count += 1
            # The next block begins with the word that this one cuts.
            step = np.int64(trailing_zeros(begins)) if begins else limit
            position += step
            if step and limit == BLOCK:
                continue
            # One word that isn't ASCII, or is as long as a block, and what is about it.
            start_of_word = position
            kind = np.uint8(0)
            extra = 0  # bytes beyond one a character
            while position < end:
                code, size = decode(data, position)
                found = table[code]
                if found & _SPACE:
                    if position > start_of_word:
                        break
                    start_of_word += size
                else:
                    kind |= found
                    extra += size - 1
                position += size
            if position > start_of_word:
                starts[count], ends[count] = start_of_word, position
                chars[count], kinds[count] = position - start_of_word - extra, kind & _KINDS
                hashes[count] = hash_bytes(data, start_of_word, position)
                count += 1
    first[len(offsets) - 1] = count
    return count


@njit(cache=True, nogil=True)
def _unicode_words(data, offsets, table, first, starts, ends, chars, kinds, hashes):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(offsets) - 1):
        first[text] = count
        position, end = offsets[text], offsets[text + 1]
        length, kind, alone = 0, np.uint8(0), False
        joiner = False  # an apostrophe or a hyphen has come that may be inside the word
        word_end = position
        while position < end:
            code = np.int64(data[position])
            size = 1
            if code >= 0x80:
                code, size = decode(data, position)
            found = table[code]
            letter = found & HAS_LETTER_OR_DIGIT != 0
            if length and not (
                (letter and not found & _ALONE and not alone)
                or (found & _MARK and not joiner)
                or (found & _JOINER and not joiner and not alone)
            ):
                ends[count], chars[count], kinds[count] = word_end, length, kind & _KINDS
                hashes[count] = hash_bytes(data, starts[count], word_end)
                count += 1
                length, joiner = 0, False
            if letter:
                if length == 0:
                    starts[count] = position
                    kind = np.uint8(0)
                    alone = found & _ALONE != 0
                length += 1 + joiner
                joiner = False
                kind |= found
                word_end = position + size
            elif length:
                if found & _MARK:
                    length += 1
                    kind |= found
                    word_end = position + size
                else:
                    joiner = True
            position += size
        if length:
            ends[count], chars[count], kinds[count] = word_end, length, kind & _KINDS
            hashes[count] = hash_bytes(data, starts[count], word_end)
            count += 1
    first[len(offsets) - 1] = count
    return count
