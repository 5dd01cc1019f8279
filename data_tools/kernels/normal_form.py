"""What normalization would have to do to a text, found out at memory speed: for most texts, nothing.

The rules themselves are ``data_tools.text``'s. Here they are turned round: a flag that is not raised is a promise that
its step changes nothing; a raised one promises nothing, the step itself will see.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.buffers import Bytes, Offsets

CONTROLS = 1  # control characters, byte order marks, or newlines other than \n
COMPOSE = 2  # perhaps not in Unicode's normal form C
BLANKS = 4  # blanks before a newline or at the end, newlines at the beginning or the end
WHITE = 8  # ends with white space beyond ASCII: might be nothing else
INVALID = 16  # no UTF-8; what follows wasn't looked at
LONG_OR_EMPTY = 32  # for columns: longer than allowed, or without a byte

# All of the alphabets and the emoji. Ideographs beyond count as COMPOSE, so that somebody else looks at them.
_KNOWN = 0x20000
_NEWLINES = (0x85, 0x2028, 0x2029)
# Wide enough for the fast loops to get going; within a block with other characters than ASCII each byte is looked at.
_BLOCK = np.uint64(128)


@lru_cache(maxsize=1)
def normal_form_characters() -> npt.NDArray[np.uint16]:
    """(code points,) the canonical combining class, and above it (``<< 8``) the flags that a character raises."""
    table = np.zeros(_KNOWN, dtype=np.uint16)
    for code in range(0x80, _KNOWN):
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and parts[0][0] != "<":
            # The second can melt into what stands before it (NFC_Quick_Check=Maybe, and a few that never do).
            table[int(parts[1], 16)] |= COMPOSE << 8
        if not unicodedata.is_normalized("NFC", character):
            table[code] |= COMPOSE << 8
        if code < 0xA0 or code == 0xFEFF or code in _NEWLINES:
            table[code] |= CONTROLS << 8
        if character.isspace():
            table[code] |= WHITE << 8
        table[code] |= unicodedata.combining(character)
    table[0x1160:0x1200] |= COMPOSE << 8  # Hangul vowels and final consonants
    table[0xD800:0xE000] |= INVALID << 8  # surrogates
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _steps(data, start, end, characters):  # type: ignore[no-untyped-def]
    """The flags of ``data[start:end]``, which isn't empty. Unicode Standard Annex 15, "Detecting Normalization
    Forms", but without an answer where that needs more than one look at each character."""
    one = np.uint64(1)
    first, last = data[start], data[end - one]
    blanks = first == 10 or last == 10 or last == 32 or last == 9
    controls = False
    flags = np.int64(0)
    position = start
    combining = np.int64(0)
    while position < end:
        stop = min(position + _BLOCK, end)
        # Two loops without branches, which the compiler turns into a few wide instructions.
        beyond_ascii = False
        for at in range(position, stop):
            byte = data[at]
            beyond_ascii |= byte >= 128
            controls |= ((byte < 32) & (byte != 10) & (byte != 9)) | (byte == 127)
        for at in range(position, min(stop, end - one)):
            blanks |= ((data[at] == 32) | (data[at] == 9)) & (data[at + one] == 10)
        if not beyond_ascii:
            position = stop
            combining = np.int64(0)
            continue
        while position < stop:
            byte = np.int64(data[position])
            if byte < 0x80:
                position += one
                combining = np.int64(0)
                continue
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            if byte < 0xC2 or byte > 0xF4 or position + np.uint64(size) > end:
                return INVALID
            code = byte & (0xFF >> (size + 1))
            for i in range(1, size):
                following = np.int64(data[position + np.uint64(i)])
                if following & 0xC0 != 0x80:
                    return INVALID
                code = code << 6 | following & 0x3F
            if (size == 3 and code < 0x800) or (size == 4 and (code < 0x10000 or code > 0x10FFFF)):
                return INVALID
            position += np.uint64(size)
            known = np.int64(characters[code]) if code < _KNOWN else np.int64(COMPOSE << 8)
            raised = known >> 8
            if raised & INVALID:
                return INVALID
            if (known & 0xFF) != 0 and combining > known & 0xFF:
                raised |= COMPOSE
            combining = known & 0xFF
            if position < end:
                raised &= ~WHITE
            flags |= raised
    return flags | (CONTROLS if controls else 0) | (BLANKS if blanks else 0)


@njit(cache=True, nogil=True)
def _all_steps(data, offsets, longest, characters, out):  # type: ignore[no-untyped-def]
    for i in range(len(offsets) - 1):
        if offsets[i + 1] - offsets[i] > longest or offsets[i + 1] == offsets[i]:
            out[i] = LONG_OR_EMPTY
        else:
            out[i] = _steps(data, np.uint64(offsets[i]), np.uint64(offsets[i + 1]), characters)


def _steps_of(data: Bytes, offsets: Offsets, longest: int) -> npt.NDArray[np.uint8]:
    # Arrays that may be written to are another type, for which Numba would compile once more.
    data, offsets = data.view(), offsets.view()
    data.flags.writeable = offsets.flags.writeable = False
    steps = np.empty(len(offsets) - 1, dtype=np.uint8)
    _all_steps(data, offsets, longest, normal_form_characters(), steps)
    return steps


def steps_needed(raw: bytes) -> int:
    """Which steps of a normalization may change a text (in valid UTF-8): the flags above, or-ed together."""
    return int(_steps_of(np.frombuffer(raw, dtype=np.uint8), np.array([0, len(raw)]), len(raw))[0])


def are_clean(data: Bytes, offsets: Offsets, longest: int) -> npt.NDArray[np.bool_]:
    """(texts,) whether a text is valid UTF-8, not blank, of at most ``longest`` bytes, and nothing that any of
    the normalizations ``none``, ``nfc`` and ``nfc-clean`` would change. What isn't called clean may be so too.

    Args:
        data, offsets: as of :func:`data_tools.kernels.buffers.text_buffers`; not checked to be UTF-8.
    """
    steps = _steps_of(data, offsets, longest)
    for index in np.flatnonzero(steps == COMPOSE):
        text = data[offsets[index] : offsets[index + 1]].tobytes().decode()
        if unicodedata.is_normalized("NFC", text):
            steps[index] = 0
    return steps == 0
