from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.kernels.normal_form import steps_needed
from data_tools.text import (
    NORMALIZATIONS,
    document_id,
    normalize,
    normalize_utf8,
    sentences,
    truncate_to_sentences,
    words,
)

# Compiled before the clock of the first example starts.
steps_needed(b"a")


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
@given(text=st.text())
def test_normalizing_twice_changes_nothing_more(name: str, text: str) -> None:
    once = normalize(text, name)
    assert normalize(once, name) == once


def test_nfc_clean() -> None:
    raw = "\ufeff\n\n  Cafe\u0301 \t\r\nsecond\x07 line\r\rthird\u2028fourth   \n\n"
    assert normalize(raw, "nfc-clean") == "  Café\nsecond line\n\nthird\nfourth"
    assert normalize(raw, "none") == raw
    assert normalize(raw, "nfc") == unicodedata.normalize("NFC", raw)


def test_a_control_character_does_not_keep_an_accent_from_its_letter() -> None:
    assert normalize("e\x01\u0301", "nfc-clean") == "é"


_TROUBLE = st.text(alphabet="a \t\n\r\x0b\x0c\x00\x1f\x7f\x80\x85\x9f\xa0é\u0301\u0316\u2028\u2029\ufeff\u212bשּ한ᄒ😀")


@given(_TROUBLE, st.sampled_from(sorted(set(NORMALIZATIONS) - {"ftfy"})))
def test_the_quick_way_and_the_thorough_one_agree(text: str, name: str) -> None:
    assert normalize_utf8(text, text.encode(), name) == normalize(text, name).encode()


@given(st.lists(st.text(alphabet="a\u0301\u0316\u0344\u05b0\u0f73é", min_size=50, max_size=200), max_size=3))
def test_marks_in_any_order_are_what_unicode_says(runs: list[str]) -> None:
    assert normalize("x".join(runs), "nfc") == unicodedata.normalize("NFC", "x".join(runs))


def test_no_mark_stands_outside_of_where_they_are_looked_for() -> None:
    assert not any(unicodedata.combining(chr(code)) for code in [*range(0x300), *range(0x1F000, 0x110000)])


@pytest.mark.timeout(20)
def test_a_million_marks_take_no_minutes() -> None:
    assert len(normalize("a" + "\u0316\u0301" * 500_000, "nfc-clean")) == 1_000_000


def test_ftfy_mends_what_was_decoded_wrongly_and_nothing_else() -> None:
    mangled = "“schön” – naïve café".encode().decode("cp1252", "replace")
    assert normalize(mangled.replace("\ufffd", "\x9d"), "ftfy") == "“schön” – naïve café"
    fine = "“quoted” &amp; ﬁne ｗｉｄｅ"
    assert normalize(fine, "ftfy") == fine


def test_document_id_is_pinned() -> None:
    # Every artifact hangs on it: another value here means that all data must be made again.
    assert document_id("The quick brown fox") == "b2c100c26f5d723ab7859350537dfedc"
    assert document_id("") == "99aa06d3014798d86001c324468d497f"


def test_words() -> None:
    text = "Don't stop—the state-of-the-art C3PO, 42 times…"
    assert words(text, "whitespace") == ["Don't", "stop—the", "state-of-the-art", "C3PO,", "42", "times…"]
    assert words(text, "unicode-words") == ["Don't", "stop", "the", "state-of-the-art", "C3PO", "42", "times"]
    assert words("cafe\u0301s हिन्दी 日本語 l'été-", "unicode-words") == [
        "cafe\u0301s",
        "हिन्दी",
        "日",
        "本",
        "語",
        "l'été",
    ]
    assert words("ภาษาที่ 3ก a日b", "unicode-words") == ["ภ", "า", "ษ", "า", "ที่", "3", "ก", "a", "日", "b"]


def test_sentences() -> None:
    text = (
        'Dr. J. R. Smith (b. 1901) lived in the U.S. Army base. He said "Go." Then he left! Was it 3.14? '
        "Élan vital\n\nNext paragraph. lower case goes on"
    )
    assert list(sentences(text)) == [
        "Dr. J. R. Smith (b. 1901) lived in the U.S. Army base.",
        'He said "Go."',
        "Then he left!",
        "Was it 3.14?",
        "Élan vital",
        "Next paragraph. lower case goes on",
    ]


@pytest.mark.timeout(20)
def test_long_runs_take_linear_time() -> None:
    dots, blanks = "." * 300_000 + "x", "a" + " " * 300_000 + "b"
    assert list(sentences(dots)) == [dots]
    assert len(list(sentences("A. " * 100_000))) >= 1
    assert normalize(blanks, "nfc-clean") == blanks


@given(st.text(alphabet='aB .!?\n"', max_size=200), st.integers(1, 60))
def test_truncation_is_a_prefix_that_fits(text: str, limit: int) -> None:
    cut = truncate_to_sentences(text, limit)
    assert len(cut) <= limit
    assert text.strip().startswith(cut)
    if len(text.strip()) <= limit:
        assert cut == text.strip()


def test_truncation_ends_with_a_sentence() -> None:
    assert truncate_to_sentences("One here. Two there. Three everywhere.", 25) == "One here. Two there."
    assert truncate_to_sentences("One sentence that is too long.", 10) == ""
