"""Gopher's repetition rules (Rae et al. 2021, arXiv:2112.11446, table A1).

The paper has thresholds and one sentence on each rule. ``annotate.definitions`` picks what is counted:

=======================  ==============================  ==============================  ==============================
point                    ``paper``                       ``datatrove`` (0.10.1)          ``dclm``
=======================  ==============================  ==============================  ==============================
lines                    not blank, without the white    split at runs of ``\\n``, as     as ``paper``
                         space around them               they are (a line break at an
                                                         end leaves an empty one)
paragraphs               runs of lines that are not      split at two ``\\n`` or more,    as ``paper`` (DCLM itself
                         blank                           of the stripped text            splits at ``\\n\\n``)
a line or paragraph      there is another equal to it:   it was there before: the first  as ``paper``
is a duplicate if        all of them are                 is none
their characters         of those of all lines or        of those of the text, white     as ``paper``
are a share              paragraphs                      space included
n-grams                  of all words                    of all words                    of words with a letter or digit
top n-gram               the characters of its words,    its characters, blanks          as ``paper``
                         times its count; 0 if nothing   between the words included,
                         is repeated; of ties the        times its count, be it 1; of
                         longest                         ties the first
duplicate n-grams        characters of words inside any  a scan from the left that       as ``paper``
                         n-gram that occurs twice or     jumps behind each n-gram that
                         more, each word once            was there before; n-grams are
                                                         equal as strings without the
                                                         blanks: "a bc" is "ab c"
n-grams' characters      of those of the words           of those of the text            of those of the words with a
are a share                                                                              letter or digit
=======================  ==============================  ==============================  ==============================

Comparisons are strict. Occurrences of a top n-gram that overlap count each, so its share can exceed 1. An empty text
has every signal 0, but for ``datatrove``, which drops it: there all of it is duplicate lines. (Dolma divides by the
characters of all n-grams together, which is no share of the text; it has no definition here.)

Where the paper is silent, ``paper`` follows its words: characters "contained within" duplicates, wherever they stand.
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
VERSION = "gopher-repetition-1"

THRESHOLDS: tuple[Threshold, ...] = (
    Threshold("repetition/duplicate-lines", "max_duplicate_lines", "duplicate_lines", "above"),
    Threshold("repetition/duplicate-paragraphs", "max_duplicate_paragraphs", "duplicate_paragraphs", "above"),
    Threshold("repetition/duplicate-line-chars", "max_duplicate_line_chars", "duplicate_line_chars", "above"),
    Threshold(
        "repetition/duplicate-paragraph-chars", "max_duplicate_paragraph_chars", "duplicate_paragraph_chars", "above"
    ),
    *(Threshold(f"repetition/top-{n}-gram", f"max_top_{n}_gram", f"top_{n}_gram", "above") for n in (2, 3, 4)),
    *(
        Threshold(f"repetition/duplicate-{n}-grams", f"max_duplicate_{n}_grams", f"duplicate_{n}_grams", "above")
        for n in range(5, 11)
    ),
)


def repetition_signals(
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
        signal to (texts,) numbers, in the order of ``schema.REPETITION_SIGNALS``.
    """
    from data_tools.kernels.line_spans import find_lines
    from data_tools.kernels.repetition import DATATROVE, DCLM, PAPER, ngram_and_segment_signals
    from data_tools.kernels.word_spans import find_words
    from data_tools.schema import REPETITION_SIGNALS

    definition = {"paper": PAPER, "datatrove": DATATROVE, "dclm": DCLM}[definitions]
    spans = find_words(texts, words) if spans is None else spans
    lines = find_lines(texts, stripped=definition != DATATROVE) if lines is None else lines
    measured = ngram_and_segment_signals(spans, lines, definition)
    return {name: measured[:, column] for column, (name, _) in enumerate(REPETITION_SIGNALS)}
