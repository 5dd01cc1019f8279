"""Gopher's quality rules (Rae et al. 2021, arXiv:2112.11446, appendix A1.1).

The paper leaves points open, and known implementations differ. ``annotate.definitions`` picks one meaning for each:

====================  ==============================  ==============================  ==============================
point                 ``paper``                       ``datatrove`` (0.10.1)          ``dclm``
====================  ==============================  ==============================  ==============================
words                 all, by ``annotate.words``      those of more than symbols      those with a letter or digit
mean word length      over all words                  over the words counted          over whitespace words
``#`` to words        by all words                    by all words, symbols too       ``#`` and ellipses together,
                                                                                      by whitespace words
ellipsis to words     ``...`` and ``…``               ``...`` and ``…``               ``...``, ``. . .`` and ``…``
                                                                                      (decides nothing of its own)
lines                 not blank, split at ``\\n``      all, as ``str.splitlines``      not blank, split at ``\\n``
bullets               ``• ● ‣ ◦ * -``                 ``• -``                         ``• ● * -``
line ends             ``...`` or ``…``                ``...`` or ``…``                ``...``, ``. . .`` or ``…``
alphabetic words      with a letter of any script     the same                        the same, whitespace words
stop words            distinct, any case, whole       distinct, lower case only,      every occurrence, any case,
                      runs of letters: "(The)"        whole words: not "the,"         whole whitespace words
====================  ==============================  ==============================  ==============================

In all of them bullets may follow white space and ellipses precede it; lengths are in characters; ``....`` holds one
``...``; comparisons are strict (a value exactly at a threshold is kept); and a text without words has every ratio 0,
so that it falls by its word count. (Dolma, which has no definition here, takes the median word length and counts words
that hold a symbol.) datatrove splits words with spaCy; with the same words its decisions are the ones made here. DCLM
counts words by Unicode's word boundaries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_tools.filters.rules import Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.kernels.word_spans import WordSpans

#: Raised when a signal changes its meaning.
VERSION = "gopher-quality-2"

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

THRESHOLDS = (
    Threshold("gopher/short", "min_words", "words", "below"),
    Threshold("gopher/long", "max_words", "words", "above"),
    Threshold("gopher/word-length-short", "min_mean_word_length", "mean_word_length", "below"),
    Threshold("gopher/word-length-long", "max_mean_word_length", "mean_word_length", "above"),
    Threshold("gopher/hash-symbols", "max_hash_ratio", "hash_ratio", "above"),
    Threshold("gopher/ellipsis-symbols", "max_ellipsis_ratio", "ellipsis_ratio", "above"),
    Threshold("gopher/bullet-lines", "max_bullet_lines", "bullet_lines", "above"),
    Threshold("gopher/ellipsis-lines", "max_ellipsis_lines", "ellipsis_lines", "above"),
    Threshold("gopher/alphabetic-words", "min_alpha_words", "alpha_words", "below"),
    Threshold("gopher/stop-words", "min_stop_words", "stop_words", "below"),
)


def gopher_signals(
    texts: pa.ChunkedArray | pa.Array,
    words: str = "whitespace",
    definitions: str = "paper",
    spans: WordSpans | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    """Measure a column of texts.

    Args:
        texts: strings without nulls.
        words: name of the word definition.
        definitions: ``paper``, ``datatrove`` or ``dclm``.
        spans: the texts' words by that definition, if they were found already.

    Returns:
        signal to (texts,) numbers, in the order of ``schema.GOPHER_SIGNALS``.
    """
    from data_tools.kernels.quality import DATATROVE, DCLM, PAPER, quality_signals, words_with_letters_or_digits
    from data_tools.kernels.word_spans import find_words
    from data_tools.schema import GOPHER_SIGNALS

    definition = {"paper": PAPER, "datatrove": DATATROVE, "dclm": DCLM}[definitions]
    if spans is None:
        spans = find_words(texts, words)
    by_whitespace = find_words(texts, "whitespace") if definition == DCLM and words != "whitespace" else spans
    measured = quality_signals(by_whitespace, definition)
    if definition == DCLM:
        measured[:, 0] = words_with_letters_or_digits(spans)
    return {
        name: measured[:, column].astype(kind.to_pandas_dtype()) for column, (name, kind) in enumerate(GOPHER_SIGNALS)
    }
