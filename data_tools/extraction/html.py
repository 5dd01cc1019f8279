"""HTML to text.

Three methods, named in the configuration (``sources.extract.method``):

- ``resiliparse``: the main content by Resiliparse's rules (Bevendorff et al., "Elastic ChatNoir", ECIR 2018). Where
  these find next to nothing on a page that has text, all visible text is taken instead: better a page with its menu,
  which the filters can judge, than none. ``Extracted.all_text`` tells.
- ``resiliparse-all``: all visible text.
- ``trafilatura``: Barbaresi, "Trafilatura" (ACL 2021 demo), without readers' comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_tools.errors import DataError

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

#: Main content shorter than the first, on a page with at least the second of text, was not found. (Characters. Of 400
#: pages of documentation it was one: a table of contents. Pages whose main content is short and there have more.)
_NOTHING_FOUND = 50
_PAGE_HAS_TEXT = 200
#: Where a page says how it is encoded. Browsers look at 1,024 bytes; pages with long comments first say it later.
_PROLOGUE_BYTES = 4096
_CHARSET = re.compile(
    rb"""<meta[^<>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})|"""
    rb"""^\s*<\?xml[^<>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_:.-]{2,40})""",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?=$|[-_])")
_MAX_TITLE_CHARACTERS = 500
_MAX_URL_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a page says. ``title``, ``language`` and ``url`` are what the page says of itself, true or not."""

    text: str
    title: str | None = None
    language: str | None = None
    """Primary tag of ``<html lang>``, in lower case."""
    url: str | None = None
    """The canonical one, where it is absolute."""
    all_text: bool = False
    """The main content was not found, so this is all that is visible."""


def extract(html: bytes | str, method: str = "resiliparse", declared: str | None = None) -> Extracted:
    """The text of a page. Pure, in this process, and without limits of its own.

    Args:
        html: bytes are decoded by :func:`decode_page`.
        method: ``resiliparse``, ``resiliparse-all`` or ``trafilatura``.
        declared: the encoding that came with the bytes (in an HTTP header), if any.

    Raises:
        UnicodeDecodeError: the bytes aren't text in any encoding.
        ValueError: there is no such method.
    """
    from resiliparse.parse.html import HTMLTree

    page = html if isinstance(html, str) else decode_page(html, declared)
    # A lone surrogate is no character, and the parsers take UTF-8.
    if not page.isascii():
        page = page.encode("utf-8", "replace").decode()
    tree = HTMLTree.parse(page)
    all_text = False
    if method == "trafilatura":
        text = _trafilatura(page)
    elif method == "resiliparse-all":
        text = _visible(tree, main_content=False)
    elif method == "resiliparse":
        text = _visible(tree, main_content=True)
        if len(text) < _NOTHING_FOUND:
            everything = _visible(tree, main_content=False)
            if len(everything) >= _PAGE_HAS_TEXT:
                text, all_text = everything, True
    else:
        raise ValueError(f"no extraction method is called {method!r}")
    return Extracted(text, _title(tree), _language(tree), _canonical_url(tree), all_text)


def decode_page(raw: bytes, declared: str | None = None) -> str:
    """Bytes of a page to text: byte order mark, valid UTF-8, what HTTP said, what the page says, what detection says.

    Raises:
        UnicodeDecodeError: none of them fits, so it isn't text.
    """
    from data_tools.sources.encoding import decode

    if declared is None:
        said = _CHARSET.search(raw[:_PROLOGUE_BYTES])
        declared = (said[1] or said[2]).decode("ascii") if said else None
    return decode(raw, declared)[0]


def require_packages(method: str, where: str, *others: str) -> None:
    """Find out before a run whether what ``method`` needs is installed, and ``others`` too.

    Raises:
        DataError: it isn't. Names the extra.
    """
    from importlib.util import find_spec

    for package in ("resiliparse", *(["trafilatura"] if method == "trafilatura" else []), *others):
        if find_spec(package) is None:
            what = f"the package {package} isn't installed"
            raise DataError(what, where=where, fix="pip install 'groundup[web]'")


def for_worker(arguments: dict[str, str]) -> Callable[[bytes, dict[str, str]], tuple[str, dict[str, str]]]:
    """What :mod:`data_tools.extraction.child` runs: ``{"method": ...}`` to a function of one page's bytes.

    Its hints may hold ``declared``; its facts are ``title``, ``language``, ``url``, ``extraction``.
    """
    method = arguments["method"]
    extract(b"<p>So that all is imported before the limits are set.</p>", method)

    def extract_page(raw: bytes, hints: dict[str, str]) -> tuple[str, dict[str, str]]:
        from data_tools.extraction.child import Refused

        try:
            found = extract(raw, method, hints.get("declared"))
        except UnicodeDecodeError as error:
            raise Refused("invalid-encoding", f"not text in any encoding that was tried ({error.reason})") from error
        if not found.text.strip():
            raise Refused("no-text", "")
        facts = {"title": found.title, "language": found.language, "url": found.url}
        facts["extraction"] = "all-text" if found.all_text else None
        return found.text, {name: value for name, value in facts.items() if value}

    return extract_page


def _visible(tree: HTMLTree, *, main_content: bool) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    # Alternative texts are "Logo" and "Share this" more often than sentences.
    return str(extract_plain_text(tree, main_content=main_content, alt_texts=False)).strip()


def _trafilatura(page: str) -> str:
    import logging

    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    # Its own deduplication would make a page's text depend on the pages before it.
    return (trafilatura.extract(page, include_comments=False, deduplicate=False) or "").strip()


def _title(tree: HTMLTree) -> str | None:
    title = " ".join((tree.title or "").split())
    return title[:_MAX_TITLE_CHARACTERS] or None


def _language(tree: HTMLTree) -> str | None:
    element = _first(tree, "html")
    tag = _LANGUAGE.match((element.getattr("lang") or element.getattr("xml:lang") or "").strip()) if element else None
    return tag[0].lower() if tag else None


def _canonical_url(tree: HTMLTree) -> str | None:
    element = _first(tree, 'link[rel="canonical"]')
    url = (element.getattr("href") or "").strip() if element else ""
    absolute = url.startswith(("http://", "https://")) and len(url) <= _MAX_URL_CHARACTERS
    return url if absolute and not any(character.isspace() for character in url) else None


def _first(tree: HTMLTree, selector: str) -> Any:
    root = tree.document
    return root.query_selector(selector) if root is not None else None
