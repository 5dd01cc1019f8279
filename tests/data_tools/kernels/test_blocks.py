"""Blocks of 64 bytes: their bits, and what the kernels make of texts wherever a block's edge falls in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from numba import njit

from data_tools.filters.c4 import c4_signals, sentences_in_line
from data_tools.filters.gopher import gopher_signals
from data_tools.filters.repetition import repetition_signals
from data_tools.kernels.blocks import REACH, address_of, equal, equal_folded, find_byte, padded_buffers, within
from data_tools.kernels.line_spans import find_lines
from data_tools.kernels.word_spans import find_words

_PIECE = "Élan\u2003vital, (the) ‘word’\u3000and…  ... \u20acuro\x85to 42 uses Cookies. lorem IPSUM! JavaScript"


@njit
def _masks(data):  # type: ignore[no-untyped-def]
    address = address_of(data)
    return equal(address, 0x2E), equal_folded(address, 0x61), within(address, 0x80, 0xBF)


def test_bits_are_those_of_the_bytes() -> None:
    data = np.random.default_rng(0).permutation(np.arange(256, dtype=np.uint8))[:64]
    data[[3, 63]] = ord("."), ord("A")
    found = [np.flatnonzero([mask >> bit & 1 for bit in range(64)]).tolist() for mask in map(int, _masks(data))]
    expected = [data == ord("."), (data | 0x20) == ord("a"), (data >= 0x80) & (data <= 0xBF)]
    assert found == [np.flatnonzero(mask).tolist() for mask in expected]


def test_a_byte_is_found_within_bounds() -> None:
    data = np.zeros(300 + REACH, dtype=np.uint8)
    data[[10, 150, 299]] = 7
    assert [find_byte(data, start, 299, 7) for start in (0, 10, 11, 151, 299)] == [10, 10, 150, 299, 299]


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["abc", "d" * 200]])
def test_there_is_room_behind_the_last_text(texts: list[str]) -> None:
    for column in (pa.array(texts, pa.large_string()), pa.array([*texts, "z" * 90], pa.large_string())[: len(texts)]):
        data, offsets = padded_buffers(column)
        assert len(data) - offsets[-1] >= REACH
        assert [bytes(data[a:b]).decode() for a, b in pairwise(offsets)] == texts


def test_words_and_lines_wherever_a_block_ends() -> None:
    texts = [lead * count + _PIECE + tail for lead in ("x", "é", " ") for count in range(70) for tail in ("", " end")]
    spans = find_words(pa.array(texts, pa.large_string()), "whitespace")
    words = [bytes(spans.data[a:b]).decode() for a, b in zip(spans.starts, spans.ends, strict=True)]
    assert words == [word for text in texts for word in text.split()]
    assert spans.chars.tolist() == [len(word) for word in words]
    same: dict[str, int] = {}
    for word, key in zip(words, spans.hashes.tolist(), strict=True):
        assert same.setdefault(word, key) == key
    assert len(set(same.values())) == len(same)
    assert find_lines(pa.array(texts, pa.large_string()), stripped=True).text_chars.tolist() == [len(t) for t in texts]


def test_signals_do_not_depend_on_where_a_block_ends() -> None:
    line = _PIECE.replace("\x85", " ")
    texts = ["\n" * count + line for count in range(70)]
    column = pa.array(texts, pa.large_string())
    signals = {**c4_signals(column, "paper", False), **gopher_signals(column)}
    for name in ("c4_lines", "c4_words", "c4_sentences", "c4_lorem_ipsum", "words", "stop_words", "ellipsis_ratio"):
        assert len(set(signals[name].tolist())) == 1, name
    assert signals["c4_lines"][0] == 0  # "uses cookies", "JavaScript"
    assert signals["stop_words"][0] == 3
    harmless = [" " * count + line.replace("Cookies", "").replace("JavaScript", "") for count in range(70)]
    signals = c4_signals(pa.array(harmless, pa.large_string()), "paper", False)
    assert signals["c4_words"].tolist() == [len(text.split()) for text in harmless]
    assert signals["c4_sentences"].tolist() == [len(sentences_in_line(text)) for text in harmless]


def test_strings_without_blanks_repeat_whatever_words_they_are_cut_into() -> None:
    """datatrove's n-grams: shorter and longer than the bytes that the filter looks at."""
    for size in (1, 2, 3, 4, 5, 9):
        letters = "".join(chr(97 + (7 * i) % 26) for i in range(5 * size))
        first = [letters[i : i + size] for i in range(0, 5 * size, size)]
        again = [letters[:1], letters[1 : size + 1], letters[size + 1 :]] if size > 1 else first
        again = [word for word in again if word]
        while len(again) < 5:  # other borders, the same string
            longest = max(range(len(again)), key=lambda i: len(again[i]))
            again[longest : longest + 1] = [again[longest][:1], again[longest][1:]]
        text = " ".join([*first, "BETWEEN", *again])
        found = repetition_signals(pa.array([text], pa.large_string()), "whitespace", "datatrove")
        assert found["duplicate_5_grams"][0] == len(letters) / len(text)
