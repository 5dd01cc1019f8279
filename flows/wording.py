"""Times, numbers and counters as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

Counters = Mapping[str, int | float | str]

#: Control characters, ANSI sequences first: none of them may reach a log file through us.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def show_seconds(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_number(value: float) -> str:
    """Thousands apart; at most four significant digits after the point of a small number."""
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


#: The counters that say most, and what a person calls them; the first of these that a stage has are shown.
HEADLINES = {
    "documents_out": "documents",
    "quarantined": "quarantined",
    "removed": "removed",
    "edited": "edited",
    "holdout_accuracy": "accuracy on held-out examples",
    "examples": "examples",
    "labels": "labels",
    "vocab_size": "entries",
    "bytes_per_token": "bytes per token",
    "train_tokens": "training tokens",
    "validation_tokens": "validation tokens",
    "bits_per_byte": "bits per byte",
    "pretrained_accuracy": "accuracy",
    "validation_bits_per_byte": "bits per byte",
    "validation_accuracy": "accuracy",
    "validation_loss": "validation loss",
    "parameters": "parameters",
    "steps": "steps",
}


def show_counters(counters: Counters | None, limit: int = 3) -> str:
    """The few that say most: ``documents 10,010 · removed 16,217``."""
    counted = counters or {}
    named = [(said, counted[name]) for name, said in HEADLINES.items() if name in counted]
    if not named:
        named = [(name.replace("_", " "), value) for name, value in counted.items() if "." not in name]
    parts = []
    for name, value in named[:limit]:
        text = clean(value)[:40] if isinstance(value, str) else show_number(value)
        parts.append(f"{clean(name)} {text}")
    return " · ".join(parts)


def clean(text: str) -> str:
    """One line without control characters: a document's title must not be able to move the cursor."""
    return _CONTROL.sub("", text.replace("\n", " ").replace("\t", " ")).strip()
