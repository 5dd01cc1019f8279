"""Fixed phrases of published line rules, found in any case (of ASCII letters) in one pass over the bytes."""

from __future__ import annotations

import numpy as np
from numba import njit

LOREM_IPSUM, JAVASCRIPT, POLICY, CURLY_BRACE = 1, 2, 4, 8


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


_LOREM_IPSUM = _bytes("lorem ipsum")
_JAVASCRIPT = _bytes("javascript")
_TERMS_OF_USE, _PRIVACY_POLICY = _bytes("terms of use"), _bytes("privacy policy")
_COOKIE_POLICY = _bytes("cookie policy")
_USES_COOKIES, _USE_OF_COOKIES, _USE_COOKIES = _bytes("uses cookies"), _bytes("use of cookies"), _bytes("use cookies")
# The byte in each phrase that English has least of: a phrase is looked for only around it.
_ANCHORS = np.zeros(256, dtype=np.bool_)
_ANCHORS[list(b"pPjJfFvVkK{")] = True


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
    found = 0
    for position in range(start, end):
        if not _ANCHORS[data[position]]:
            continue
        byte = data[position] | 0x20
        if byte == 0x70:  # p
            if stands_at(data, position - 7, start, end, _LOREM_IPSUM):
                found |= LOREM_IPSUM
        elif byte == 0x6A:  # j
            if stands_at(data, position, start, end, _JAVASCRIPT):
                found |= JAVASCRIPT
        elif byte == 0x66:  # f
            if stands_at(data, position - 7, start, end, _TERMS_OF_USE):
                found |= POLICY
        elif byte == 0x76:  # v
            if stands_at(data, position - 3, start, end, _PRIVACY_POLICY):
                found |= POLICY
        elif byte == 0x6B:  # k
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
