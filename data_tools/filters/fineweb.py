"""FineWeb's own rules: stub, being written."""

from __future__ import annotations
from data_tools.filters.rules import Threshold

VERSION = "fineweb-1"
THRESHOLDS: tuple[Threshold, ...] = (
    Threshold("fineweb/line-end-punctuation", "min_line_end_punctuation", "line_end_punctuation", "at-or-below"),
    Threshold("fineweb/short-lines", "max_short_lines", "short_lines", "at-or-above"),
    Threshold(
        "fineweb/duplicate-line-chars", "max_duplicate_line_chars", "fineweb_duplicate_line_chars", "at-or-above"
    ),
    Threshold("fineweb/newlines", "max_newline_ratio", "newline_ratio", "above"),
)
