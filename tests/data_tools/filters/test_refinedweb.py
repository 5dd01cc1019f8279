from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings

from data_tools.filters.refinedweb import EDITS, edit_lines, refinedweb_signals
from data_tools.text import words as split_words
from tests.data_tools.filters import plain_signals
from tests.data_tools.filters.made_texts import columns


@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_edits_and_signals_equal_the_plain_reference(texts: list[str]) -> None:
    expected = [plain_signals.refinedweb(text) for text in texts]
    edits = edit_lines(pa.array(texts))
    assert edits.texts.to_pylist() == [left for left, _ in expected]
    assert tuple(edits.counts) == EDITS
    for reason, counts in edits.counts.items():
        assert counts.tolist() == [found.get(reason, 0) for _, found in expected], reason
    for definition in ("whitespace", "unicode-words"):
        removed = refinedweb_signals(pa.array(texts), definition)["refinedweb_removed_words"]
        for text, (left, _), share in zip(texts, expected, removed, strict=True):
            before, after = len(split_words(text, definition)), len(split_words(left, definition))
            assert share == (before - after) / max(before, 1)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("ABC ab", "ABC ab"),
        ("ABCD a", ""),
        ("12345", ""),
        ("12 45", "12 45"),
        ("(1,234.5K  Likes!)", ""),
        ("3 likes and more", "3 likes and more"),
        ("x 3 likes", "x 3 likes"),
        ("3likes it", "3likes it"),
        ("single", ""),
        ("You have 3 items in cart now", "You have 3 now"),
        ("Items in cart", ""),
        ("To the point. Read more...", "To the point."),
        ("Read more... or not", "Read more... or not"),
        ("Sign-in to go on", "to go on"),
        ("a line of more than ten words has two items in cart", "a line of more than ten words has two items in cart"),
    ],
)
def test_lines(line: str, left: str) -> None:
    assert edit_lines(pa.array([f"Before this.\n{line}\nBehind it."])).texts.to_pylist() == [
        f"Before this.\n{left}\nBehind it." if left else "Before this.\nBehind it."
    ]


def test_empty_lines_stay_inside() -> None:
    assert edit_lines(pa.array(["\n\nHere is one.\n\nAnd here another.\n\n"])).texts.to_pylist() == [
        "Here is one.\n\nAnd here another."
    ]
