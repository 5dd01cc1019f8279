"""What a character is, as tables that compiled loops look up: one byte of flags for each Unicode code point.

The tables come from Python's own Unicode database, so a compiled loop agrees with ``str.isalpha`` and ``re``'s ``\\w``.
(Characters that a newer Unicode version adds become letters with the Python that knows them.)
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

SPACE = 1  # str.isspace
ALPHA = 2  # str.isalpha
WORD = 4  # \w: str.isalnum, or the underscore
UNSEGMENTED = 8  # letters of scripts that put no blanks between words: each counts as a word by itself
PUNCTUATION = 16  # Unicode category P*
UPPER = 32  # str.isupper
DIGIT = 64  # \d: str.isdecimal
MARK = 128  # Unicode category M*: accents, vowel signs

CODE_POINTS = 0x110000
# Beyond this no letters are assigned, but for the tags and variation selectors of plane 14, which are none.
_ASSIGNED = 0x33480

# Blocks of scripts written without blanks: Thai, Lao, Tibetan, Myanmar, Khmer, kana, bopomofo, Han.
_UNSEGMENTED_BLOCKS = (
    (0x0E00, 0x0EFF),
    (0x0F00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x19DF),
    (0x1A20, 0x1AAF),
    (0x3005, 0x3007),
    (0x3021, 0x30FF),
    (0x3100, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x33479),
)


@lru_cache(maxsize=1)
def character_flags() -> npt.NDArray[np.uint8]:
    """(code points,) the flags above, or-ed together."""
    flags = np.zeros(CODE_POINTS, dtype=np.uint8)
    for code in range(_ASSIGNED):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cn", "Cs", "Co"):
            continue
        flag = 0
        if character.isspace():
            flag |= SPACE
        if character.isalpha():
            flag |= ALPHA
        if character.isalnum() or character == "_":
            flag |= WORD
        if category[0] == "P":
            flag |= PUNCTUATION
        if character.isupper():
            flag |= UPPER
        if category == "Nd":
            flag |= DIGIT
        if category[0] == "M":
            flag |= MARK
        flags[code] = flag
    for first, last in _UNSEGMENTED_BLOCKS:
        block = flags[first : last + 1]
        block[(block & (WORD | DIGIT)) == WORD] |= UNSEGMENTED
    return flags


@lru_cache(maxsize=1)
def lower_case() -> npt.NDArray[np.int32]:
    """(code points,) each character's lower case, itself where it has none. One for one: what would become two
    characters becomes the first of them, and a final sigma is a sigma like the others."""
    table = np.arange(CODE_POINTS, dtype=np.int32)
    for code in range(0x1E944):
        character = chr(code)
        lowered = character.lower()
        if lowered != character:
            table[code] = ord(lowered[0])
    return table


@njit(cache=True, nogil=True)
def decode(data, position):  # type: ignore[no-untyped-def]
    """The code point that begins at ``data[position]`` and its length in bytes. The bytes must be valid UTF-8."""
    first = np.int64(data[position])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(data[position + 1]) & 0x3F), 2
    if first < 0xF0:
        return (
            ((first & 0x0F) << 12)
            | ((np.int64(data[position + 1]) & 0x3F) << 6)
            | (np.int64(data[position + 2]) & 0x3F)
        ), 3
    return (
        ((first & 0x07) << 18)
        | ((np.int64(data[position + 1]) & 0x3F) << 12)
        | ((np.int64(data[position + 2]) & 0x3F) << 6)
        | (np.int64(data[position + 3]) & 0x3F)
    ), 4
