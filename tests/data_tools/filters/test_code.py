from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.filters.code import COMMENTS, code_signals
from data_tools.kernels import code as kernel
from data_tools.schema import CODE_SIGNALS
from tests.data_tools.filters.made_texts import columns


def comments(text: str, language: str | None) -> float:
    return float(code_signals(pa.array([text]), [language])["comments"][0]) * len(text)


@settings(deadline=None, max_examples=40)
@given(texts=columns)
def test_lines_and_characters_equal_the_plain_reference(texts: list[str]) -> None:
    measured = code_signals(pa.array(texts), [None] * len(texts))
    assert list(measured) == [name for name, _ in CODE_SIGNALS]
    for row, text in enumerate(texts):
        lines = text.removesuffix("\n").split("\n") if text else []
        assert measured["max_line_length"][row] == max(map(len, lines), default=0)
        assert measured["mean_line_length"][row] == (sum(map(len, lines)) / len(lines) if lines else 0)
        assert measured["alphanumeric"][row] == (sum(map(str.isalnum, text)) / len(text) if text else 0)
        assert measured["comments"][row] == 0


@pytest.mark.parametrize(
    ("language", "text", "comment"),
    [
        ("Python", "x = 1  # one é\ny = '# no'\n", "# one é"),
        ("Python", "it's = 1  # an apostrophe alone\n", "# an apostrophe alone"),
        ("python", 's = "\\"# no"\n', ""),
        ("C", "int a; // one\n/* two\n */ int b = '/'; char *c = \"/* no */\";", "// one/* two\n */"),
        ("c++", "a /* never closed", "/* never closed"),
        ("PHP", "# one\n// two\n", "# one// two"),
        ("Haskell", "x -- one\ny - - z", "-- one"),
        ("SQL", "select 1 -- one\n/* two */ '--'", "-- one/* two */"),
        ("Common Lisp", "(quote 'a) ; one\n", "; one"),
        ("TeX", "it's 50 % one", "% one"),
        ("HTML", "<p>it's</p><!-- one\n--> <b>", "<!-- one\n-->"),
        ("Brainfuck", "# one // two", ""),
        (None, "# one // two", ""),
    ],
)
def test_comments(language: str | None, text: str, comment: str) -> None:
    assert comments(text, language) == pytest.approx(len(comment))


@pytest.mark.timeout(20)
def test_quotes_without_an_end_take_linear_time() -> None:
    assert comments('"\\' * 200_000, "c") == 0


@given(st.sampled_from(sorted(COMMENTS)), st.text(alphabet="a\"'\\/*#-;%<!>\n", max_size=30))
def test_no_more_comments_than_text(family: str, text: str) -> None:
    assert 0 <= comments(text, COMMENTS[family].split()[0]) <= len(text)


def test_a_language_is_in_one_family_that_the_kernel_knows() -> None:
    names = [name for family in COMMENTS.values() for name in family.split()]
    assert len(names) == len(set(names))
    assert all(isinstance(getattr(kernel, family), int) for family in COMMENTS)
