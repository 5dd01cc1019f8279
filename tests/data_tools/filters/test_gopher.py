from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.config import GopherQualityRule
from data_tools.filters.gopher import THRESHOLDS, GopherSignals, gopher_failures, gopher_signals


def reference(text: str) -> dict[str, float]:
    """The rules read aloud, for whitespace words, with no thought of speed."""
    words = text.split()
    lines = [line for line in text.split("\n") if line.strip()]
    dots = 0
    position = 0
    while (position := text.find("...", position)) >= 0:
        dots += 1
        position += 3
    lowered = "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()

    def share(flags: list[bool]) -> float:
        return sum(flags) / len(flags) if flags else 0.0

    return {
        "words": len(words),
        "mean_word_length": sum(len(word) for word in words) / len(words) if words else 0.0,
        "hash_ratio": sum(c == "#" for c in text) / len(words) if words else 0.0,
        "ellipsis_ratio": (dots + sum(c == "…" for c in text)) / len(words) if words else 0.0,
        "bullet_lines": share([line.lstrip()[0] in "•●‣◦*-" for line in lines]),
        "ellipsis_lines": share([line.rstrip().endswith("...") or line.rstrip().endswith("…") for line in lines]),
        "alpha_words": share([any(c.isalpha() for c in word) for word in words]),
        "stop_words": sum(stop in lowered for stop in ["the", "be", "to", "of", "and", "that", "have", "with"]),
    }


pieces = st.sampled_from(
    ["the", "The", "be", "of", "and", "that", "have", "with", "to", "word", "3.14", "#", "##tag", "...", "....", "…",
     "- ", "* ", "• ", "\n", "\n\n", " ", "  ", "\t", ",", "it's", "naïve", "日本語", "42", "_", "theory", "(to)"]
)  # fmt: skip


@given(st.lists(pieces, max_size=60).map("".join))
def test_signals_equal_the_plain_reference(text: str) -> None:
    assert gopher_signals(text, "whitespace")._asdict() == pytest.approx(reference(text))


def test_no_words() -> None:
    assert gopher_signals("", "whitespace") == GopherSignals(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


def test_the_word_definition_moves_the_signals() -> None:
    text = "one,two,three - four"
    assert gopher_signals(text, "whitespace").words == 3
    assert gopher_signals(text, "unicode-words").words == 4


def signals_table(**values: float) -> pa.Table:
    fine = GopherSignals(100, 5.0, 0.0, 0.0, 0.0, 0.0, 1.0, 8)._asdict()
    return pa.Table.from_pylist([{**fine, **values}])


@pytest.mark.parametrize("test", THRESHOLDS, ids=lambda test: test.reason)
def test_each_threshold_is_strict_and_alone(test: object) -> None:
    reason, knob, signal, drops = test  # type: ignore[misc]
    rule = GopherQualityRule()
    threshold = getattr(rule, knob)
    at = gopher_failures(rule, signals_table(**{signal: threshold}))
    assert not any(column[0].as_py() for column in at.values()), "a value exactly at the threshold is kept"
    step = 1 if isinstance(threshold, int) else 1e-9
    beyond = gopher_failures(
        rule, signals_table(**{signal: threshold - step if drops == "below" else threshold + step})
    )
    assert [name for name, column in beyond.items() if column[0].as_py()] == [reason]


def test_none_turns_a_rule_off() -> None:
    rule = GopherQualityRule(min_words=None)
    assert "too-few-words" not in gopher_failures(rule, signals_table(words=0))
