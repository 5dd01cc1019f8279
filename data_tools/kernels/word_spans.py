"""The words of a column of texts, found once and read by every kernel that works on words.

Two definitions, by the names that ``annotate.words`` has (``data_tools.text`` is the plain twin):

* ``whitespace``: what stands between white space, as ``str.split`` has it;
* ``unicode-words``: runs of letters and digits with inner apostrophes and hyphens. Combining marks belong to the word
  that they follow, and a letter of a script without blanks (Chinese, Japanese, Thai ...) is a word by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_tools.kernels.buffers import Bytes, Offsets, text_buffers
from data_tools.kernels.characters import ALPHA, MARK, SPACE, UNSEGMENTED, WORD, character_flags, decode
from data_tools.kernels.punctuation import SYMBOL, punctuation_flags

HAS_LETTER = 1
HAS_LETTER_OR_DIGIT = 2
HAS_OTHER_THAN_SYMBOLS = 4  # by datatrove's list of symbols

_UNDERSCORE, _APOSTROPHE, _HYPHEN, _TYPOGRAPHIC_APOSTROPHE = 0x5F, 0x27, 0x2D, 0x2019


class WordSpans(NamedTuple):
    """Words ``first[i]`` to ``first[i + 1]`` are those of text ``i``."""

    data: Bytes
    offsets: Offsets
    first: npt.NDArray[np.int64]  # (texts + 1,)
    starts: npt.NDArray[np.int64]  # (words,) bytes in data
    ends: npt.NDArray[np.int64]
    chars: npt.NDArray[np.int32]  # length in characters
    kinds: npt.NDArray[np.uint8]  # HAS_..., or-ed

    def counts(self) -> npt.NDArray[np.int64]:
        """(texts,) words of each."""
        return np.diff(self.first)


def find_words(column: pa.ChunkedArray | pa.Array, definition: str) -> WordSpans:
    """The words of every text by the definition called ``definition``."""
    data, offsets = text_buffers(column)
    texts = len(offsets) - 1
    # A word of one byte needs a byte between it and the next; those that need none have three. (Memory is taken by
    # touching it: what stays unused costs nothing.)
    room = int(offsets[-1] - offsets[0]) // 2 + texts + 1
    first = np.zeros(texts + 1, dtype=np.int64)
    starts, ends = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    chars, kinds = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.uint8)
    kernel = {"whitespace": _whitespace_words, "unicode-words": _unicode_words}[definition]
    count = kernel(data, offsets, character_flags(), punctuation_flags(), first, starts, ends, chars, kinds)
    return WordSpans(data, offsets, first, starts[:count], ends[:count], chars[:count], kinds[:count])


@njit(cache=True, nogil=True)
def _whitespace_words(data, offsets, flags, punctuation, first, starts, ends, chars, kinds):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(offsets) - 1):
        first[text] = count
        position, end = offsets[text], offsets[text + 1]
        length, kind = 0, 0
        while position < end:
            code = np.int64(data[position])
            size = 1
            if code >= 0x80:
                code, size = decode(data, position)
            flag = flags[code]
            if flag & SPACE:
                if length:
                    ends[count], chars[count], kinds[count] = position, length, kind
                    count += 1
                    length = 0
            else:
                if length == 0:
                    starts[count] = position
                    kind = 0
                length += 1
                if flag & ALPHA:
                    kind |= HAS_LETTER | HAS_LETTER_OR_DIGIT | HAS_OTHER_THAN_SYMBOLS
                else:
                    if flag & WORD and code != _UNDERSCORE:
                        kind |= HAS_LETTER_OR_DIGIT
                    if not punctuation[code] & SYMBOL:
                        kind |= HAS_OTHER_THAN_SYMBOLS
            position += size
        if length:
            ends[count], chars[count], kinds[count] = end, length, kind
            count += 1
    first[len(offsets) - 1] = count
    return count


@njit(cache=True, nogil=True)
def _unicode_words(data, offsets, flags, punctuation, first, starts, ends, chars, kinds):  # type: ignore[no-untyped-def]
    count = 0
    for text in range(len(offsets) - 1):
        first[text] = count
        position, end = offsets[text], offsets[text + 1]
        length, kind = 0, 0
        alone = False  # the word is a letter that takes no other letters
        joiner = -1  # where an apostrophe or a hyphen stands that may be inside a word
        word_end = position
        while position < end:
            code = np.int64(data[position])
            size = 1
            if code >= 0x80:
                code, size = decode(data, position)
            flag = flags[code]
            letter = flag & WORD != 0 and code != _UNDERSCORE
            unsegmented = flag & UNSEGMENTED != 0
            if length and not (
                (letter and not unsegmented and not alone)
                or (flag & MARK and joiner < 0)
                or (
                    (code == _APOSTROPHE or code == _HYPHEN or code == _TYPOGRAPHIC_APOSTROPHE)
                    and joiner < 0
                    and not alone
                )
            ):
                ends[count], chars[count], kinds[count] = word_end, length, kind
                count += 1
                length = 0
                joiner = -1
            if letter:
                if length == 0:
                    starts[count] = position
                    kind = HAS_LETTER_OR_DIGIT
                    alone = unsegmented
                elif joiner >= 0:
                    length += 1
                    joiner = -1
                length += 1
                word_end = position + size
                if flag & ALPHA:
                    kind |= HAS_LETTER | HAS_OTHER_THAN_SYMBOLS
                elif not punctuation[code] & SYMBOL:
                    kind |= HAS_OTHER_THAN_SYMBOLS
            elif length:
                if flag & MARK:
                    length += 1
                    word_end = position + size
                    kind |= HAS_OTHER_THAN_SYMBOLS
                else:
                    joiner = position
            position += size
        if length:
            ends[count], chars[count], kinds[count] = word_end, length, kind
            count += 1
    first[len(offsets) - 1] = count
    return count
