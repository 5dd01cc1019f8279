"""Where personal data may stand: one pass over the bytes that finds candidates, each a short span to be checked.

The rules are loose on purpose (data_tools.filters.personal_data_checks decides); what counts is that the text is read
once, that every look ahead is bounded, and that ordinary prose yields next to no candidates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.buffers import Bytes, Offsets

EMAIL, NUMBER, IPV4, IPV6, IBAN = 0, 1, 2, 3, 4

_DIGIT, _LETTER, _LOCAL, _DOMAIN, _SEPARATOR, _HEX, _UPPER = 1, 2, 4, 8, 16, 32, 64
_MAX_LOCAL, _MAX_DOMAIN, _WINDOW = 64, 253, 40


def _table() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    for flag, characters in (
        (_DIGIT, "0123456789"),
        (_LETTER, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"),
        (_LOCAL, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._%+-"),
        (_DOMAIN, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-"),
        (_SEPARATOR, " -.()/"),
        (_HEX, "0123456789ABCDEFabcdef"),
        (_UPPER, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ):
        for character in characters:
            table[ord(character)] |= flag
    return table


_TABLE = _table()


@njit(cache=True, nogil=True)
def _scan(data, offsets, table, capacity):  # type: ignore[no-untyped-def]
    found = np.empty((capacity, 4), dtype=np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        i = begin
        while i < end:
            byte = data[i]
            flags = table[byte]
            if flags & _LETTER and not flags & _UPPER:  # most bytes
                i += 1
                continue
            kind = -1
            first = last = following = i + 1
            if byte == 64:  # @
                first, last = i, i + 1
                while first > begin and i - first <= _MAX_LOCAL and table[data[first - 1]] & _LOCAL:
                    first -= 1
                while last < end and last - i <= _MAX_DOMAIN and table[data[last]] & _DOMAIN:
                    last += 1
                if 0 < i - first <= _MAX_LOCAL and 3 < last - i <= _MAX_DOMAIN:
                    kind = EMAIL
            elif flags & _DIGIT:
                while following < end and table[data[following]] & _DIGIT:
                    following += 1
                if i == begin or not table[data[i - 1]] & (_LETTER | _DIGIT):
                    first = i
                    last = _ipv4(data, i, end, table)
                    if last:
                        kind = IPV4
                    else:
                        last = _ipv6(data, i, end, table)
                        if last:
                            kind = IPV6
                        else:
                            first, last = _number(data, begin, i, end, table)
                            if last:
                                kind = NUMBER
            elif flags & _UPPER and (i == begin or not table[data[i - 1]] & (_LETTER | _DIGIT)):
                last = _iban(data, i, end, table)
                if last:
                    first, kind = i, IBAN
            if kind >= 0:
                if count < capacity:
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = text, first, last, kind
                count += 1
            i = following
    return found[: min(count, capacity)], count


@njit(cache=True, nogil=True)
def _ipv4(data, i, end, table):  # type: ignore[no-untyped-def]
    """The end of four groups of one to three digits, or 0."""
    for group in range(4):
        digits = 0
        while i < end and digits < 4 and table[data[i]] & _DIGIT:
            i += 1
            digits += 1
        if digits == 0 or digits > 3:
            return 0
        if group < 3:
            if i >= end or data[i] != 46:
                return 0
            i += 1
    return i


@njit(cache=True, nogil=True)
def _ipv6(data, i, end, table):  # type: ignore[no-untyped-def]
    """The end of hexadecimal groups that begin like a global address (2xxx: or 3xxx:), or 0."""
    if i + 6 > end or data[i + 4] != 58 or not (data[i] == 50 or data[i] == 51):
        return 0
    if not table[data[i + 1]] & table[data[i + 2]] & table[data[i + 3]] & _HEX:
        return 0
    limit = min(end, i + 46)
    while i < limit and (table[data[i]] & _HEX or data[i] == 58 or data[i] == 46):
        i += 1
    return i


@njit(cache=True, nogil=True)
def _number(data, begin, i, end, table):  # type: ignore[no-untyped-def]
    """A span with enough digits for a phone or card number: (first, end), the + or ( before it included; or (0, 0)."""
    first, k, digits, separators, last = i, i, 0, 0, i
    limit = min(end, i + _WINDOW)
    while k < limit and separators < 4:
        flags = table[data[k]]
        if flags & _DIGIT:
            digits += 1
            separators = 0
            last = k + 1
        elif flags & _SEPARATOR:
            separators += 1
        else:
            break
        k += 1
    if first > begin and data[first - 1] == 40:
        first -= 1
    if first > begin and data[first - 1] == 43:
        first -= 1
    enough = digits >= 13
    if data[first] == 43:
        enough = digits >= 8
    elif digits >= 9:
        # National numbers begin with 0, 2 to 9, (, or 1 and a separator: 1-212-...
        enough = data[i] != 49 or first < i or (i + 1 < end and table[data[i + 1]] & _SEPARATOR) != 0
    if not enough:
        return 0, 0
    return first, last


@njit(cache=True, nogil=True)
def _iban(data, i, end, table):  # type: ignore[no-untyped-def]
    """The end of capitals, digits and single blanks that begin with two capitals and two digits, or 0."""
    if i + 15 > end or not (table[data[i + 1]] & _UPPER and table[data[i + 2]] & table[data[i + 3]] & _DIGIT):
        return 0
    limit = min(end, i + 44)
    while i < limit and (table[data[i]] & (_UPPER | _DIGIT) or (data[i] == 32 and data[i - 1] != 32)):
        i += 1
    return i


def candidates(data: Bytes, offsets: Offsets) -> npt.NDArray[np.int64]:
    """Where personal data may stand.

    Args:
        data, offsets: of a column of texts (see :func:`data_tools.kernels.buffers.text_buffers`).

    Returns:
        (candidates, 4): the text's number, first byte and end in ``data``, kind. In the order of where they were met,
        that is by the text and, within it, by the first byte (of an e-mail address: by the ``@``).
    """
    found, count = _scan(data, offsets, _TABLE, 1_024)
    if count > len(found):
        found, count = _scan(data, offsets, _TABLE, count)
    return np.asarray(found)
