"""Gopher's quality rules (Rae et al. 2021, arXiv:2112.11446, appendix A1.1): signals here, thresholds in the rule.

The paper leaves points open, and known implementations differ. What is meant here:

* words are those of ``annotate.words`` (datatrove: a linguistic tokenizer; DCLM: Unicode words; Dolma: whitespace);
* word lengths are averaged over all words (Dolma takes the median; datatrove leaves punctuation out);
* ``#`` and the ellipsis (``...`` or ``…``) are counted as characters in the text and divided by the number of words,
  separately (Dolma counts the words that hold either, together);
* lines are non-blank lines; a bullet is one of ``• ● ‣ ◦ * -`` after leading blanks (datatrove: ``•`` and ``-``);
* a line ends with an ellipsis if ``...`` or ``…`` is last but for blanks (Dolma: only ``…``);
* a word is alphabetic if it has at least one letter of any script;
* stop words are *distinct* ones, in any case, standing between non-word characters (datatrove is case-sensitive; DCLM
  and Dolma count repetitions);
* comparisons are strict: a value exactly at a threshold is kept;
* a text without words has every ratio 0, and falls by its word count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from data_tools.config import GopherQualityRule
from data_tools.text import words as split_words

if TYPE_CHECKING:
    import pyarrow as pa

#: Raised when a signal or a verdict changes its meaning.
VERSION = "gopher-quality-1"

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = ("•", "●", "‣", "◦", "*", "-")
ELLIPSES = ("...", "…")

_STOP_WORD = re.compile(rf"\b(?:{'|'.join(STOP_WORDS)})\b", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")


class GopherSignals(NamedTuple):
    """Columns of ``signals/``, in the schema's order."""

    words: int
    mean_word_length: float
    hash_ratio: float
    ellipsis_ratio: float
    bullet_lines: float
    ellipsis_lines: float
    alpha_words: float
    stop_words: int


def gopher_signals(text: str, word_definition: str) -> GopherSignals:
    """Measure one document."""
    words = split_words(text, word_definition)
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    n_words, n_lines = len(words), len(lines)
    per_word = 1.0 / n_words if n_words else 0.0
    per_line = 1.0 / n_lines if n_lines else 0.0
    return GopherSignals(
        words=n_words,
        mean_word_length=sum(map(len, words)) * per_word,
        hash_ratio=text.count("#") * per_word,
        ellipsis_ratio=sum(map(text.count, ELLIPSES)) * per_word,
        bullet_lines=sum(line.startswith(BULLETS) for line in lines) * per_line,
        ellipsis_lines=sum(line.endswith(ELLIPSES) for line in lines) * per_line,
        # str.isalpha settles nearly all words without the search
        alpha_words=sum(word.isalpha() or _LETTER.search(word) is not None for word in words) * per_word,
        stop_words=len({match.lower() for match in _STOP_WORD.findall(text)}),
    )


class Threshold(NamedTuple):
    """One test: the reason it gives, the knob it hangs on, the signal it reads, and which side is dropped."""

    reason: str
    knob: str
    signal: str
    drops: Literal["below", "above"]


THRESHOLDS = (
    Threshold("too-few-words", "min_words", "words", "below"),
    Threshold("too-many-words", "max_words", "words", "above"),
    Threshold("short-words", "min_mean_word_length", "mean_word_length", "below"),
    Threshold("long-words", "max_mean_word_length", "mean_word_length", "above"),
    Threshold("hash-symbols", "max_hash_ratio", "hash_ratio", "above"),
    Threshold("ellipsis-symbols", "max_ellipsis_ratio", "ellipsis_ratio", "above"),
    Threshold("bullet-lines", "max_bullet_lines", "bullet_lines", "above"),
    Threshold("ellipsis-lines", "max_ellipsis_lines", "ellipsis_lines", "above"),
    Threshold("few-alphabetic-words", "min_alpha_words", "alpha_words", "below"),
    Threshold("few-stop-words", "min_stop_words", "stop_words", "below"),
)


def gopher_failures(rule: GopherQualityRule, signals: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Reason to boolean column: which rows fail each test that is on. Every test is made, whatever the others say."""
    import pyarrow.compute as pc

    failures = {}
    for test in THRESHOLDS:
        threshold = getattr(rule, test.knob)
        if threshold is not None:
            compare = pc.less if test.drops == "below" else pc.greater
            failures[test.reason] = compare(signals[test.signal], threshold)
    return failures
