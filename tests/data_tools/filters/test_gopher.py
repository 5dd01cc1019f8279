from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings

from data_tools.config import GopherQualityRule
from data_tools.filters.gopher import STOP_WORDS, THRESHOLDS, gopher_signals
from data_tools.filters.rules import failures
from data_tools.schema import GOPHER_SIGNALS
from tests.data_tools.filters import plain_signals
from tests.data_tools.filters.made_texts import columns

DEFINITIONS = ["paper", "datatrove", "dclm"]


def measure(text: str, words: str = "whitespace", definitions: str = "paper") -> dict[str, float]:
    return {name: values[0] for name, values in gopher_signals(pa.array([text]), words, definitions).items()}


@pytest.mark.parametrize("words", ["whitespace", "unicode-words"])
@pytest.mark.parametrize("definitions", DEFINITIONS)
@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_signals_equal_the_plain_reference(texts: list[str], words: str, definitions: str) -> None:
    if definitions == "datatrove":
        pytest.importorskip("datatrove")
    measured = gopher_signals(pa.array(texts), words, definitions)
    expected = [plain_signals.gopher(text, words, definitions) for text in texts]
    assert list(measured) == [name for name, _ in GOPHER_SIGNALS]
    for name, values in measured.items():
        assert values.tolist() == [signals[name] for signals in expected], name


@pytest.mark.parametrize("definitions", DEFINITIONS)
def test_a_text_without_words_has_no_ratios(definitions: str) -> None:
    assert set(measure("", definitions=definitions).values()) == {0}
    assert measure("\n \n", definitions=definitions)["bullet_lines"] == 0


def test_part_of_a_column() -> None:
    whole = pa.array(["not this", "the river of time", "and this"], pa.large_string())
    part = pa.chunked_array([whole[1:2], whole[2:]])
    assert gopher_signals(part)["words"].tolist() == [4, 2]
    assert gopher_signals(pa.array([], pa.string()))["words"].tolist() == []


#: One example for every point in the table of filters/gopher.py: text, signal, value by paper, datatrove, dclm.
DIVERGENCES = [
    ("one - two --", "words", (4, 2, 2)),
    ("one - two --", "mean_word_length", (9 / 4, 3.0, 9 / 4)),
    ("a # b ...", "hash_ratio", (1 / 4, 1 / 4, 2 / 4)),
    ("a . . . b", "ellipsis_ratio", (0.0, 0.0, 1 / 5)),
    ("- a\n\n- b\n\n", "bullet_lines", (1.0, 1 / 2, 1.0)),
    ("- a\r- b", "bullet_lines", (1.0, 1.0, 1.0)),
    ("a\r- b", "bullet_lines", (0.0, 1 / 2, 0.0)),
    ("• a\n- b\n● c\n* d\n‣ e\n◦ f", "bullet_lines", (1.0, 2 / 6, 4 / 6)),
    ("a...\nb …  \nc . . .\nd", "ellipsis_lines", (2 / 4, 2 / 4, 3 / 4)),
    ("The the, (of) of", "stop_words", (2, 1, 2)),
    ("the the the", "stop_words", (1, 1, 3)),
    ("Straße", "mean_word_length", (6.0, 6.0, 6.0)),
    ("....", "ellipsis_ratio", (1.0, 1.0, 1.0)),
]


@pytest.mark.parametrize(("text", "signal", "values"), DIVERGENCES)
def test_divergences(text: str, signal: str, values: tuple[float, float, float]) -> None:
    found = tuple(measure(text, definitions=definitions)[signal] for definitions in DEFINITIONS)
    assert found == pytest.approx(values)


def test_stop_words_are_the_papers() -> None:
    for word in STOP_WORDS:
        assert measure(word)["stop_words"] == 1
    assert measure(" ".join(STOP_WORDS))["stop_words"] == len(STOP_WORDS) == 8
    assert measure("them bee too off andy thatch haven within")["stop_words"] == 0


def test_the_word_definition_moves_the_signals() -> None:
    text = "one,two,three - four"
    assert measure(text, "whitespace")["words"] == 3
    assert measure(text, "unicode-words")["words"] == 4
    assert measure("これは本です", "whitespace")["words"] == 1
    assert measure("これは本です", "unicode-words")["words"] == 6


FINE = {
    "words": 100, "mean_word_length": 5.0, "hash_ratio": 0.0, "ellipsis_ratio": 0.0, "bullet_lines": 0.0,
    "ellipsis_lines": 0.0, "alpha_words": 1.0, "stop_words": 8,
}  # fmt: skip


@pytest.mark.parametrize("test", THRESHOLDS, ids=lambda test: test.reason)
def test_each_threshold_is_strict_and_alone(test: object) -> None:
    reason, knob, signal, drops = test  # type: ignore[misc]
    rule = GopherQualityRule()
    threshold = getattr(rule, knob)
    at = failures(THRESHOLDS, rule, pa.Table.from_pylist([{**FINE, signal: threshold}]))
    assert not any(column[0].as_py() for column in at.values()), "a value exactly at the threshold is kept"
    step = 1 if isinstance(threshold, int) else 1e-9
    value = threshold - step if drops == "below" else threshold + step
    beyond = failures(THRESHOLDS, rule, pa.Table.from_pylist([{**FINE, signal: value}]))
    assert [name for name, column in beyond.items() if column[0].as_py()] == [reason]
