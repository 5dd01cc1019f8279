"""All rules of ``select`` over one batch of documents: which reasons apply to which row. No text is read.

``select`` writes what comes out here, and ``retune`` compares it with what would come out under other thresholds.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data_tools.config import SelectConfig
from data_tools.errors import DataError
from data_tools.filters.presets import overrides
from data_tools.filters.rules import Test, Threshold, failures, knobs_of
from data_tools.filters.url import KNOBS as URL_KNOBS
from data_tools.filters.url import UrlMatcher

if TYPE_CHECKING:
    import pyarrow as pa

#: Raised when a rule changes its meaning.
RULE_VERSION = "select-2"

#: What is read of ``documents/`` beside the signals.
DOCUMENT_COLUMNS = ("doc_id", "source", "url", "n_bytes", "metadata")

_MODULES = {
    "gopher_quality": "gopher",
    "gopher_repetition": "repetition",
    "fineweb": "fineweb",
    "c4": "c4",
    "refinedweb": "refinedweb",
    "code": "code",
}
_OWN: dict[str, tuple[Test, ...]] = {
    "personal_data": tuple(
        Threshold(f"personal-data/{kind.replace('_', '-')}", f"max_{kind}", kind, "above")
        for kind in ("emails", "ip_addresses", "phone_numbers", "card_numbers", "ibans")
    ),
    "quality": (Threshold("quality/low-score", "min_score", "quality", "below"),),
}
#: Rule sets that read signals, in the order of their reasons.
RULE_SETS = (*_MODULES, *_OWN)
#: Those that source code is left out of where ``select.code`` is on.
_FOR_PROSE = ("gopher_quality", "gopher_repetition", "fineweb", "c4", "refinedweb")

LANGUAGE_KNOBS = {
    "language/other": ["select.language.keep"],
    "language/low-confidence": ["select.language.min_confidence"],
}


def tests_of(section: str) -> Sequence[Test]:
    """The tests of a rule set of ``RULE_SETS``."""
    if section in _OWN:
        return _OWN[section]
    tests: Sequence[Test] = importlib.import_module(f"data_tools.filters.{_MODULES[section]}").THRESHOLDS
    return tests


def knobs(config: SelectConfig) -> dict[str, list[str]]:
    """Every reason that ``config`` can give, to the knobs that it hangs on."""
    found: dict[str, list[str]] = dict(LANGUAGE_KNOBS) if config.language is not None else {}
    for section in RULE_SETS:
        if getattr(config, section) is not None:
            found |= knobs_of(tests_of(section), section)
    if config.quality is not None and config.quality.keep_fraction is not None:
        found["quality/low-score"] = ["select.quality.keep_fraction"]
    if config.url is not None:
        found |= {reason: [f"select.url.{field}"] for reason, field in URL_KNOBS.items()}
    return found


class Judge:
    """The rules of one configuration.

    Args:
        config: of select.
        quality_threshold: of the score, in place of ``quality.min_score``; where ``quality.keep_fraction`` is set and
            this is None, the score isn't judged.

    Raises:
        DataError: a blocklist can't be read.
    """

    def __init__(self, config: SelectConfig, quality_threshold: float | None = None) -> None:
        self.config = config
        self._by_language = overrides(config)
        self._rules: dict[str, Any] = {name: getattr(config, name) for name in RULE_SETS if getattr(config, name)}
        if config.quality is not None and config.quality.keep_fraction is not None:
            self._by_language.pop("quality", None)
            self._rules["quality"] = config.quality.model_copy(update={"min_score": quality_threshold})
        self._urls = UrlMatcher(config.url) if config.url is not None else None

    def failures(self, documents: pa.Table, signals: pa.Table, where: str = "signals") -> dict[str, pa.ChunkedArray]:
        """Reason to boolean column: which documents it applies to.

        Args:
            documents: ``DOCUMENT_COLUMNS``; of the same rows as
            signals: those that ``annotate`` wrote.
            where: the signals' place, for errors.

        Raises:
            DataError: a rule needs signals that were not measured.
        """
        import pyarrow.compute as pc

        code = is_code(documents) if self.config.code is not None else None
        prose = pc.invert(code) if code is not None else None
        found: dict[str, pa.ChunkedArray] = {}

        def add(failed: dict[str, pa.ChunkedArray], only: pa.ChunkedArray | None) -> None:
            for reason, column in failed.items():
                found[reason] = pc.and_(column, only) if only is not None else column

        if self.config.language is not None:
            _need(signals, ("language", "language_confidence"), "language", where)
            add(self._language(signals), prose)
        if self._by_language:
            _need(signals, ("language",), "by_language", where)
        for section, rule in self._rules.items():
            tests = tests_of(section)
            needed = [test.signal for test in tests if getattr(rule, test.knob) not in (None, False)]
            _need(signals, ("quality",) if section == "quality" else needed, section, where)
            only = prose if section in _FOR_PROSE else code if section == "code" else None
            add(failures(tests, rule, signals, self._by_language.get(section)), only)
        if self._urls is not None:
            found |= self._url(documents)
        return found

    def _language(self, signals: pa.Table) -> dict[str, pa.ChunkedArray]:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        rule = self.config.language
        assert rule is not None
        language = pc.fill_null(signals["language"], "und")
        found = {}
        if rule.keep:
            found["language/other"] = pc.invert(pc.is_in(language, pa.array(rule.keep, pa.string())))
        needed: Any = rule.min_confidence
        if rule.min_confidence_by_language:
            thresholds = np.full(len(signals), rule.min_confidence)
            for name, value in rule.min_confidence_by_language.items():
                thresholds[np.asarray(pc.equal(language, name))] = value
            needed = pa.array(thresholds)
        found["language/low-confidence"] = pc.fill_null(pc.less(signals["language_confidence"], needed), True)
        return found

    def _url(self, documents: pa.Table) -> dict[str, pa.ChunkedArray]:
        import numpy as np
        import pyarrow as pa

        assert self._urls is not None
        failed = {reason: np.zeros(len(documents), dtype=bool) for reason in URL_KNOBS}
        for row, url in enumerate(documents["url"].to_pylist()):
            if url:
                for reason in self._urls.reasons(url):
                    failed[reason][row] = True
        return {reason: pa.chunked_array([pa.array(rows)]) for reason, rows in failed.items()}


def is_code(documents: pa.Table) -> pa.ChunkedArray:
    """(documents,) which are source code: those with metadata ``programming_language``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    languages = pc.map_lookup(documents["metadata"], pa.scalar("programming_language"), "first")
    return pc.is_valid(languages)


def _need(signals: pa.Table, columns: Sequence[str], section: str, where: str) -> None:
    if all(column in signals.column_names for column in columns):
        return
    switch = "language" if section == "by_language" else section
    fix = f"Set annotate.{switch} to true, or select.{section} to null."
    if section == "quality":
        fix = "Write a section quality_classifier, or set select.quality to null."
    raise DataError(f"select.{section} needs signals that were not measured", where=where, fix=fix)
