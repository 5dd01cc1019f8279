"""The signals of FineWeb's own rules, all of them on lines (``filters.fineweb``)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from data_tools.kernels.characters import decode
from data_tools.kernels.line_spans import LineSpans
from data_tools.kernels.punctuation import TERMINAL, punctuation_flags
from data_tools.kernels.repetition import repeated_segments, table_size

SIGNALS = 4

_EVERY = np.bool_(False)  # the first of equal lines doesn't count; no literal, which would be compiled for itself
_QUOTES = (0x22, 0x27, 0x2019, 0x201D)


@njit(cache=True, nogil=True)
def _signals(data, words, endings, shortest, first, starts, ends, chars, blank, hashes, text_chars, out):  # type: ignore[no-untyped-def]
    most_lines = 0
    for text in range(len(first) - 1):
        most_lines = max(most_lines, first[text + 1] - first[text])
    table = np.empty(table_size(most_lines), dtype=np.uint64)
    for text in range(len(first) - 1):
        lines, punctuated, short = 0, 0, 0
        for line in range(first[text], first[text + 1]):
            if blank[line]:
                continue
            lines += 1
            short += int(chars[line] < shortest)
            position = ends[line] - 1
            while data[position] & 0xC0 == 0x80:
                position -= 1
            code, _ = decode(data, position)
            punctuated += int(endings[code])
        newlines = first[text + 1] - first[text] - 1
        if lines:
            out[text, 0] = punctuated / lines
            out[text, 1] = short / lines
            _, _, _, repeated_chars = repeated_segments(
                hashes, chars, blank, first[text], first[text + 1], _EVERY, table
            )
            out[text, 2] = repeated_chars / (text_chars[text] - newlines)
        if newlines:
            out[text, 3] = newlines / max(1, words[text])


@lru_cache(maxsize=2)
def _endings(quotes: bool) -> npt.NDArray[np.bool_]:
    """(code points,) whether a line that ends in it ends in punctuation."""
    table = punctuation_flags() & TERMINAL != 0
    table[list(_QUOTES)] = quotes
    return table


def line_signals(
    lines: LineSpans, words: npt.NDArray[np.int64], shortest: int, quotes: bool
) -> npt.NDArray[np.float64]:
    """(texts, 4) in the order of ``schema.FINEWEB_SIGNALS``.

    Args:
        lines: of the texts.
        words: (texts,) how many words each has.
        shortest: characters of the shortest line that is not a short one.
        quotes: whether a line may end in a quotation mark, too.
    """
    out = np.zeros((len(lines.first) - 1, SIGNALS))
    _signals(
        lines.data, words, _endings(quotes), shortest, lines.first, lines.starts, lines.ends, lines.chars, lines.blank,
        lines.hashes, lines.text_chars, out,
    )  # fmt: skip
    return out
