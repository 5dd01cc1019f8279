"""The preset ``datatrove-0.10`` and datatrove's C4 decide as datatrove does, when it is given the same words."""

from __future__ import annotations

import random
from functools import partial

import pytest

from data_tools.filters.c4 import edit_lines
from data_tools.kernels.punctuation import SYMBOL, TERMINAL, punctuation_flags
from data_tools.text import words
from tests.data_tools.filters.datatrove_decisions import FILTERS, REASONS, decide, decide_ours
from tests.data_tools.filters.made_texts import make_document

pytest.importorskip("datatrove")

EDGES = [
    "", "\n", "\n\n", " ", "\n \n", "word", "word\n", "\nword", "\nword\n", "a b", "a b c d e", "a a a a a a",
    "the of " * 40, "- \n" * 60, "one line of words. " * 30, "line\r\nline\r\n" * 20, "...\n" * 60, "# # #\n" * 30,
    "the\u00a0river of\u00a0water. " * 30, "1 2 3 4\n" * 40, "日本語のテキスト。\n" * 30, "a bc\nab c\n" * 30,
    "x\n\n\nx\n\n\nx", " a\n\na ", "ab " * 25 + "\n" + "abab " * 12,
    # Exactly at FineWeb's thresholds: 3 of 25 lines, 67 of 100, one hundredth of the characters.
    "".join(f"line {n} of enough words to be a long one{'.' if n < 3 else ''}\n" for n in range(25)),
    "\n".join(f"short line {n}." if n < 67 else f"line {n} has some more words that end well." for n in range(100)),
    f"{'y' * 8}.\n" * 2 + f"{'many words that fill it up, one by one, ' * 22}x.",
]  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(20261126)
    return EDGES + [make_document(rng) for _ in range(2000)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "word_definition"),
    [(name, "whitespace") for name in FILTERS] + [(name, "unicode-words") for name in FILTERS if name[:2] != "c4"],
)
def test_the_same_documents_stay_and_datatroves_reason_is_among_ours(
    texts: list[str], name: str, word_definition: str
) -> None:
    theirs = decide(texts, name, partial(words, name=word_definition))
    ours = decide_ours(texts, name, word_definition)
    kept = 0
    for text, (reason, _), reasons in zip(texts, theirs, ours, strict=True):
        if reason == "empty":
            assert reasons
        elif reason is not None:
            assert REASONS[reason] in reasons, text
        else:
            assert not reasons, text
            kept += 1
    assert 100 < kept < 1900, "the texts must try both sides"


@pytest.mark.parametrize("name", ["c4", "c4_without_end_marks"])
def test_the_same_lines_stay(texts: list[str], name: str) -> None:
    import pyarrow as pa

    theirs = decide(texts, name)
    ours = edit_lines(pa.array(texts), "datatrove", terminal_punctuation=name == "c4").texts.to_pylist()
    for text, (reason, left), edited in zip(texts, theirs, ours, strict=True):
        if reason is None:
            assert edited == left, text


def test_the_lists_of_marks_are_datatroves() -> None:
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    table = punctuation_flags()
    assert {chr(code) for code in (table & TERMINAL).nonzero()[0]} == TERMINAL_PUNCTUATION
    assert {chr(code) for code in (table & SYMBOL).nonzero()[0]} == PUNCTUATION_SET
