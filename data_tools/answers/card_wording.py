"""Numbers, names and ranges of a data card in words, for both of its forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from data_tools.answers.card_facts import CardFacts, Removed

SPLIT_USES = {"train": "to learn from", "validation": "to watch the training", "test": "for the last word"}

#: What a person calls a reason that isn't a filter's.
REASONS = {
    "clean/empty": "nothing was left of it after the edits",
    "passage/empty": "every passage of it stands elsewhere",
    "mixture/not-drawn": "left out of the mixture",
    "exact-duplicate": "the same text is there already",
    "near-duplicate": "nearly the same text is there already",
    "contained-duplicate": "it stands in a longer document",
    "index-exact-duplicate": "the same text is in an index of earlier documents",
    "index-near-duplicate": "nearly the same text is in an index of earlier documents",
}


def count(n: int) -> str:
    return f"{n:,}"


def size(n_bytes: float) -> str:
    """``812 B``, ``4.1 kB``, ``198 MB``, ``1.2 TB``."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} TB"


def about(n: float) -> str:
    """``0.9 thousand``, ``50 million``, ``1.3 billion``."""
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if n >= 0.95 * unit:
            return f"{n / unit:.3g} {name}"
    return f"{n:.0f}"


def percent(part: float, whole: float) -> str:
    if not whole:
        return ""
    share = part / whole
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{share:.1%}".replace("%", " %")


def octave(low: str) -> str:
    """``1024`` is the bar of documents of 1 to 2 KiB."""
    return f"{size(int(low))} to {size(2 * int(low))}"


def similarity(value: float) -> str:
    return f"{value:.3f}" if value < 1 else "1"


def measured(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def setting(value: Any) -> str:
    """A value of a configuration, as it would stand in the YAML file."""
    return json.dumps(value, ensure_ascii=False)


def summary(facts: CardFacts) -> list[tuple[str, str]]:
    """(number, what it is): the first things to know."""
    read = sum(source.documents_read for source in facts.sources)
    found = facts.duplicates
    duplicates = found.exact + found.near + found.contained + found.in_index
    return [
        (count(facts.documents), "documents"),
        (size(facts.bytes), "of text"),
        (about(facts.tokens), "tokens (estimated)"),
        (count(len(facts.sources)), "source" if len(facts.sources) == 1 else "sources"),
        (percent(facts.documents, read), "of what was read"),
        (count(duplicates), "duplicates removed"),
    ]


def lengths_in_words(facts: CardFacts) -> str:
    return (
        f"Half of the documents are shorter than about {size(facts.median)}; the shortest has {size(facts.shortest)}, "
        f"the longest {size(facts.longest)}."
    )


def tokens_in_words(facts: CardFacts) -> str:
    told = f"Tokens are estimated at {facts.bytes_per_token:g} bytes each; the tokenizer decides later."
    if facts.rows != facts.documents:
        told += (
            f" With repetitions the mixture has {count(facts.rows)} rows and {size(facts.row_bytes)}; "
            "the estimate is of these."
        )
    return told


EDITS_IN_WORDS = (
    "Lines and passages are cut by the rule that is named. Personal data is replaced by addresses and numbers that "
    "belong to nobody."
)


def by_stage(removed: tuple[Removed, ...]) -> Mapping[str, list[Removed]]:
    grouped: dict[str, list[Removed]] = {}
    for one in removed:
        grouped.setdefault(one.stage, []).append(one)
    return grouped


def reason_name(reason: str) -> str:
    return f"{reason}: {REASONS[reason]}" if reason in REASONS else reason
