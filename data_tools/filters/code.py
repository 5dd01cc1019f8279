"""Rules for source code: stub, being written."""

from __future__ import annotations
from data_tools.filters.rules import Threshold

VERSION = "code-1"
THRESHOLDS: tuple[Threshold, ...] = (
    Threshold("code/long-line", "max_line_length", "max_line_length", "above"),
    Threshold("code/mean-line-length", "max_mean_line_length", "mean_line_length", "above"),
    Threshold("code/alphanumeric", "min_alphanumeric", "alphanumeric", "below"),
    Threshold("code/few-comments", "min_comments", "comments", "below"),
    Threshold("code/many-comments", "max_comments", "comments", "above"),
)
