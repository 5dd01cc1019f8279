"""The signals of rules for source code (``filters.code``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from data_tools.kernels.blocks import padded_buffers
from data_tools.kernels.characters import WORD, character_flags, decode
from data_tools.kernels.line_spans import count_characters

SIGNALS = 4

#: Ways to write comments.
UNKNOWN, HASH, SLASHES, DASHES, SEMICOLON, PERCENT, SLASHES_OR_HASH, DASHES_OR_BLOCK, MARKUP = range(9)

_NEWLINE, _BACKSLASH = 0x0A, 0x5C
_QUOTE, _APOSTROPHE, _HASH, _SLASH, _STAR, _DASH, _SEMICOLON, _PERCENT = 0x22, 0x27, 0x23, 0x2F, 0x2A, 0x2D, 0x3B, 0x25


@njit(cache=True, nogil=True)
def _opens_line_comment(data, position, end, syntax):  # type: ignore[no-untyped-def]
    byte = data[position]
    following = data[position + 1] if position + 1 < end else 0
    if byte == _HASH:
        return syntax in (HASH, SLASHES_OR_HASH)
    if byte == _SLASH:
        return following == _SLASH and syntax in (SLASHES, SLASHES_OR_HASH)
    if byte == _DASH:
        return following == _DASH and syntax in (DASHES, DASHES_OR_BLOCK)
    return (byte == _SEMICOLON and syntax == SEMICOLON) or (byte == _PERCENT and syntax == PERCENT)


@njit(cache=True, nogil=True)
def _line_end(data, position, end):  # type: ignore[no-untyped-def]
    while position < end and data[position] != _NEWLINE:
        position += 1
    return position


@njit(cache=True, nogil=True)
def _block_end(data, position, end, syntax):  # type: ignore[no-untyped-def]
    """Behind the block comment that begins at ``position``, the text's end if nothing closes it; 0 if none begins."""
    if syntax == MARKUP:
        if not (
            position + 3 < end
            and data[position] == 0x3C
            and data[position + 1] == 0x21
            and data[position + 2] == _DASH
            and data[position + 3] == _DASH
        ):
            return 0
        position += 4
        while position < end:
            if data[position] == 0x3E and data[position - 1] == _DASH and data[position - 2] == _DASH:
                return position + 1
            position += 1
        return end
    if syntax != SLASHES and syntax != SLASHES_OR_HASH and syntax != DASHES_OR_BLOCK:
        return 0
    if not (position + 1 < end and data[position] == _SLASH and data[position + 1] == _STAR):
        return 0
    position += 2
    while position + 1 < end:
        if data[position] == _STAR and data[position + 1] == _SLASH:
            return position + 2
        position += 1
    return end


@njit(cache=True, nogil=True)
def _string_end(data, position, end):  # type: ignore[no-untyped-def]
    """Behind the quote that closes the string begun at ``position``; 0 if its line ends before."""
    quote = data[position]
    position += 1
    while position < end and data[position] != _NEWLINE:
        if data[position] == quote:
            return position + 1
        position += 2 if data[position] == _BACKSLASH else 1
    return 0


@njit(cache=True, nogil=True)
def _comment_characters(data, start, end, syntax):  # type: ignore[no-untyped-def]
    found = 0
    apostrophes = syntax != SEMICOLON and syntax != PERCENT and syntax != MARKUP
    open_quote = start  # up to here a quote closes nothing: a search has shown it
    open_apostrophe = start
    position = start
    while position < end:
        byte = data[position]
        if _opens_line_comment(data, position, end, syntax):
            stop = _line_end(data, position, end)
            found += count_characters(data, position, stop)
            position = stop
            continue
        stop = _block_end(data, position, end, syntax)
        if stop:
            found += count_characters(data, position, stop)
            position = stop
            continue
        if syntax != MARKUP and byte == _QUOTE and position >= open_quote:
            stop = _string_end(data, position, end)
            if stop:
                position = stop
                continue
            open_quote = _line_end(data, position, end)
        elif apostrophes and byte == _APOSTROPHE and position >= open_apostrophe:
            stop = _string_end(data, position, end)
            if stop:
                position = stop
                continue
            open_apostrophe = _line_end(data, position, end)
        position += 1
    return found


@njit(cache=True, nogil=True)
def _signals(data, offsets, flags, syntaxes, out):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        lines, longest, length, all_chars, in_lines, alphanumeric = 0, 0, 0, 0, 0, 0
        position = start
        while position < end:
            code = np.int64(data[position])
            size = 1
            if code >= 0x80:
                code, size = decode(data, position)
            position += size
            all_chars += 1
            if code == _NEWLINE:
                lines += 1
                length = 0
                continue
            length += 1
            in_lines += 1
            longest = max(longest, length)
            alphanumeric += int(flags[code] & WORD != 0 and code != 0x5F)
        if length:
            lines += 1
        if all_chars:
            out[text, 0] = longest
            out[text, 1] = in_lines / lines
            out[text, 2] = alphanumeric / all_chars
            if syntaxes[text] != UNKNOWN:
                out[text, 3] = _comment_characters(data, start, end, syntaxes[text]) / all_chars


def source_code_signals(column: pa.ChunkedArray | pa.Array, syntaxes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(texts, 4) in the order of ``schema.CODE_SIGNALS``; ``syntaxes`` says how each text writes comments."""
    data, offsets = padded_buffers(column)
    out = np.zeros((len(offsets) - 1, SIGNALS))
    _signals(data, offsets, character_flags(), syntaxes, out)
    return out
