"""C4's rules (Raffel et al. 2020, arXiv:1910.10683, section 2.2): lines that go, then pages that go.

The paper and its reference code (tensorflow-datasets, ``c4_utils.py``) disagree; datatrove has a third reading.
``annotate.c4_variant`` and ``clean.lines`` pick one:

=========================  =======================  ===============================  ===============================
point                      ``paper``                ``code``                         ``datatrove`` (0.10.1)
=========================  =======================  ===============================  ===============================
a line must end in         ``. ! ? " ”``            ``. ! ? "``, but not ``...``     ``. ! ? " '``, but not ``...``
words in a line            3 or more                5 or more                        3 or more, counted before
                                                                                     citations go
a word over 1000           (no rule)                the line goes                    the line goes
characters
citation marks             cut out, then the line   cut out                          cut out
``[1] [] [edit]            is stripped
[citation needed]``
javascript, policies       the line goes            the line goes                    the line goes
lorem ipsum, ``{``         anywhere in the page     in a line that came so far       in a line that came so far
sentences in a page        5 or more (a threshold   3 or more                        5 or more
                           of select)
=========================  =======================  ===============================  ===============================

Lines are those of ``str.splitlines``, without the white space around them; words stand between white space; case does
not matter (of ASCII letters); policies are "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of
cookies", "use cookies". Blank lines always go, uncounted. FineWeb runs the rules without the one on line ends.

A page on which a page rule applies is measured on all the same, while the code stops there: its lines are those that
would stay without the page rule. The list of bad words, the removal of repeated spans of three sentences and langdetect
are not part of this module.

Sentences are counted by a simple rule, ``marks``: one ends at a run of ``. ! ? …`` (quotes and brackets may close
behind them) if white space and something more follow, or at one with ``。 ！ ？ ． ｡`` if anything more follows. The
published codes use NLTK's punkt or spaCy. mC4's paragraphs are lines (split at ``\\n``) of 200 characters or more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from data_tools.filters.rules import Flag, Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.filters.line_edits import LineEdits

#: Raised when a signal or an edit changes its meaning.
VERSION = "c4-1"

THRESHOLDS = (
    Threshold("c4/few-sentences", "min_sentences", "c4_sentences", "below"),
    Flag("c4/lorem-ipsum", "drop_lorem_ipsum", "c4_lorem_ipsum"),
    Flag("c4/curly-brace", "drop_curly_brace", "c4_curly_brace"),
    Threshold("c4/few-long-paragraphs", "min_long_paragraphs", "c4_long_paragraphs", "below"),
)

#: What the line rules do, in the order of the kernel's counts.
EDITS = (
    "c4/long-word",
    "c4/no-terminal-punctuation",
    "c4/few-words",
    "c4/javascript",
    "c4/policy",
    "c4/citation",  # places cut out of lines that stay; all others are lines
)

_MIN_WORDS = {"paper": 3, "code": 5, "datatrove": 3}

_NARROW, _WIDE, _CLOSERS = r".!?…", r"。！．？｡", r"\"')\]»’”」』）"
# What ends a sentence, and the white space behind it.
_SENTENCE_END = re.compile(
    rf"(?:[{_NARROW}][{_NARROW}{_CLOSERS}]*+)?(?P<wide>[{_WIDE}])[\s{_NARROW}{_WIDE}{_CLOSERS}]*+"
    rf"|[{_NARROW}][{_NARROW}{_CLOSERS}]*+(?P<space>\s*+)"
)


def sentences_in_line(line: str) -> list[str]:
    """The sentences of a line by the rule ``marks``, marks included: the plain twin of the kernel's count."""
    line = line.strip()
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(line)
        if match.end() < len(line) and (match["wide"] or match["space"])
    ]
    return [line[start:end] for start, end in zip([0, *ends], [*ends, len(line)], strict=True)] if line else []


def c4_signals(
    texts: pa.ChunkedArray | pa.Array, variant: str = "paper", terminal_punctuation: bool = True
) -> dict[str, npt.NDArray[np.generic]]:
    """Measure what the line rules would leave of a column of texts.

    Args:
        texts: strings without nulls.
        variant: ``paper``, ``code`` or ``datatrove``.
        terminal_punctuation: False leaves out the rule on line ends.

    Returns:
        signal to (texts,) numbers, in the order of ``schema.C4_SIGNALS``.
    """
    from data_tools.schema import C4_SIGNALS

    _, _, signals, _ = _apply(texts, variant, terminal_punctuation)
    return {name: signals[:, column].astype(kind.to_pandas_dtype()) for column, (name, kind) in enumerate(C4_SIGNALS)}


def edit_lines(
    texts: pa.ChunkedArray | pa.Array, variant: str = "paper", terminal_punctuation: bool = True
) -> LineEdits:
    """Apply the line rules to a column of texts: lines that go are gone, the others joined by ``\\n``.

    Args:
        texts: strings without nulls.
        variant: ``paper``, ``code`` or ``datatrove``.
        terminal_punctuation: False leaves out the rule on line ends.
    """
    from data_tools.filters.line_edits import LineEdits, strings

    kept, offsets, _, counts = _apply(texts, variant, terminal_punctuation)
    return LineEdits(strings(kept, offsets), {reason: counts[:, column] for column, reason in enumerate(EDITS)})


def _apply(texts: pa.ChunkedArray | pa.Array, variant: str, terminal_punctuation: bool) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    from data_tools.kernels import c4_lines
    from data_tools.kernels.blocks import REACH, padded_buffers
    from data_tools.kernels.characters import character_flags
    from data_tools.kernels.punctuation import punctuation_flags

    data, offsets = padded_buffers(texts)
    kept = np.empty(int(offsets[-1] - offsets[0]) + REACH, dtype=np.uint8)
    kept_offsets = np.zeros(len(offsets), dtype=np.int64)
    signals = np.zeros((len(offsets) - 1, 6), dtype=np.int64)
    counts = np.zeros((len(offsets) - 1, len(EDITS)), dtype=np.int64)
    number = {"paper": c4_lines.PAPER, "code": c4_lines.CODE, "datatrove": c4_lines.DATATROVE}[variant]
    c4_lines.apply_line_rules(
        data, offsets, character_flags(), punctuation_flags(), number, _MIN_WORDS[variant],
        terminal_punctuation, kept, kept_offsets, signals, counts,
    )  # fmt: skip
    return kept[: kept_offsets[-1]], kept_offsets, signals, counts
