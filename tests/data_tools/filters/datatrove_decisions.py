"""datatrove's own filters, given the words and the sentences that ours use: the other side of the parity tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

from data_tools.filters.c4 import sentences_in_line

FILTERS = ("gopher_quality", "gopher_repetition", "fineweb", "c4", "c4_without_end_marks")

#: datatrove's reasons to ours.
REASONS = {
    "gopher_short_doc": "gopher/short",
    "gopher_long_doc": "gopher/long",
    "gopher_below_avg_threshold": "gopher/word-length-short",
    "gopher_above_avg_threshold": "gopher/word-length-long",
    "gopher_too_many_hashes": "gopher/hash-symbols",
    "gopher_too_many_ellipsis": "gopher/ellipsis-symbols",
    "gopher_too_many_bullets": "gopher/bullet-lines",
    "gopher_too_many_end_ellipsis": "gopher/ellipsis-lines",
    "gopher_below_alpha_threshold": "gopher/alphabetic-words",
    "gopher_enough_stop_words": "gopher/stop-words",
    "dup_line_frac": "repetition/duplicate-lines",
    "dup_para_frac": "repetition/duplicate-paragraphs",
    "dup_line_char_frac": "repetition/duplicate-line-chars",
    "dup_para_char_frac": "repetition/duplicate-paragraph-chars",
    **{f"top_{n}_gram": f"repetition/top-{n}-gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"repetition/duplicate-{n}-grams" for n in range(5, 11)},
    "line_punct_ratio": "fineweb/line-end-punctuation",
    "short_line_ratio": "fineweb/short-lines",
    "char_dup_ratio": "fineweb/duplicate-line-chars",
    "list_ratio": "fineweb/newlines",
    "lorem_ipsum": "c4/lorem-ipsum",
    "curly_bracket": "c4/curly-brace",
    "too_few_sentences": "c4/few-sentences",
}


def decide(texts: list[str], name: str, split: Callable[[str], list[str]] = str.split) -> list[tuple[str | None, str]]:
    """(datatrove's first reason or None if it keeps the text, the text as it leaves it) for each text."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        c4_filters,
        fineweb_quality_filter,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    filters: dict[str, Callable[[], Any]] = {
        "gopher_quality": gopher_quality_filter.GopherQualityFilter,
        "gopher_repetition": gopher_repetition_filter.GopherRepetitionFilter,
        "fineweb": fineweb_quality_filter.FineWebQualityFilter,
        "c4": c4_filters.C4QualityFilter,
        "c4_without_end_marks": lambda: c4_filters.C4QualityFilter(filter_no_terminal_punct=False),
    }
    with (
        mock.patch.object(gopher_quality_filter, "split_into_words", lambda text, language: split(text)),
        mock.patch.object(gopher_repetition_filter, "split_into_words", lambda text, language: split(text)),
        mock.patch.object(fineweb_quality_filter, "split_into_words", lambda text, language: split(text)),
        mock.patch.object(c4_filters, "split_into_sentences", lambda text, language: sentences_in_line(text)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the mean of no words
        judge = filters[name]()
        decisions: list[tuple[str | None, str]] = []
        for text in texts:
            document = Document(text=text, id="")
            verdict = judge.filter(document)
            decisions.append((None if verdict is True else verdict[1], document.text))
        return decisions


def decide_ours(texts: list[str], name: str, words: str = "whitespace") -> list[set[str]]:
    """The reasons that the preset ``datatrove-0.10`` (C4: datatrove's variant) has against each text."""
    import pyarrow as pa

    from data_tools.config import C4Rule, FineWebRule, GopherQualityRule, GopherRepetitionRule
    from data_tools.filters import c4, fineweb, gopher, repetition
    from data_tools.filters.presets import PRESETS
    from data_tools.filters.rules import failures

    column = pa.array(texts, pa.large_string())
    sections = PRESETS["datatrove-0.10"].sections
    rule: Any
    if name == "gopher_quality":
        tests, rule = gopher.THRESHOLDS, GopherQualityRule(**sections["gopher_quality"])
        signals = gopher.gopher_signals(column, words, "datatrove")
    elif name == "gopher_repetition":
        tests, rule = repetition.THRESHOLDS, GopherRepetitionRule(**sections["gopher_repetition"])
        signals = repetition.repetition_signals(column, words, "datatrove")
    elif name == "fineweb":
        tests, rule = fineweb.THRESHOLDS, FineWebRule(**sections["fineweb"])
        signals = fineweb.fineweb_signals(column, words, "datatrove")
    else:
        tests, rule = c4.THRESHOLDS, C4Rule(min_sentences=5)
        signals = c4.c4_signals(column, "datatrove", terminal_punctuation=name == "c4")
    found: list[set[str]] = [set() for _ in texts]
    for reason, failed in failures(tests, rule, pa.table(dict(signals))).items():
        for row in failed.to_numpy().nonzero()[0]:
            found[row].add(reason)
    return found
