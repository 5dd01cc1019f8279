from __future__ import annotations

import unicodedata

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.kernels import normal_form
from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.normal_form import BLANKS, COMPOSE, CONTROLS, are_clean, steps_needed
from data_tools.text import normalize

# Loaded before the clock of the first example starts.
steps_needed(b"a")

#: One alphabet for each way in which writing systems and machines make trouble.
_ALPHABETS = (
    "a \t\n\r\x00\x1f\x7f\x80\x85\x9f\xa0\u2028\u2029\ufeff\u3000",
    "aeée\u0301\u0316\u0323\u0344\u212b\u1e0b\u0307 ",
    "한글\u1112\u1161\u11ab\uac00\u11a8 ",
    "हिन्दी\u0915\u093c\u0929\u0958\u0928 ",
    "বাংলা\u09c7\u09be\u09cb ",
    "שָׁלוֹם\ufb2a\u05bc\u05b0 ",
    "العربية\u0627\u0653\u0622\u064b\u0651 ",
    "ภาษาไทยที่\u0e38\u0e48 ",
    "中文\uf900\ufa0e\U0002f800\U00020000日本語か\u3099が",
    "😀\U0001d15e\U0001d157\U0001d165\U0001f1e9\U000e0041ﬁ",
)
_TEXTS = st.one_of(*(st.text(alphabet=alphabet, max_size=150) for alphabet in _ALPHABETS), st.text(max_size=150))


def clean(values: list[bytes], longest: int = 1_000) -> list[bool]:
    column = pa.array(values, pa.large_binary()).view(pa.large_string())
    return [bool(value) for value in are_clean(*text_buffers(column), longest)]


@settings(max_examples=500, deadline=None)
@given(st.lists(_TEXTS, min_size=1, max_size=5))
def test_a_clean_text_is_one_that_no_normalization_changes(texts: list[str]) -> None:
    for text, found in zip(texts, clean([text.encode() for text in texts]), strict=True):
        if found:
            assert text.strip()
            assert all(normalize(text, name) == text for name in ("none", "nfc", "nfc-clean"))


@given(_TEXTS)
def test_a_step_that_is_not_asked_for_changes_nothing(text: str) -> None:
    steps = steps_needed(text.encode())
    if not steps & COMPOSE:
        assert unicodedata.is_normalized("NFC", text)
    if not steps & CONTROLS:
        assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\t\n" for c in text)
    if not steps & BLANKS:
        assert text == "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip("\n")


@settings(deadline=None)
@given(st.binary(max_size=80) | st.tuples(_TEXTS, st.binary(max_size=4), _TEXTS).map(lambda p: _around(*p)))
def test_what_is_no_utf8_is_not_clean(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError:
        assert clean([raw]) == [False]


def _around(before: str, raw: bytes, after: str) -> bytes:
    return before.encode() + raw + after.encode()


def test_each_character_alone_and_behind_a_letter() -> None:
    characters = [chr(code) for code in range(1, 0x20010) if not 0xD800 <= code < 0xE000]
    for before in ("", "x", "\uac00", "e\u0316"):
        texts = [before + character for character in characters]
        found = clean([text.encode() for text in texts])
        wrong = [text for text, fine in zip(texts, found, strict=True) if fine and normalize(text, "nfc-clean") != text]
        assert not wrong
        assert sum(found) > 100_000  # most are


def test_common_texts_are_clean_at_the_first_look() -> None:
    texts = [
        "Plain.\n\n\tIndented, “quoted” – naïve café… 😀",
        "Ελληνικά и русский",
        "中文，日本語。한국어",
        "العربية",
        "ภาษาไทยที่นี่",
        "עברית",
    ]
    assert [steps_needed(text.encode()) for text in texts] == [0] * len(texts)


def test_length_and_emptiness() -> None:
    assert clean([b"", b" ", b"\xc2\xa0", "x\u3000".encode(), b"x", b"x" * 10, b"x" * 11], longest=10) == [
        False,
        False,
        False,
        False,
        True,
        True,
        False,
    ]


def test_trouble_at_the_edges_of_blocks() -> None:
    block = int(normal_form._BLOCK)
    for size in range(block - 4, block + 6):
        for tail in ("é", "e\u0301", "\u2028", " \n.", "\r", "😀", "\u1161"):
            text = "x" * size + tail + "y"
            assert clean([text.encode()]) == [normalize(text, "nfc-clean") == text]
