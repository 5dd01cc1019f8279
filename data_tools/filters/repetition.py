"""Gopher's repetition rules: stub, being written."""

from __future__ import annotations
from data_tools.filters.rules import Threshold

VERSION = "gopher-repetition-1"
THRESHOLDS: tuple[Threshold, ...] = (
    Threshold("repetition/duplicate-lines", "max_duplicate_lines", "duplicate_lines", "above"),
    Threshold("repetition/duplicate-paragraphs", "max_duplicate_paragraphs", "duplicate_paragraphs", "above"),
    Threshold("repetition/duplicate-line-chars", "max_duplicate_line_chars", "duplicate_line_chars", "above"),
    Threshold(
        "repetition/duplicate-paragraph-chars", "max_duplicate_paragraph_chars", "duplicate_paragraph_chars", "above"
    ),
    *(Threshold(f"repetition/top-{n}-gram", f"max_top_{n}_gram", f"top_{n}_gram", "above") for n in (2, 3, 4)),
    *(
        Threshold(f"repetition/duplicate-{n}-grams", f"max_duplicate_{n}_grams", f"duplicate_{n}_grams", "above")
        for n in range(5, 11)
    ),
)
