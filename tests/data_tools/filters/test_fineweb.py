from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings

from data_tools.filters.fineweb import fineweb_signals
from data_tools.schema import FINEWEB_SIGNALS
from tests.data_tools.filters import plain_signals
from tests.data_tools.filters.made_texts import columns

pytest.importorskip("datatrove")  # whose list of sentence ends the reference reads


def measure(text: str, definitions: str) -> dict[str, float]:
    return {name: values[0] for name, values in fineweb_signals(pa.array([text]), "whitespace", definitions).items()}


@pytest.mark.parametrize("words", ["whitespace", "unicode-words"])
@pytest.mark.parametrize("definitions", ["paper", "datatrove"])
@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_signals_equal_the_plain_reference(texts: list[str], words: str, definitions: str) -> None:
    measured = fineweb_signals(pa.array(texts), words, definitions)
    expected = [plain_signals.fineweb(text, words, definitions) for text in texts]
    assert list(measured) == [name for name, _ in FINEWEB_SIGNALS]
    for name, values in measured.items():
        assert values.tolist() == [signals[name] for signals in expected], name


@pytest.mark.parametrize(
    ("text", "signal", "paper", "datatrove"),
    [
        ("One. \nTwo", "line_end_punctuation", 1 / 2, 0.0),
        ('"One"\nTwo’\nThree.', "line_end_punctuation", 1.0, 1 / 3),
        ("一つ。\nएक।\nthree;", "line_end_punctuation", 2 / 3, 2 / 3),
        ("é" * 30 + "\n" + "é" * 29, "short_lines", 1 / 2, 1.0),
        ("ab\n ab\n\nab", "fineweb_duplicate_line_chars", 4 / 7, 2 / 7),
        ("a b\nc\n\n", "newline_ratio", 1.0, 1.0),
    ],
)
def test_divergences(text: str, signal: str, paper: float, datatrove: float) -> None:
    assert measure(text, "paper")[signal] == measure(text, "dclm")[signal] == pytest.approx(paper)
    assert measure(text, "datatrove")[signal] == pytest.approx(datatrove)
