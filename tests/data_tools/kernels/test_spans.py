from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.kernels.line_spans import find_lines
from data_tools.kernels.word_spans import HAS_LETTER, HAS_LETTER_OR_DIGIT, find_words
from data_tools.text import words
from tests.data_tools.filters.made_texts import columns

# What joins and what parts words: joiners, marks, letters that stand alone, digits of several scripts.
_tricky = st.text(alphabet="ab'-’ _\n\u00a0é\u0301กั日本ー1²१ि١\u0651.,#\u2028ﾊ\u200d", max_size=20)


@pytest.mark.parametrize("definition", ["whitespace", "unicode-words"])
@settings(deadline=None, max_examples=60)
@given(texts=st.one_of(columns, st.lists(_tricky, min_size=1, max_size=5)))
def test_words_are_those_of_the_plain_definition(texts: list[str], definition: str) -> None:
    spans = find_words(pa.array(texts), definition)
    data = spans.data.tobytes()
    for row, text in enumerate(texts):
        own = range(spans.first[row], spans.first[row + 1])
        found = [data[spans.starts[word] : spans.ends[word]].decode() for word in own]
        assert found == words(text, definition)
        assert [spans.chars[word] for word in own] == [len(word) for word in found]
        for word, kind in zip(found, spans.kinds[spans.first[row] : spans.first[row + 1]], strict=True):
            assert bool(kind & HAS_LETTER) == any(c.isalpha() for c in word)
            assert bool(kind & HAS_LETTER_OR_DIGIT) == any(c.isalnum() for c in word)


@pytest.mark.parametrize("stripped", [True, False])
@settings(deadline=None, max_examples=60)
@given(texts=columns)
def test_lines_are_those_of_split(texts: list[str], stripped: bool) -> None:
    spans = find_lines(pa.array(texts), stripped)
    data = spans.data.tobytes()
    hashes: dict[str, int] = {}
    for row, text in enumerate(texts):
        assert spans.text_chars[row] == len(text)
        own = range(spans.first[row], spans.first[row + 1])
        expected = [line.strip() if stripped else line for line in text.split("\n")]
        assert [data[spans.starts[line] : spans.ends[line]].decode() for line in own] == expected
        for line, content in zip(own, expected, strict=True):
            assert spans.chars[line] == len(content)
            assert spans.blank[line] == (not content.strip())
            assert hashes.setdefault(content, spans.hashes[line]) == spans.hashes[line]
    assert len(set(hashes.values())) == len(hashes)
