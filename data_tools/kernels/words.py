"""Texts to hashes of their lower-cased words, without an object a word.

What a word is here (version 2 of the shingles, `data_tools.dedup.shingles.SHINGLE_VERSION`): a run of letters, digits
and underscores of any script, with the accents and vowel signs that follow them, in simple lower case. Where a script
puts no blanks between words (Chinese, Japanese, Thai ...), each of its characters is a word by itself, so that five
words are five characters there.

The hash of a word takes its lower-cased UTF-8 bytes eight at a time, as little-endian integers, the last filled up
with zeros (no word holds a NUL): ``h = (h ^ x) * A; h ^= h >> 32`` for each, then ``h *= B; h ^= h >> 29``, all modulo
2^64. Words of up to eight bytes never collide, since each step can be undone. The underscore counts as DEL, a character
that is in no word, because that makes the lower case of eight ASCII bytes a single OR.

Most text is ASCII, so 64 bytes are looked at together: eight integer operations on eight bytes each say which bytes
belong to words, and the words are read off the bits of the result. Langdale and Lemire do the same with vector
instructions ("Parsing gigabytes of JSON per second", 2019). Other characters are looked up one at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from data_tools.kernels.blocks import BLOCK, REACH, load_eight, trailing_zeros
from data_tools.kernels.characters import MARK, UNSEGMENTED, WORD, decode

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xD6E8FEB86659FD93)
_HIGH = np.uint64(0x8080808080808080)  # the top bit of each of eight bytes
_CASE = np.uint64(0x2020202020202020)  # what tells a small letter from its capital
_BITS = np.uint64(0x0102040810204080)  # gathers eight top bits, moved down by 7, in the top byte
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
# Seven-bit characters compared with a bound: adding 0x80 - bound sets the top bit from the bound on.
_FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)
_PAST_Z = np.uint64(0x0505050505050505)
_FROM_0 = np.uint64(0x5050505050505050)
_PAST_9 = np.uint64(0x4646464646464646)
_UNDERSCORE = np.uint64(0x5F5F5F5F5F5F5F5F)
_SEVEN_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_SEVEN = np.uint64(7)
_EIGHT = np.uint64(8)
_56 = np.uint64(56)
_32 = np.uint64(32)
_29 = np.uint64(29)


@njit(inline="always")
def _stir(h, x):  # type: ignore[no-untyped-def]
    h = (h ^ x) * _A
    return h ^ (h >> _32)


@njit(inline="always")
def _finish(h):  # type: ignore[no-untyped-def]
    h = h * _B
    return h ^ (h >> _29)


@njit(inline="always")
def _word_bytes(x):  # type: ignore[no-untyped-def]
    """Eight ASCII bytes to eight bits: which of them are letters, digits or underscores."""
    small = x | _CASE
    letter = (small + _FROM_A) & ~(small + _PAST_Z)
    digit = (x + _FROM_0) & ~(x + _PAST_9)
    underscore = ~((x ^ _UNDERSCORE) + _SEVEN_BITS)
    return ((((letter | digit | underscore) & _HIGH) >> _SEVEN) * _BITS) >> _56


@njit
def _first_foreign(address):  # type: ignore[no-untyped-def]
    """How far the first byte of a block is that isn't ASCII."""
    for i in range(8):
        x = load_eight(address + uint64(8 * i)) & _HIGH
        if x:
            return np.int64(8 * i) + np.int64(trailing_zeros(x) >> uint64(3))
    return np.int64(BLOCK)


@njit
def _character_item(data, position, end, flags, lower):  # type: ignore[no-untyped-def]
    """What begins at ``position``: a word, or a character that is in none. ``(is a word, its hash, where it ends)``."""
    code, length = decode(data, position)
    flag = flags[code]
    position += length
    h = uint64(0)
    if not flag & WORD:
        return False, h, position
    alone = (flag & UNSEGMENTED) != 0
    packed = uint64(0)
    filled = 0
    while True:
        code = np.int64(lower[code])
        if code < 0x80:
            if code == 0x5F:
                code = 0x7F
            encoded, length = uint64(code), 1
        elif code < 0x800:
            encoded, length = uint64((0xC0 | (code >> 6)) | ((0x80 | (code & 0x3F)) << 8)), 2
        elif code < 0x10000:
            encoded, length = (
                uint64((0xE0 | (code >> 12)) | ((0x80 | ((code >> 6) & 0x3F)) << 8) | ((0x80 | (code & 0x3F)) << 16)),
                3,
            )
        else:
            encoded, length = (
                uint64(
                    (0xF0 | (code >> 18))
                    | ((0x80 | ((code >> 12) & 0x3F)) << 8)
                    | ((0x80 | ((code >> 6) & 0x3F)) << 16)
                    | ((0x80 | (code & 0x3F)) << 24)
                ),
                4,
            )
        packed |= encoded << uint64(8 * filled)
        filled += length
        if filled >= 8:
            h = _stir(h, packed)
            filled -= 8
            packed = encoded >> uint64(8 * (length - filled)) if filled else uint64(0)
        if position >= end:
            break
        code, length = decode(data, position)
        flag = flags[code]
        if not (flag & MARK or (not alone and flag & WORD and not flag & UNSEGMENTED)):
            break
        position += length
    if filled:
        h = _stir(h, packed)
    return True, _finish(h), position


@njit(cache=True, nogil=True)
def scan_words(data, position, end, flags, lower, hashes, count, room):  # type: ignore[no-untyped-def]
    """Append the hashes of the words of ``data[position:end]`` to ``hashes[count:room]``.

    It stops at the text's end, or, between two words, where fewer than ``BLOCK`` places are left.

    Args:
        data: (bytes,) uint8, valid UTF-8.
        flags, lower: `characters.character_flags()` and `characters.lower_case()`.
        hashes: uint64.

    Returns:
        ``(position, count)``: where to go on, and how many hashes there are now.
    """
    base = uint64(data.ctypes.data)
    last_block = min(np.int64(len(data)) - REACH, end - 1)
    last_count = room - BLOCK
    while position < end and count <= last_count:
        if position <= last_block:
            address = base + uint64(position)
            word = uint64(0)
            foreign = uint64(0)
            for i in range(8):
                x = load_eight(address + uint64(8 * i))
                foreign |= x & _HIGH
                word |= _word_bytes(x & ~_HIGH) << uint64(8 * i)
            limit = min(end - position, np.int64(BLOCK))
            ascii_only = True
            if foreign:
                first = _first_foreign(address)
                if first < limit:
                    limit = first
                    ascii_only = False
            if limit < BLOCK:
                word &= (uint64(1) << uint64(limit)) - uint64(1)
            begins = word & ~(word << uint64(1))
            ends = ~word & (word << uint64(1))
            if not ascii_only:  # the last word may go on with the character at the limit
                ends &= (uint64(1) << uint64(limit)) - uint64(1)
            while ends:
                first_bit = trailing_zeros(begins)
                size = trailing_zeros(ends) - first_bit
                begins &= begins - uint64(1)
                ends &= ends - uint64(1)
                at = address + first_bit
                h = uint64(0)
                while size > _EIGHT:
                    h = _stir(h, load_eight(at) | _CASE)
                    at += _EIGHT
                    size -= _EIGHT
                h = _stir(h, (load_eight(at) | _CASE) & (_ONES >> (uint64(64) - _EIGHT * size)))
                hashes[count] = _finish(h)
                count += 1
            # The next block begins with the word that this one cuts.
            step = np.int64(trailing_zeros(begins)) if begins else limit
            position += step
            if ascii_only and step:
                continue
        # One word or character at a time, until the next eight bytes are ASCII.
        while position < end and count < room:
            is_word, h, position = _character_item(data, position, end, flags, lower)
            if is_word:
                hashes[count] = h
                count += 1
            if position <= last_block and not load_eight(base + uint64(position)) & _HIGH:
                break
    return position, count
