from __future__ import annotations

import math
import operator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import Strict
from data_tools.filters.rules import Flag, Threshold, failures, knobs_of


class Rule(Strict):
    low: float | None = 2.0
    high: float | None = 10.0
    flag: bool = True


TESTS = (
    Threshold("set/length", "low", "number", "below"),
    Threshold("set/length", "high", "number", "above"),
    Threshold("set/edge", "low", "number", "at-or-below"),
    Threshold("set/other-edge", "high", "number", "at-or-above"),
    Flag("set/flag", "flag", "mark"),
)


def table(numbers: list[float | None], marks: list[bool | None], languages: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "number": pa.array(numbers, pa.float64()),
            "mark": pa.array(marks, pa.bool_()),
            "language": pa.array(languages, pa.string()),
        }
    )


def plain(rule: Rule, number: float | None, mark: bool | None) -> dict[str, bool]:
    """What the tests mean, one document at a time."""
    found = {"set/length": False, "set/edge": False, "set/other-edge": False, "set/flag": bool(rule.flag and mark)}
    if number is not None and not math.isnan(number):
        compare = {"below": operator.lt, "above": operator.gt, "at-or-below": operator.le, "at-or-above": operator.ge}
        for test in TESTS:
            if isinstance(test, Threshold) and getattr(rule, test.knob) is not None:
                found[test.reason] |= compare[test.drops](number, getattr(rule, test.knob))
    return found


numbers = st.none() | st.sampled_from([0.0, 2.0, 5.0, 10.0, 11.0, math.nan])
rules = st.builds(
    Rule, low=st.sampled_from([None, 0.0, 2.0]), high=st.sampled_from([None, 5.0, 10.0]), flag=st.booleans()
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(numbers, st.none() | st.booleans(), st.sampled_from(["en", "fr", None])), min_size=1),
    rules,
    st.dictionaries(st.sampled_from(["fr", "de"]), rules),
)
def test_columns_agree_with_one_document_at_a_time(
    rows: list[tuple[float | None, bool | None, str | None]], rule: Rule, by_language: dict[str, Rule]
) -> None:
    signals = table(*(list(column) for column in zip(*rows, strict=True)))  # type: ignore[arg-type]
    found = {reason: column.to_pylist() for reason, column in failures(TESTS, rule, signals, by_language).items()}
    for position, (number, mark, language) in enumerate(rows):
        expected = plain(by_language.get(language or "", rule), number, mark)
        assert {reason: found[reason][position] if reason in found else False for reason in expected} == expected


def test_a_test_that_is_off_everywhere_gives_no_column() -> None:
    assert failures(TESTS, Rule(low=None, high=None, flag=False), table([1.0], [True], ["en"])) == {}


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_whole_numbers_and_fractions_compare(kind: pa.DataType) -> None:
    signals = pa.table({"number": pa.array([1, 2, 3], kind)})
    found = failures([Threshold("r", "low", "number", "below")], Rule(low=2.5), signals)
    assert found["r"].to_pylist() == [True, True, False]


def test_the_knobs_of_a_shared_reason() -> None:
    assert knobs_of(TESTS, "set")["set/length"] == ["select.set.low", "select.set.high"]
