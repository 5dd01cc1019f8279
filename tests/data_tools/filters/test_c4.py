from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.filters.c4 import EDITS, c4_signals, edit_lines, sentences_in_line
from data_tools.schema import C4_SIGNALS
from tests.data_tools.filters import plain_signals
from tests.data_tools.filters.made_texts import columns

VARIANTS = ["paper", "code", "datatrove"]


@pytest.mark.parametrize("end_marks", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_signals_and_edits_equal_the_plain_reference(texts: list[str], variant: str, end_marks: bool) -> None:
    expected = [plain_signals.c4(text, variant, end_marks) for text in texts]
    measured = c4_signals(pa.array(texts), variant, end_marks)
    assert list(measured) == [name for name, _ in C4_SIGNALS]
    for name, values in measured.items():
        assert values.tolist() == [signals[name] for signals, _, _ in expected], name
    edits = edit_lines(pa.array(texts), variant, end_marks)
    assert edits.texts.to_pylist() == [left for _, left, _ in expected]
    assert tuple(edits.counts) == EDITS
    for reason, counts in edits.counts.items():
        assert counts.tolist() == [found.get(reason, 0) for _, _, found in expected], reason


@given(st.text(alphabet="aB .!?…。！\"')]」\t\u3000", max_size=40))
def test_sentences_are_counted_as_they_are_cut(line: str) -> None:
    sentences = sentences_in_line(line)
    assert len(sentences) == plain_signals.count_sentences(line)
    assert "".join(sentences) == line.strip()


def test_sentences() -> None:
    assert sentences_in_line('He said "Go." Then 3.14... and on! 本当です。はい！') == [
        'He said "Go." ', "Then 3.14... ", "and on! ", "本当です。", "はい！",
    ]  # fmt: skip
    assert sentences_in_line("…") == ["…"]
    assert sentences_in_line(" ") == []


#: One example for every point in the table of filters/c4.py: line, whether it stays by paper, code, datatrove.
LINES = [
    ("It ends with five words.", (True, True, True)),
    ("Only three words.", (True, False, True)),
    ("Two words.", (False, False, False)),
    ("It ends with no mark", (False, False, False)),
    ("It ends with an ellipsis...", (True, False, False)),
    ("It ends with a 'quote'", (False, False, True)),
    ("It ends with a ”quote”", (True, False, False)),
    ("It ends with a citation. [3]", (True, False, False)),
    ("There are two [1] [2].", (True, False, True)),
    ("See [1] [2].", (False, False, True)),
    ("A very long word here " + "x" * 1001 + ".", (True, False, False)),
    ("Please turn on JavaScript for this.", (False, False, False)),
    ("This site uses cookies for you.", (False, False, False)),
]


@pytest.mark.parametrize(("line", "stays"), LINES)
def test_divergences_in_lines(line: str, stays: tuple[bool, bool, bool]) -> None:
    column = pa.array([line])
    assert tuple(c4_signals(column, variant)["c4_lines"][0] == 1 for variant in VARIANTS) == stays


def test_page_rules_ask_the_whole_page_or_the_lines_that_come_so_far() -> None:
    column = pa.array(["if (x) { return }\nlorem ipsum\nThis is a line that stays."])
    for variant in VARIANTS:
        signals = c4_signals(column, variant)
        assert signals["c4_curly_brace"][0] == signals["c4_lorem_ipsum"][0] == (variant == "paper")
    kept_line = pa.array(["This { stays in the page. \nLorem Ipsum is in here too."])
    for variant in VARIANTS:
        signals = c4_signals(kept_line, variant)
        assert signals["c4_curly_brace"][0] and signals["c4_lorem_ipsum"][0]


def test_long_paragraphs_are_counted_in_characters() -> None:
    column = pa.array(["é" * 200 + "\n" + "é" * 199 + "\n" + "x" * 300])
    assert c4_signals(column)["c4_long_paragraphs"].tolist() == [2]
