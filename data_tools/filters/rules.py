"""From numbers to verdicts: a rule set is a list of tests, each of which reads one signal and hangs on one knob.

Nothing is special about any rule set here. Its module (gopher.py, c4.py ...) says in ``THRESHOLDS`` what it tests; its
section of the configuration has the knobs; and :func:`failures` compares whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel

if TYPE_CHECKING:
    import pyarrow as pa


class Threshold(NamedTuple):
    """A test of a number: dropped on one side of a threshold. The knob holds the threshold; None turns the test off."""

    reason: str
    """As it stands in ``verdicts/``: ``<rule set>/<reason>``, such as ``gopher/short``. Tests may share one."""
    knob: str
    """Field of the rule set's section in the configuration."""
    signal: str
    """Column of ``signals/``. A document that has none (null, or not a number) passes."""
    drops: Literal["below", "above", "at-or-below", "at-or-above"]


class Flag(NamedTuple):
    """A test of a yes or no: dropped where the signal is true. The knob (a boolean) turns the test on."""

    reason: str
    knob: str
    signal: str


Test: TypeAlias = Threshold | Flag


def failures(
    tests: Sequence[Test],
    rule: BaseModel,
    signals: pa.Table,
    by_language: Mapping[str, BaseModel] | None = None,
) -> dict[str, pa.ChunkedArray]:
    """Reason to boolean column (no nulls): which rows fail. Every test is made, whatever the others say.

    Args:
        tests: of the rule set.
        rule: its section, with the thresholds.
        signals: needs the columns of the tests that are on (and ``language`` with ``by_language``).
        by_language: the section as it is for single languages, in place of ``rule``.
    """
    import pyarrow.compute as pc

    failed: dict[str, pa.ChunkedArray] = {}
    for test in tests:
        knob = _knob(test.knob, rule, signals, by_language or {})
        if knob is None or knob is False:
            continue
        column = signals[test.signal]
        if isinstance(test, Flag):
            found = column if knob is True else pc.and_kleene(column, pc.equal(knob, 1.0))
        elif test.drops == "below":
            found = pc.less(column, knob)
        elif test.drops == "above":
            found = pc.greater(column, knob)
        elif test.drops == "at-or-below":
            found = pc.less_equal(column, knob)
        else:
            found = pc.greater_equal(column, knob)
        found = pc.fill_null(found, False)
        failed[test.reason] = pc.or_(failed[test.reason], found) if test.reason in failed else found
    return failed


def _knob(
    name: str, rule: BaseModel, signals: pa.Table, by_language: Mapping[str, BaseModel]
) -> float | bool | pa.Array | None:
    """What all rows are held against, or one number a row where languages differ (NaN, which no comparison holds for,
    where the test is off)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    value: float | bool | None = getattr(rule, name)
    others = {language: getattr(other, name) for language, other in by_language.items()}
    others = {language: other for language, other in others.items() if other != value}
    if not others:
        return value
    knobs = np.full(len(signals), np.nan if value is None else float(value))
    for language, other in others.items():
        rows = pc.fill_null(pc.equal(signals["language"], language), False)
        knobs[np.asarray(rows)] = np.nan if other is None else float(other)
    return pa.array(knobs)


def knobs_of(tests: Sequence[Test], section: str) -> dict[str, list[str]]:
    """Reason to the knobs that it hangs on, as a person finds them: ``select.gopher_quality.min_words``."""
    found: dict[str, list[str]] = {}
    for test in tests:
        found.setdefault(test.reason, []).append(f"select.{section}.{test.knob}")
    return found
