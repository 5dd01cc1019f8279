"""FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6).

The paper gives thresholds, its code (datatrove) the details, and they differ. ``annotate.definitions`` picks:

==========================  ========================================  =========================================
point                       ``paper`` (and ``dclm``)                  ``datatrove`` (0.10.1)
==========================  ========================================  =========================================
lines                       not blank, split at ``\\n``, without the   not blank, split at ``\\n``, as they are
                            white space around them
line ends in punctuation    a sentence end of any script, or a        a sentence end of any script (a space or a
                            quotation mark ``" ' ” ’`` behind one     carriage return behind it, and it is none)
                            (the marks that C4 takes)
short line                  under 30 characters                       30 characters or less
repeated lines              every one after the first                 the same
share of characters in      of all characters but line breaks         the same
repeated lines
line breaks                 by the words                              the same
==========================  ========================================  =========================================

The paper drops a document *at* a threshold, datatrove only beyond it: for values that sit exactly on one, the preset
``datatrove-0.10`` moves its thresholds by the smallest step that numbers know. A text without a line has every signal 0
and so falls by its line ends, as in datatrove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_tools.filters.rules import Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.kernels.line_spans import LineSpans
    from data_tools.kernels.word_spans import WordSpans

#: Raised when a signal changes its meaning.
VERSION = "fineweb-1"

THRESHOLDS = (
    Threshold("fineweb/line-end-punctuation", "min_line_end_punctuation", "line_end_punctuation", "at-or-below"),
    Threshold("fineweb/short-lines", "max_short_lines", "short_lines", "at-or-above"),
    Threshold(
        "fineweb/duplicate-line-chars", "max_duplicate_line_chars", "fineweb_duplicate_line_chars", "at-or-above"
    ),
    Threshold("fineweb/newlines", "max_newline_ratio", "newline_ratio", "above"),
)


def fineweb_signals(
    texts: pa.ChunkedArray | pa.Array,
    words: str = "whitespace",
    definitions: str = "paper",
    spans: WordSpans | None = None,
    lines: LineSpans | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    """Measure a column of texts.

    Args:
        texts: strings without nulls.
        words: name of the word definition.
        definitions: ``paper``, ``datatrove`` or ``dclm``.
        spans: the texts' words by that definition, if they were found already.
        lines: their lines (stripped but for ``datatrove``), if they were found already.

    Returns:
        signal to (texts,) numbers, in the order of ``schema.FINEWEB_SIGNALS``.
    """
    from data_tools.kernels.line_spans import find_lines
    from data_tools.kernels.lines import line_signals
    from data_tools.kernels.word_spans import find_words
    from data_tools.schema import FINEWEB_SIGNALS

    strict = definitions == "datatrove"
    spans = find_words(texts, words) if spans is None else spans
    lines = find_lines(texts, stripped=not strict) if lines is None else lines
    measured = line_signals(lines, spans.counts(), shortest=31 if strict else 30, quotes=not strict)
    return {name: measured[:, column] for column, (name, _) in enumerate(FINEWEB_SIGNALS)}
