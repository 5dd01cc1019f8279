"""Fixed phrases of published line rules, found in any case (of ASCII letters) in one pass over the bytes."""

from __future__ import annotations

import numpy as np
from numba import njit

from data_tools.kernels.blocks import BLOCK, address_of, equal, equal_folded, first_bits, trailing_zeros

LOREM_IPSUM, JAVASCRIPT, POLICY, CURLY_BRACE = 1, 2, 4, 8


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


_LOREM_IPSUM = _bytes("lorem ipsum")
_JAVASCRIPT = _bytes("javascript")
_TERMS_OF_USE, _PRIVACY_POLICY = _bytes("terms of use"), _bytes("privacy policy")
_COOKIE_POLICY = _bytes("cookie policy")
_USES_COOKIES, _USE_OF_COOKIES, _USE_COOKIES = _bytes("uses cookies"), _bytes("use of cookies"), _bytes("use cookies")
_A, _C, _E, _F, _I, _J, _K, _P, _S, _U, _V = b"acefijkpsuv"
_BLANK, _BRACE = b" {"


@njit(cache=True, nogil=True)
def stands_at(data, at, start, end, phrase):  # type: ignore[no-untyped-def]
    """Whether ``phrase`` (in lower case) stands at ``data[at:]``, inside ``data[start:end]``."""
    if at < start or at + len(phrase) > end:
        return False
    for index in range(len(phrase)):
        byte = data[at + index]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != phrase[index]:
            return False
    return True


@njit(cache=True, nogil=True)
def find_phrases(data, start, end):  # type: ignore[no-untyped-def]
    """Which of C4's phrases ``data[start:end]`` holds: the constants above, or-ed."""
    base = address_of(data)
    found = 0
    for block in range(start, end, BLOCK):
        address = base + np.uint64(block)
        after, behind = address + np.uint64(1), address + np.uint64(2)
        # Two or three letters in a row that only few words have, the first of them a rare one.
        anchors = (
            (equal_folded(address, _P) & equal_folded(after, _S))
            | equal_folded(address, _J)
            | (equal_folded(address, _F) & equal(after, _BLANK) & equal_folded(behind, _U))
            | (equal_folded(address, _V) & equal_folded(after, _A) & equal_folded(behind, _C))
            | (equal_folded(address, _K) & equal_folded(after, _I) & equal_folded(behind, _E))
            | equal(address, _BRACE)
        ) & first_bits(end - block)
        while anchors:
            position = block + np.int64(trailing_zeros(anchors))
            anchors &= anchors - np.uint64(1)
            byte = data[position] | 0x20
            if byte == _P:
                if stands_at(data, position - 7, start, end, _LOREM_IPSUM):
                    found |= LOREM_IPSUM
            elif byte == _J:
                if stands_at(data, position, start, end, _JAVASCRIPT):
                    found |= JAVASCRIPT
            elif byte == _F:
                if stands_at(data, position - 7, start, end, _TERMS_OF_USE):
                    found |= POLICY
            elif byte == _V:
                if stands_at(data, position - 3, start, end, _PRIVACY_POLICY):
                    found |= POLICY
            elif byte == _K:
                if (
                    stands_at(data, position - 3, start, end, _COOKIE_POLICY)
                    or stands_at(data, position - 8, start, end, _USES_COOKIES)
                    or stands_at(data, position - 10, start, end, _USE_OF_COOKIES)
                    or stands_at(data, position - 7, start, end, _USE_COOKIES)
                ):
                    found |= POLICY
            else:
                found |= CURLY_BRACE
    return found
