"""Published rule sets by name: their numbers, the definitions that the numbers were meant for, where they come from.

Only tables and plain Python here: the configuration reads them when it is checked. A preset's numbers become part of
``select``'s configuration (and so of its fingerprint); its name alone decides nothing. docs/filters.md tells how each
differs from its source.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_tools.config import AnnotateConfig, CleanConfig, SelectConfig

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Preset:
    source: str
    """Where it comes from, in a sentence."""
    sections: Mapping[str, Section | None]
    """Sections of ``select``, whole or in part; what is left out of one has the section's default."""
    annotate: Section = field(default_factory=lambda: MappingProxyType({}))
    """Settings of ``annotate`` that the numbers are meant for, beside the switches of the rule sets themselves."""
    clean_lines: tuple[str, ...] = ()
    """What ``clean.lines`` is in the same recipe: the preset doesn't turn it on, the pages say to."""


_GOPHER: dict[str, Section] = {"gopher_quality": {}, "gopher_repetition": {}}

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "gopher-paper": Preset(
            "Rae et al. 2021 (arXiv:2112.11446), appendix A1.1 and table A1: the quality and repetition rules of "
            "MassiveText.",
            _GOPHER,
            {"definitions": "paper"},
        ),
        "fineweb-paper": Preset(
            "Penedo et al. 2024 (arXiv:2406.17557), section 3: English at 0.65, Gopher's rules, C4's but for "
            "the one on terminal marks, and FineWeb's own three.",
            _GOPHER
            | {
                "language": {"keep": ("en",), "min_confidence": 0.65},
                "c4": {},
                "fineweb": {},
            },
            {"definitions": "paper", "c4_terminal_punctuation": False},
            ("c4-paper",),
        ),
        "datatrove-0.10": Preset(
            "The defaults of datatrove 0.10's filters GopherRepetition, GopherQuality and FineWebQuality. Two are not "
            "the papers': 0.01 for characters in repeated lines, and a limit on line breaks per word.",
            _GOPHER
            | {
                # datatrove keeps a value that is exactly at a threshold, where the paper's rule drops it.
                "fineweb": {
                    "min_line_end_punctuation": math.nextafter(0.12, 0),
                    "max_short_lines": math.nextafter(0.67, 1),
                    "max_duplicate_line_chars": math.nextafter(0.01, 1),
                    "max_newline_ratio": 0.3,
                }
            },
            {"definitions": "datatrove"},
        ),
        "c4-paper": Preset(
            "Raffel et al. 2020 (arXiv:1910.10683), section 2.2: at least 5 sentences, no lorem ipsum, no curly brace.",
            {"c4": {"min_sentences": 5}},
            {"c4_variant": "paper", "c4_terminal_punctuation": True},
            ("c4-paper",),
        ),
        "c4-code": Preset(
            "The reference code of C4 in TensorFlow Datasets (c4_utils.py), whose numbers differ from the paper's: at "
            "least 3 sentences, and 5 words in a line.",
            {"c4": {"min_sentences": 3}},
            {"c4_variant": "code", "c4_terminal_punctuation": True},
            ("c4-code",),
        ),
        "mc4-paper": Preset(
            "Xue et al. 2021 (arXiv:2010.11934), section 3.1: at least three lines of 200 characters in place of C4's "
            "rules on punctuation, any language that is identified with 0.7 (there by cld3, here by lid.176).",
            {
                "language": {"keep": (), "min_confidence": 0.7},
                "c4": {
                    "min_sentences": None,
                    "drop_lorem_ipsum": False,
                    "drop_curly_brace": False,
                    "min_long_paragraphs": 3,
                },
            },
        ),
        "dclm-refinedweb": Preset(
            "The RefinedWeb filters as DCLM-Baseline runs them (Li et al. 2024, arXiv:2406.11794; Penedo et al. 2023, "
            "arXiv:2306.01116): English at 0.65, Gopher's rules, and at most 5 % of the words in lines that the line "
            "rules remove. The URL lists are not part of it.",
            _GOPHER
            | {"language": {"keep": ("en",), "min_confidence": 0.65}, "refinedweb": {"max_removed_words": 0.05}},
            {"definitions": "dclm"},
            ("refinedweb",),
        ),
        "code-bigcode": Preset(
            "The basic filter of The Stack's preprocessing (bigcode): lines of at most 1000 characters, of 100 on "
            "average, a quarter of all characters alphanumeric.",
            {"code": {"max_line_length": 1_000, "max_mean_line_length": 100, "min_alphanumeric": 0.25}},
        ),
        "code-santacoder": Preset(
            "The basic filter and the one on comments, as used for SantaCoder's Python, Java and JavaScript (bigcode; "
            "Ben Allal et al. 2023, arXiv:2301.03988): 1 to 80 % of the characters in comments.",
            {
                "code": {
                    "max_line_length": 1_000,
                    "max_mean_line_length": 100,
                    "min_alphanumeric": 0.25,
                    "min_comments": 0.01,
                    "max_comments": 0.8,
                }
            },
        ),
        "fineweb-2-fra": Preset(
            "FineWeb-2's thresholds for French (Penedo et al. 2025, its fra_Latn.yml and pipeline). The paragraph and "
            "line-character rules of Gopher are off there; so is the rule on stop words here, because our signal knows "
            "English ones. The language threshold was GlotLID's.",
            {
                "language": {"keep": ("fr",), "min_confidence": 0.824},
                "gopher_quality": {
                    "min_mean_word_length": 2,
                    "max_mean_word_length": 11,
                    "min_alpha_words": 0.812,
                    "min_stop_words": None,
                },
                "gopher_repetition": {
                    "max_duplicate_lines": 0.264,
                    "max_duplicate_paragraphs": None,
                    "max_duplicate_line_chars": None,
                    "max_duplicate_paragraph_chars": None,
                    "max_top_2_gram": 0.161,
                    "max_top_3_gram": 0.149,
                    "max_top_4_gram": 0.134,
                    "max_duplicate_5_grams": 0.15,
                    "max_duplicate_6_grams": 0.141,
                    "max_duplicate_7_grams": 0.131,
                    "max_duplicate_8_grams": 0.121,
                    "max_duplicate_9_grams": 0.111,
                    "max_duplicate_10_grams": 0.1,
                },
                # Datatrove's rules again, hence the numbers beside the round ones.
                "fineweb": {
                    "min_line_end_punctuation": math.nextafter(0.1, 0),
                    "max_short_lines": None,
                    "max_duplicate_line_chars": math.nextafter(0.1, 1),
                    "max_newline_ratio": 0.185,
                },
            },
            {"definitions": "datatrove"},
        ),
    }
)

#: Sections of select whose signals hang on a switch of annotate of the same name.
MEASURED = (
    "language",
    "gopher_quality",
    "gopher_repetition",
    "fineweb",
    "c4",
    "refinedweb",
    "code",
    "personal_data",
)


def fill_in(said: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of ``select`` with the numbers of the presets that it names; what is said beside them wins.

    A section that is said as null stays off. Under presets, Gopher's quality rules, which are on otherwise, are on only
    if a preset or the configuration names them. Filling in twice changes nothing more.

    Raises:
        ValueError: two presets have different numbers for the same section.
    """
    names = said.get("presets")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) and n in PRESETS for n in names):
        return dict(said)  # nothing to do, or something that the types refuse with a better message
    filled: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name in dict.fromkeys(names):
        for section, numbers in PRESETS[name].sections.items():
            if section in filled and filled[section] != numbers and section not in said:
                raise ValueError(
                    f"presets {origin[section]!r} and {name!r} have different numbers for {section}; name one of them, "
                    f"or say all of {section} yourself"
                )
            filled[section], origin[section] = numbers, name
    result = dict(said)
    for section, numbers in filled.items():
        if section not in said:
            result[section] = None if numbers is None else dict(numbers)
        elif numbers is not None:
            own = said[section]
            if isinstance(own, Mapping):
                result[section] = {**numbers, **own}
            elif hasattr(own, "model_fields_set"):
                result[section] = {**numbers, **{name: getattr(own, name) for name in own.model_fields_set}}
    result.setdefault("gopher_quality", None)
    return result


def problems(annotate: AnnotateConfig, select: SelectConfig, clean: CleanConfig | None, scored: bool) -> list[str]:
    """What each section allows by itself, but not beside the others. Every line begins with the field's path.

    Args:
        scored: a quality classifier is part of the chain.
    """
    found = []
    for section in MEASURED:
        if getattr(select, section) is not None and not getattr(annotate, section):
            found.append(
                f"select.{section}: needs the signals of annotate.{section}, which is off; turn it on, or set null"
            )
    if select.by_language and not annotate.language:
        found.append("select.by_language: needs the signals of annotate.language, which is off; turn it on")
    if select.quality is not None and not scored:
        found.append(
            "select.quality: needs a section quality_classifier, which says what good and bad texts are; "
            "write one, or set null"
        )
    for name in select.presets:
        for setting, value in PRESETS[name].annotate.items():
            actual = getattr(annotate, setting)
            if actual != value:
                found.append(
                    f"annotate.{setting}: {actual!r}, but the numbers of preset {name!r} are meant for {value!r}; set "
                    "that, or write the numbers out in place of the preset"
                )
    rules = [line.removeprefix("c4-") for line in clean.lines if line.startswith("c4-")] if clean is not None else []
    if clean is not None and rules and select.c4 is not None:
        if annotate.c4_variant not in rules:
            found.append(
                f"clean.lines: applies C4's line rules as {', '.join(rules)}, but select.c4 judges by those of "
                f"annotate.c4_variant, {annotate.c4_variant!r}; let both be the same"
            )
        if annotate.c4_terminal_punctuation != clean.c4_terminal_punctuation:
            found.append(
                f"clean.c4_terminal_punctuation: {clean.c4_terminal_punctuation}, but select.c4 judges by "
                f"annotate.c4_terminal_punctuation, {annotate.c4_terminal_punctuation}; let both be the same"
            )
    return found


def overrides(select: SelectConfig) -> dict[str, dict[str, Any]]:
    """``select.by_language`` as whole sections: section -> language -> the section with the language's numbers.

    Raises:
        ValueError: a section, a knob or a number that can't be, one a line.
    """
    from data_tools.config import Strict

    judged = [name for name in type(select).model_fields if isinstance(getattr(select, name), Strict)]
    allowed = [name for name in MEASURED if name != "language"] + ["quality"]
    found: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    for language, sections in select.by_language.items():
        for section, knobs in sections.items():
            at = f"by_language.{language}.{section}"
            if section not in allowed:
                extra = " (for languages: select.language.min_confidence_by_language)" if section == "language" else ""
                wrong.append(f"{at}: no such rule set{extra}.{_near(section, allowed)}")
                continue
            if section not in judged:
                wrong.append(f"{at}: select.{section} is off, so that there is nothing to change for one language")
                continue
            rule = getattr(select, section)
            known = [name for name in type(rule).model_fields if name != "keep_fraction"]
            unknown = [knob for knob in knobs if knob not in known]
            wrong += [f"{at}.{knob}: unknown key.{_near(knob, known)}" for knob in unknown]
            if unknown:
                continue
            try:
                changed = type(rule).model_validate({**rule.model_dump(), **knobs})
            except ValueError as error:
                said = [f"{at}.{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]  # type: ignore[attr-defined]
                wrong += said
            else:
                found.setdefault(section, {})[language] = changed
    if wrong:
        raise ValueError("\n".join(wrong))
    return found


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else f" Known: {', '.join(known)}."
