from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from data_tools.config import (
    AnnotateConfig,
    C4Rule,
    CleanConfig,
    FineWebRule,
    GopherQualityRule,
    GopherRepetitionRule,
    SelectConfig,
)
from data_tools.config.filters import Preset
from data_tools.filters import verdicts
from data_tools.filters.presets import MEASURED, PRESETS, overrides, problems

EVERYTHING = AnnotateConfig(**dict.fromkeys(MEASURED, True))


def select(*presets: str, **sections: Any) -> SelectConfig:
    return SelectConfig.model_validate({"presets": presets, **sections})


def numbers(rule: Any) -> Any:
    """datatrove's thresholds stand a hair beside the round numbers, so that the comparison is its own."""
    return rule if rule is None else pytest.approx(rule.model_dump())


def test_every_preset_is_in_the_table_and_can_be_used() -> None:
    assert set(get_args(Preset)) == set(PRESETS)
    for name, preset in PRESETS.items():
        config = select(name)
        annotate = EVERYTHING.model_copy(update=dict(preset.annotate))
        clean = CleanConfig.model_validate(
            {"lines": preset.clean_lines, "c4_terminal_punctuation": annotate.c4_terminal_punctuation}
        )
        assert problems(annotate, config, clean, scored=False) == []
        for section in verdicts.RULE_SETS:
            assert (getattr(config, section) is not None) == (section in preset.sections), (name, section)
        assert preset.source.endswith(".")


@pytest.mark.parametrize(
    ("preset", "section", "expected"),
    [
        ("gopher-paper", "gopher_quality", GopherQualityRule()),
        ("gopher-paper", "gopher_repetition", GopherRepetitionRule()),
        ("gopher-paper", "fineweb", None),
        ("fineweb-paper", "fineweb", FineWebRule(max_duplicate_line_chars=0.1, max_newline_ratio=None)),
        ("datatrove-0.10", "fineweb", FineWebRule(max_duplicate_line_chars=0.01, max_newline_ratio=0.3)),
        ("c4-paper", "c4", C4Rule(min_sentences=5)),
        ("c4-code", "c4", C4Rule(min_sentences=3)),
        ("c4-paper", "gopher_quality", None),
        ("dclm-refinedweb", "gopher_repetition", GopherRepetitionRule()),
    ],
)
def test_the_numbers(preset: str, section: str, expected: object) -> None:
    found = getattr(select(preset), section)
    assert (found if found is None else found.model_dump()) == numbers(expected)


def test_what_is_said_wins_number_by_number() -> None:
    config = select("datatrove-0.10", fineweb={"max_short_lines": 0.5}, gopher_repetition=None)
    expected = FineWebRule(max_short_lines=0.5, max_duplicate_line_chars=0.01, max_newline_ratio=0.3)
    assert config.fineweb is not None and config.fineweb.model_dump() == numbers(expected)
    assert config.fineweb.max_short_lines == 0.5
    assert config.gopher_repetition is None
    assert select("datatrove-0.10", fineweb=FineWebRule(max_short_lines=0.5)) == config.model_copy(
        update={"gopher_repetition": GopherRepetitionRule()}
    )
    assert select("c4-paper", gopher_quality={}).gopher_quality == GopherQualityRule()


def test_the_numbers_are_part_of_the_configuration_and_stay_as_they_are() -> None:
    config = select("fineweb-2-fra", gopher_quality={"min_words": 7})
    written = json.loads(config.model_dump_json())
    assert written["gopher_repetition"]["max_top_2_gram"] == 0.161
    assert SelectConfig.model_validate(written) == config


def test_presets_add_up_unless_they_contradict_each_other() -> None:
    both = select("gopher-paper", "c4-paper")
    assert both.gopher_quality is not None and both.c4 is not None
    with pytest.raises(ValidationError, match=r"'fineweb-paper' and .* have different numbers for fineweb"):
        select("fineweb-paper", "datatrove-0.10")
    assert select("c4-paper", "c4-code", c4={"min_sentences": 4}).c4 == C4Rule(min_sentences=4)
    with pytest.raises(ValidationError, match="gopher-paper"):
        select("gopher-papre")


@pytest.mark.parametrize(
    ("by_language", "said"),
    [
        ({"gopher_qality": {"min_words": 1}}, "fr.gopher_qality: no such rule set. Did you mean 'gopher_quality'"),
        ({"gopher_quality": {"min_wrds": 1}}, "fr.gopher_quality.min_wrds: unknown key. Did you mean 'min_words'"),
        ({"gopher_quality": {"min_alpha_words": 7}}, "fr.gopher_quality.min_alpha_words: .*less than or equal to 1"),
        ({"gopher_quality": {"min_words": 1.5}}, "fr.gopher_quality.min_words"),
        ({"c4": {"min_sentences": 1}}, "select.c4 is off"),
        ({"language": {"min_confidence": 1}}, "min_confidence_by_language"),
    ],
)
def test_thresholds_of_single_languages_are_checked(by_language: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        select(by_language={"fr": by_language})


def test_thresholds_of_single_languages_change_the_preset() -> None:
    config = select("gopher-paper", by_language={"fr": {"gopher_repetition": {"max_top_2_gram": 0.161}}})
    changed = overrides(config)["gopher_repetition"]["fr"]
    assert changed == GopherRepetitionRule(max_top_2_gram=0.161)


def test_what_does_not_fit_together() -> None:
    config = select("dclm-refinedweb", quality={}, by_language={"fr": {"refinedweb": {"max_removed_words": 0.1}}})
    found = problems(AnnotateConfig(language=False), config, None, scored=False)
    assert [line.partition(":")[0] for line in found] == [
        "select.language",
        "select.gopher_repetition",
        "select.refinedweb",
        "select.by_language",
        "select.quality",
        "annotate.definitions",
    ]
    assert "turn it on, or set null" in found[0] and "'dclm'" in found[-1]
    clean = CleanConfig(lines=("c4-code",), c4_terminal_punctuation=False)
    found = problems(EVERYTHING, select(c4={}), clean, scored=False)
    assert [line.partition(":")[0] for line in found] == ["clean.lines", "clean.c4_terminal_punctuation"]


def test_every_reason_names_its_knobs() -> None:
    config = select("fineweb-paper", refinedweb={}, code={}, personal_data={}, quality={}, url={})
    found = verdicts.knobs(config)
    for section in verdicts.RULE_SETS:
        rule = getattr(config, section)
        for test in verdicts.tests_of(section):
            assert hasattr(rule, test.knob), test
            assert f"select.{section}.{test.knob}" in found[test.reason]
    assert "/" in "".join(found) and all(reason.count("/") == 1 for reason in found)
