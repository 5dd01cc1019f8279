"""The numbers behind a verdict: each signal of a document beside the threshold that it was held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from data_tools.config import SelectConfig

_SIDES = {"below": "at least", "above": "at most", "at-or-below": "more than", "at-or-above": "less than"}


@dataclass(frozen=True)
class Check:
    """One test of one signal. ``wanted`` is what passes, in words: ``at least 50``."""

    reason: str
    signal: str
    value: Any
    wanted: str
    failed: bool


def checks(config: SelectConfig, signals: Mapping[str, Any], reasons: Collection[str]) -> list[Check]:
    """Every test that reads one of ``signals``, in the order of the rule sets.

    Args:
        config: of select, with all thresholds.
        signals: of one document, by column.
        reasons: of its verdict; they decide what ``failed``, because some rules pass some documents over.
    """
    from data_tools.filters.presets import overrides
    from data_tools.filters.rules import Threshold
    from data_tools.filters.verdicts import RULE_SETS, tests_of

    language = signals.get("language")
    found = []
    if config.language is not None and "language" in signals:
        rule = config.language
        if rule.keep:
            wanted = "one of " + ", ".join(rule.keep)
            found.append(Check("language/other", "language", language, wanted, "language/other" in reasons))
        least = rule.min_confidence_by_language.get(language or "", rule.min_confidence)
        confidence, reason = signals.get("language_confidence"), "language/low-confidence"
        found.append(Check(reason, "language_confidence", confidence, f"at least {least:g}", reason in reasons))
    others = overrides(config)
    for section in RULE_SETS:
        rule_set = others.get(section, {}).get(language or "", getattr(config, section))
        if rule_set is None:
            continue
        for test in tests_of(section):
            knob = getattr(rule_set, test.knob)
            if test.signal not in signals:
                continue
            fraction = getattr(rule_set, "keep_fraction", None)
            if fraction is not None:  # the threshold is whatever score the best part begins at
                wanted, value = f"among the best {fraction:.3%}", signals[test.signal]
                found.append(Check(test.reason, test.signal, value, wanted, test.reason in reasons))
                continue
            if knob is None or knob is False:
                continue
            wanted = f"{_SIDES[test.drops]} {knob:,g}" if isinstance(test, Threshold) else "no"
            value = signals[test.signal]
            failed = test.reason in reasons and _fails(test, knob, value)
            found.append(Check(test.reason, test.signal, value, wanted, failed))
    return found


def _fails(test: Any, knob: float, value: Any) -> bool:
    """Two tests may share a reason; this tells which of them gave it."""
    if value is None:
        return False
    drops = getattr(test, "drops", None)
    if drops is None:
        return bool(value)
    return bool(
        {"below": value < knob, "above": value > knob, "at-or-below": value <= knob, "at-or-above": value >= knob}[
            drops
        ]
    )


@cache
def signals_behind(reason: str) -> tuple[str, ...]:
    """The signals that a reason of select looks at; none for those that look at something else, such as the URL."""
    from data_tools.filters.verdicts import RULE_SETS, tests_of

    if reason.startswith("language/"):
        return ("language", "language_confidence")
    tests = [test for section in RULE_SETS for test in tests_of(section)]
    return tuple(dict.fromkeys(test.signal for test in tests if test.reason == reason))
