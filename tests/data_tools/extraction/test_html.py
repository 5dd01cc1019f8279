"""HTML to text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.errors import DataError
from data_tools.extraction import extract
from data_tools.extraction.html import decode_page, for_worker, require_packages

SENTENCES = " ".join(f"This is sentence number {i} of an article about the history of lighthouses." for i in range(12))
PAGE = f"""<!DOCTYPE html><html lang="en-GB"><head><title>
 Lighthouses   of Europe</title><link rel="canonical" href="https://example.org/lighthouses"></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav>
<article><h1>Lighthouses</h1><p>{SENTENCES}</p><p>Caf\xe9 and na\xefve &amp; more: {SENTENCES}</p></article>
<footer>Imprint and cookies</footer><script>var hidden = 1;</script></body></html>"""


@pytest.mark.parametrize("method", ["resiliparse", "trafilatura"])
def test_main_content_without_the_menu(method: str) -> None:
    found = extract(PAGE, method)
    assert SENTENCES in found.text and "Café and naïve & more" in found.text
    assert "About us" not in found.text and "hidden" not in found.text
    assert (found.title, found.language, found.url) == (
        "Lighthouses of Europe",
        "en",
        "https://example.org/lighthouses",
    )
    assert not found.all_text


def test_all_visible_text() -> None:
    text = extract(PAGE, "resiliparse-all").text
    assert "About us" in text and "Imprint" in text and SENTENCES in text and "hidden" not in text


def test_a_page_without_main_content_gives_all_its_text() -> None:
    page = f"<body><nav>{SENTENCES}</nav></body>"
    found = extract(page)
    assert found.all_text and SENTENCES in found.text
    assert not extract("<body><nav>Home</nav></body>").all_text


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="nonesuch"):
        extract("<p>x", "nonesuch")


@pytest.mark.parametrize(
    ("raw", "declared", "expected"),
    [
        ("<p>é</p>".encode(), None, "é"),
        ("<p>é</p>".encode("utf-16"), None, "é"),  # with a byte order mark
        ("<meta charset=iso-8859-1><p>é–</p>".encode("cp1252"), None, "é–"),  # Latin-1 means Windows-1252 on the web
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=shift_jis"><p>日本</p>'.encode("cp932"),
            None,
            "日本",
        ),
        ('<?xml version="1.0" encoding="iso-8859-2"?><p>źródło</p>'.encode("iso-8859-2"), None, "źródło"),
        ("<meta charset=utf-8><p>Здравствуйте</p>".encode("cp1251"), "windows-1251", "Здравствуйте"),  # HTTP first
        ("<meta charset=iso-8859-1><p>schön</p>".encode(), None, "schön"),  # valid UTF-8 whatever it says
    ],
)
def test_encodings(raw: bytes, declared: str | None, expected: str) -> None:
    assert extract(raw, "resiliparse-all", declared).text == expected
    assert expected in decode_page(raw, declared)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        extract(bytes(range(256)) * 20)


@pytest.mark.parametrize(
    ("head", "language", "url"),
    [
        ('<html lang="de">', "de", None),
        ('<html lang="zh-Hant-TW"><link rel="canonical" href="/relative">', "zh", None),
        ('<html lang="english"><link rel="canonical" href="javascript:x">', None, None),
        ('<html lang=""><link rel="canonical" href="http://a.example/x y">', None, None),
    ],
)
def test_what_a_page_says_of_itself(head: str, language: str | None, url: str | None) -> None:
    found = extract(head + "<body>" + SENTENCES)
    assert (found.language, found.url) == (language, url)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=300))
def test_any_text_gives_text_that_can_be_stored_and_is_the_same_twice(page: str) -> None:
    for method in ("resiliparse", "resiliparse-all"):
        found = extract(page, method)
        found.text.encode()
        assert extract(page, method) == found


def test_the_worker_function_names_its_reasons() -> None:
    from data_tools.extraction.child import Refused

    function = for_worker({"method": "resiliparse"})
    assert function(PAGE.encode("latin-1"), {})[1] == {
        "title": "Lighthouses of Europe", "language": "en", "url": "https://example.org/lighthouses",
    }  # fmt: skip
    for raw, reason in ((b"<p> </p>", "no-text"), (bytes(range(256)) * 20, "invalid-encoding")):
        with pytest.raises(Refused) as refusal:
            function(raw, {})
        assert refusal.value.reason == reason


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"resiliparse.*groundup\[web\]"):
        require_packages("resiliparse", "source 'x'")
