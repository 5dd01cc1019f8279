from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import GopherRepetitionRule
from data_tools.filters.repetition import THRESHOLDS, repetition_signals
from data_tools.schema import REPETITION_SIGNALS
from tests.data_tools.filters import plain_signals
from tests.data_tools.filters.made_texts import columns

DEFINITIONS = ["paper", "datatrove", "dclm"]


def measure(text: str, definitions: str = "paper") -> dict[str, float]:
    return {name: values[0] for name, values in repetition_signals(pa.array([text]), "whitespace", definitions).items()}


@pytest.mark.parametrize("words", ["whitespace", "unicode-words"])
@pytest.mark.parametrize("definitions", DEFINITIONS)
@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_signals_equal_the_plain_reference(texts: list[str], words: str, definitions: str) -> None:
    _equal(texts, words, definitions)


# Few words, often repeated, of which some make others: where n-grams and ties decide.
_chatter = st.lists(st.sampled_from(["a", "b", "ab", "ba", "c", "é", "-"]), max_size=60).map(" ".join)


@pytest.mark.parametrize("definitions", DEFINITIONS)
@settings(deadline=None, max_examples=40)
@given(texts=st.lists(st.one_of(_chatter, st.lists(_chatter, max_size=6).map("\n".join)), min_size=1, max_size=3))
def test_ngrams_equal_the_plain_reference_where_words_repeat(texts: list[str], definitions: str) -> None:
    _equal(texts, "whitespace", definitions)


def _equal(texts: list[str], words: str, definitions: str) -> None:
    measured = repetition_signals(pa.array(texts), words, definitions)
    expected = [plain_signals.repetition(text, words, definitions) for text in texts]
    assert list(measured) == [name for name, _ in REPETITION_SIGNALS]
    for name, values in measured.items():
        assert values.tolist() == [signals[name] for signals in expected], name


#: One example for every point in the table of filters/repetition.py: text, signal, value by paper, datatrove, dclm.
DIVERGENCES = [
    ("ab\nab\ncd", "duplicate_lines", (2 / 3, 1 / 3, 2 / 3)),
    ("ab\n ab\ncd", "duplicate_lines", (2 / 3, 0.0, 2 / 3)),
    ("\nab\n", "duplicate_lines", (0.0, 1 / 3, 0.0)),
    ("ab\nab\ncd", "duplicate_line_chars", (4 / 6, 2 / 8, 4 / 6)),
    ("ab\n\nab\n \ncd", "duplicate_paragraphs", (2 / 3, 0.0, 2 / 3)),
    ("ab\n\nab\n\n\ncd", "duplicate_paragraph_chars", (4 / 6, 2 / 11, 4 / 6)),
    ("a b c", "top_2_gram", (0.0, 3 / 5, 0.0)),
    ("a b a b", "top_2_gram", (4 / 4, 6 / 7, 4 / 4)),
    ("a b x yyy zzz yyy zzz x a b", "top_2_gram", (12 / 18, 6 / 27, 12 / 18)),
    ("a - b - a - b -", "top_2_gram", (4 / 8, 6 / 15, 4 / 4)),
    ("a bc d e f ab c d e f", "duplicate_5_grams", (0.0, 6 / 21, 0.0)),
    ("a b c d e f a b c d e f", "duplicate_5_grams", (1.0, 5 / 23, 1.0)),
    ("a b c d e f a b c d e f", "duplicate_6_grams", (1.0, 6 / 23, 1.0)),
    ("", "duplicate_lines", (0.0, 1.0, 0.0)),
]


@pytest.mark.parametrize(("text", "signal", "values"), DIVERGENCES)
def test_divergences(text: str, signal: str, values: tuple[float, float, float]) -> None:
    assert tuple(measure(text, definitions)[signal] for definitions in DEFINITIONS) == pytest.approx(values)


def test_overlaps_count_once() -> None:
    assert measure("x " * 50)["duplicate_5_grams"] == 1.0


def test_a_long_text_outgrows_every_first_table() -> None:
    text = " ".join(f"w{n}" for n in range(20_000)) + " " + " ".join(f"w{n}" for n in range(5_000))
    assert measure(text) == plain_signals.repetition(text, "whitespace", "paper")


def test_every_signal_has_its_threshold() -> None:
    assert [test.signal for test in THRESHOLDS] == [name for name, _ in REPETITION_SIGNALS]
    assert {test.knob for test in THRESHOLDS} == set(GopherRepetitionRule.model_fields)
    assert {test.drops for test in THRESHOLDS} == {"above"}
