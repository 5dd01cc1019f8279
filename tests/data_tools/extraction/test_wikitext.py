"""Wikitext to text."""

from __future__ import annotations

import mwparserfromhell
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.extraction.wikitext import is_disambiguation, wikitext_to_text


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("'''Bold''' and ''italic'' and '''''both'''''", "Bold and italic and both"),
        ("[[England]] and [[England|the English]] and [[cat]]s", "England and the English and cats"),
        ("see [[:Category:Cats|the category]]", "see the category"),
        ("[[File:A.jpg|thumb|A [[cat]] in {{convert|5|km}} [[b|c]]]]Text", "Text"),
        ("Text[[Category:Cats]][[de:Katze]][[zh-min-nan:X]]", "Text"),
        ("[http://x.example the site] and [https://y.example] end", "the site and end"),
        ("a{{cite|x={{nested|{{deep}}}}}}b", "ab"),
        ("It is {{convert|5|km|mi}} to {{lang|fr|Paris}}{{ndash}}{{nowrap|so far}}", "It is 5 km to Paris–so far"),
        ("A<ref>note {{cite}}</ref> b<ref name=x /> c<ref name='y'>n</ref>", "A b c"),
        ("before\n{| class=x\n|-\n| a || b\n{| nested\n| c\n|}\n|}\nafter", "before\n\nafter"),
        ("one<!-- two\n-->three", "onethree"),
        ("the <math>x^2 + {y}</math> and <nowiki>[[no]] '''link'''</nowiki>", "the x^2 + {y} and [[no]] '''link'''"),
        ("* one\n** two\n# three\n; term\n: indented", "- one\n  - two\n- three\nterm\nindented"),
        ("== A ==\nx\n=== B ===\n== C ==\ny\n== D ==\n{{reflist}}", "A\n\nx\n\nC\n\ny"),
        ("Ada ({{IPA|x}}; born 1815) and ({{x}})", "Ada (born 1815) and"),
        ("a&nbsp;b &amp; &lt;b&gt; &#8212;", "a b & <b> —"),
        ("a<br/>b <span style='x'>c</span> __NOTOC__", "a\nb c"),
        ("<gallery>\nA.jpg|x\n</gallery>text", "text"),
        ("{{Infobox\n| name = x\nText that stays", "Text that stays"),
        ("text <ref>never closed", "text never closed"),
        ("text [[never closed", "text never closed"),
        ("text <!-- never closed", "text never closed"),
        ("}} ]] |} text", "|} text"),
        ("x {{a|b]] y}} z [[c}} d", "x z c d"),
        ("{| \n| cell\nText of a table without an end", "Text of a table without an end"),
    ],
)
def test_markup(wikitext: str, expected: str) -> None:
    assert wikitext_to_text(wikitext) == expected


def test_namespaces_of_the_wikis_language() -> None:
    text = "[[Datei:X.jpg|mini|Bild]]Text[[Kategorie:Katzen]]"
    assert wikitext_to_text(text, dropped_namespaces=frozenset({"datei", "kategorie"})) == "Text"


def test_disambiguation_pages() -> None:
    assert is_disambiguation("Mercury (disambiguation)", "x")
    assert is_disambiguation("Merkur", "'''Merkur''' ist:\n{{Begriffsklärung}}")
    assert not is_disambiguation(
        "Mercury", "{{About||other uses|Mercury (disambiguation)}} a {{disambiguation needed}}"
    )


PROSE = st.text(alphabet="abcdefgh ,.éß日", min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(PROSE, PROSE, PROSE)
def test_well_formed_text_as_an_independent_parser_has_it(a: str, b: str, c: str) -> None:
    wikitext = f"x{a} '''{b}''' [[Target|y{c}]] {{{{cite|{a}}}}} z{a}"
    # Neither files nor references are taken out there.
    theirs = str(mwparserfromhell.parse(wikitext).strip_code())
    assert wikitext_to_text(f"{wikitext}[[File:X.jpg|{b}]]<ref>{c}</ref>").split() == theirs.split()


# fmt: off
MARKUP = st.lists(st.sampled_from([
    "{{", "}}", "[[", "]]", "{|", "|}", "\n", "|", "<ref>", "</ref>", "<!--", "-->", "'''", "==", "*", "<nowiki>",
    "</nowiki>", "&amp;", "<", ">", "[http://x ", "]", "a", "{{{", "}}}", "=", "<math>", "</math>", "__TOC__", "<br/>",
]), max_size=60)
# fmt: on


@settings(max_examples=300, deadline=None)
@given(MARKUP)
def test_any_markup_gives_some_text(marks: list[str]) -> None:
    wikitext_to_text("".join(marks)).encode()


def test_nesting_without_end_takes_no_stack_and_no_quadratic_time() -> None:
    # Each of these would take minutes or the stack, if every opening were looked after to the end.
    for mark in ("{{", "[[", "\n{|", "<ref>", "<!--", "[http:x ", "'", "=", "{{[[", "( ", "&#", "<nowiki>", "<a "):
        wikitext_to_text(mark * 100_000)
    assert wikitext_to_text("[[a|" * 50_000 + "text" + "]]" * 50_000).startswith("a|")
