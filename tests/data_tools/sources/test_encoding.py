from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.sources.encoding import codec_name, decode, python_name

RUSSIAN = "Это обычный русский текст, достаточно длинный, чтобы узнать его кодировку."
JAPANESE = "これは普通の日本語の文章です。文字コードを判別するために十分な長さがあります。"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf_8_comes_back(text: str) -> None:
    assert decode(text.encode("utf-8-sig"))[0] == text
    if not text.startswith("\ufeff"):
        assert decode(text.encode()) == (text, "utf-8")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_marks_and_wide_letters(encoding: str) -> None:
    assert decode("plain words in a wide encoding".encode(encoding))[0] == "plain words in a wide encoding"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (JAPANESE, "iso2022_jp")],
)
def test_guesses(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == (text, encoding)


def test_what_is_declared_helps_and_does_not_overrule_the_bytes() -> None:
    polish = "Zażółć gęślą jaźń"
    assert decode(polish.encode("iso-8859-2"), "ISO-8859-2") == (polish, "iso8859-2")
    assert decode(polish.encode(), "ISO-8859-2") == (polish, "utf-8")
    assert decode(polish.encode("utf-16"), "iso-8859-2") == (polish, "utf-16-le")
    assert decode("“quoted”".encode("cp1252"), "latin-1") == ("“quoted”", "cp1252")
    assert decode(RUSSIAN.encode("cp1251"), "shift_jis")[0] == RUSSIAN
    assert decode(RUSSIAN.encode("cp1251"), "no-such-thing")[0] == RUSSIAN


@given(st.binary(min_size=400, max_size=2_000).filter(lambda raw: sum(byte < 9 for byte in raw) > len(raw) // 20))
def test_noise_is_no_text(raw: bytes) -> None:
    try:
        text, encoding = decode(raw)
    except UnicodeDecodeError:
        return
    # UTF-8 may say what it wants; it was not guessed. (NULs are ingest's matter.)
    assert encoding == "utf-8" or encoding.startswith(("utf-16", "utf-32")) or "\x00" not in text


def test_names() -> None:
    assert [python_name(label) for label in ("ISO-8859-1", " 'gb2312' ", "x-sjis", "UTF8")] == [
        "cp1252",
        "gb18030",
        "cp932",
        "utf-8",
    ]
    assert [python_name(label) for label in (None, "", "rot13", "utf-7", "hex", "a\0b")] == [None] * 6
    assert codec_name("latin-1") == "iso8859-1"
