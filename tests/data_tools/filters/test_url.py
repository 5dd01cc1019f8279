from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import UrlRule
from data_tools.errors import DataError
from data_tools.filters.url import UrlMatcher, read_blocklist, split_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://www.Example.ORG:443/A/b?C=d#e", ("example.org", "/a/b?c=d")),
        ("http://Bücher.example/", ("xn--bcher-kva.example", "")),
        ("http://xn--bcher-kva.example", ("xn--bcher-kva.example", "")),
        ("//user:secret@host.example./%C3%A9", ("host.example", "/é")),
        ("host.example?q=1", ("host.example", "?q=1")),
        ("http://[2001:db8::1]:80/x", ("[2001:db8::1]", "/x")),
        ("", ("", "")),
    ],
)
def test_one_spelling(url: str, expected: tuple[str, str]) -> None:
    assert split_url(url) == expected


@pytest.fixture
def blocklist(tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(
        "# a comment\nbad.example   # another\n0.0.0.0 hosts.example\n*.wild.example\nBücher.example\n"
        "https://mixed.example/blog/#top\nmixed.example/exact\n\n",
        encoding="utf-8-sig",
    )
    return path


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://bad.example/anything", True),
        ("http://very.bad.example", True),
        ("http://www.bad.example", True),
        ("http://notbad.example", False),
        ("http://bad.example.org", False),
        ("http://hosts.example", True),
        ("http://a.wild.example", True),
        ("http://xn--bcher-kva.example/x", True),
        ("http://mixed.example/blog/post", True),
        ("http://mixed.example/exact", True),
        ("http://mixed.example/exact/below", True),
        ("http://mixed.example/exactly", False),
        ("http://mixed.example/", False),
    ],
)
def test_blocklists(blocklist: Path, url: str, blocked: bool) -> None:
    matcher = UrlMatcher(UrlRule(blocklists=(str(blocklist),)))
    assert matcher.reasons(url) == (["url/blocklist"] if blocked else [])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://x.example/adult-film", ["url/banned-word"]),
        ("http://x.example/adulthood", []),
        ("http://ADULT.example", ["url/banned-word"]),
        ("http://x.example/poker", []),
        ("http://x.example/poker-poker", []),
        ("http://poker.example/casino", ["url/soft-banned-words"]),
        ("http://x.example/frees-tream", []),
        ("http://freestream.example/", ["url/banned-substring"]),
        ("http://adult.example/freestream", ["url/banned-word", "url/banned-substring"]),
    ],
)
def test_words_in_urls(url: str, expected: list[str]) -> None:
    rule = UrlRule(banned_words=("Adult",), soft_banned_words=("poker", "casino"), banned_substrings=("freestream",))
    assert UrlMatcher(rule).reasons(url) == expected


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.bin"
    path.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(DataError, match="UTF-8"):
        read_blocklist(path)


@settings(deadline=None)
@given(st.text(max_size=100), st.text(max_size=30))
def test_any_text_as_a_url(url: str, word: str) -> None:
    matcher = UrlMatcher(UrlRule(banned_words=(word,), soft_banned_words=("a", "b"), banned_substrings=(word,)))
    assert isinstance(matcher.reasons(url), list)
    assert isinstance(matcher.reasons("http://" + url), list)
