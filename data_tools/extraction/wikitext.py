"""Wikitext to text, in one pass and linear time.

Templates, tables, references, files and categories go; links become their text; headings stay as lines of their own,
unless nothing is left under them; lists stay. A few templates stand for words of the sentence that they are in
(``{{convert|5|km}}``, ``{{lang|fr|mot}}``, ``{{nowrap|...}}``): these leave their words. Formulas stay in LaTeX, for a
sentence with holes is worse than one with symbols.

What is opened and never closed does not swallow the rest of an article: its text stays. There is no recursion and no
search that begins again, so hostile markup costs no more than other text does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

#: Elements whose content goes with them.
# fmt: off
_DROPPED = frozenset((
    "ref", "references", "gallery", "timeline", "imagemap", "templatedata", "templatestyles", "graph",
    "mapframe", "maplink", "indicator", "score", "style", "script", "section", "hiero", "inputbox",
    "categorytree",
))
# fmt: on
#: Elements whose content is not wikitext, and stays.
_LITERAL = frozenset(["nowiki", "math", "chem", "syntaxhighlight", "source", "pre", "code"])
_ELEMENT = re.compile(r"<(/?)(" + "|".join(sorted(_DROPPED | _LITERAL)) + r")\b([^<>]*)>", re.IGNORECASE)
_BREAKS = re.compile(
    r"<(?:br|p|/p|div|/div|li|/li|tr|/tr|blockquote|/blockquote|poem|/poem|hr)\b[^<>]*>", re.IGNORECASE
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
#: Characters that mean something in wikitext, in content that isn't any. Undone by html.unescape at the end.
_ESCAPES = str.maketrans({character: f"&#{ord(character)};" for character in "&<>[]{}|'=*#:;_!-"})

_TOKEN = re.compile(
    r"\{{2,}|\}{2,}|\[\[|\]\]"
    r"|^[ \t:]{0,20}\{\|"  # a table begins at the start of a line
    r"|^[ \t]{0,20}\|\}(?!\})",
    re.MULTILINE,
)
_EXTERNAL_LINK = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\[\]<>]*(?:[ \t]([^\[\]\n]*))?\]")
_QUOTES = re.compile(r"'{2,}")
_SWITCH = re.compile(r"__[A-Z]{3,30}__")
_LIST = re.compile(r"[*#:;]+")
_EMPTY_BRACKETS = re.compile(r"[ \t]?\([ \t,;]*\)")
_HOLLOW_START = re.compile(r"\([ \t]*[,;][ \t,;]*")
_BLANKS = re.compile(r"(?<=\S)[ \t]{2,}")  # not those that indent
_BLANK_LINES = re.compile(r"\n{3,}")
_INTERLANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,8}){0,2}|simple")

#: Templates that stand for their first argument (``lang`` and its like: for the second).
# fmt: off
_FIRST_ARGUMENT = frozenset((
    "nowrap", "nobr", "small", "big", "abbr", "tooltip", "mvar", "math", "ill", "sic", "quote", "blockquote",
    "cquote", "sup", "sub", "val", "num", "formatnum", "nihongo", "strong", "em", "mono", "smallcaps", "sc",
    "pre", "code", "samp", "kbd", "var", "uc", "lc", "nobold", "noitalic", "interlanguage link",
))
# fmt: on
_SECOND_ARGUMENT = frozenset(["lang", "langx", "transliteration", "color", "fontcolor"])
_CONSTANT = {
    "'": "'",
    "!": "|",
    "=": "=",
    "ndash": "–",
    "mdash": "—",
    "snd": " – ",
    "spnd": " – ",
    "spaced ndash": " – ",
    "en dash": "–",
    "em dash": "—",
    "nbsp": " ",
    "space": " ",
    "·": " · ",
    "dot": " · ",
    "bullet": " • ",
    "times": "×",
    "minus": "−",
    "\\": " / ",
}
#: Deeper nesting isn't opened (MediaWiki stops at 40), so that no text is copied more often than this.
_MAX_DEPTH = 100
_DISAMBIGUATION = re.compile(
    r"\{\{\s{0,9}(?:disambig\w*|disamb|dab|hndis|geodis|numberdis|begriffsklärung|homonymie|desambiguaci[oó]n|"
    r"desambigua[cç][aã]o|disambigua|doorverwijspagina|неоднозначность|曖昧さ回避|消歧义|消歧義|동음이의|flertydig|"
    r"förgrening|ujednoznacznienie|rozcestník)\s{0,9}[|}\n]",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Frame:
    """Something that was opened: a template, a table or a link."""

    kind: str
    parts: list[str] = field(default_factory=list)

    def unclosed(self) -> str:
        """Its text, where no end comes. Lines that are cells or parameters go, and so does the line of its name."""
        inner = "".join(self.parts)
        if self.kind in ("text", "link"):
            return inner
        first, *lines = inner.split("\n")
        if self.kind == "template" and not lines:
            return first
        return "\n".join(line for line in lines if not line.lstrip().startswith(("|", "!")))


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Whether an article only lists others of the same name, by its title or by a template of one of 15 languages."""
    return title.endswith("(disambiguation)") or bool(_DISAMBIGUATION.search(wikitext))


def wikitext_to_text(wikitext: str, *, dropped_namespaces: frozenset[str] = frozenset()) -> str:
    """The text that a reader sees, without apparatus.

    Args:
        dropped_namespaces: names (in lower case) of the namespaces for files and categories in the wiki's language.
            The English ones are always known.
    """
    namespaces = dropped_namespaces | {"file", "image", "media", "category"}
    text = _without_elements(_without_comments(wikitext))
    text = _resolve(text, lambda inner: _link(inner, namespaces))
    text = _EXTERNAL_LINK.sub(lambda match: (match[1] or "").strip(), text)
    text = _QUOTES.sub(lambda match: {4: "'"}.get(len(match[0]), "'" * max(0, len(match[0]) - 5)), text)
    text = _TAG.sub("", _BREAKS.sub("\n", text))
    text = _lines(_SWITCH.sub("", text))
    text = html.unescape(text).replace("\u00a0", " ")
    text = _HOLLOW_START.sub("(", _EMPTY_BRACKETS.sub("", text))
    return _BLANK_LINES.sub("\n\n", _BLANKS.sub(" ", text)).strip()


def for_worker(arguments: dict[str, str]) -> Callable[[bytes, dict[str, str]], tuple[str, dict[str, str]]]:
    """What :mod:`data_tools.extraction.child` runs: ``{}`` to a function of one article's wikitext in UTF-8.

    Its hints are ``title`` and ``dropped_namespaces`` (separated by ``|``).
    """
    from data_tools.extraction.child import Refused

    def article(raw: bytes, hints: dict[str, str]) -> tuple[str, dict[str, str]]:
        wikitext = raw.decode()
        if is_disambiguation(hints.get("title", ""), wikitext):
            raise Refused("skipped-disambiguation", "")
        dropped = frozenset(hints.get("dropped_namespaces", "").split("|")) - {""}
        text = wikitext_to_text(wikitext, dropped_namespaces=dropped)
        if not text:
            raise Refused("no-text", "nothing but markup")
        return text, {}

    return article


def _without_comments(text: str) -> str:
    parts = []
    place = 0
    while (start := text.find("<!--", place)) >= 0:
        parts.append(text[place:start])
        end = text.find("-->", start + 4)
        place = end + 3 if end >= 0 else start + 4  # a comment without an end is a slip, and the text goes on
        if end < 0:
            break
    parts.append(text[place:])
    return "".join(parts)


def _without_elements(text: str) -> str:
    """Drop references and their like with their content; make the content of formulas and code plain text."""
    last_end: dict[str, int] = {}
    tags = list(_ELEMENT.finditer(text))
    for tag in tags:
        if tag[1]:
            last_end[tag[2].lower()] = tag.start()
    parts: list[str] = []
    place, inside = 0, ""
    for tag in tags:
        name = tag[2].lower()
        if inside:
            if tag[1] and name == inside:
                if inside in _LITERAL:
                    parts.append(text[place : tag.start()].translate(_ESCAPES))
                place, inside = tag.end(), ""
            continue
        parts.append(text[place : tag.start()])
        place = tag.end()
        # Without an end that is still to come, only the tag itself goes.
        if not tag[1] and not tag[3].rstrip().endswith("/") and last_end.get(name, -1) > tag.start():
            inside = name
    parts.append(text[place:])
    return "".join(parts)


def _resolve(text: str, link: Callable[[str], str]) -> str:
    """Take templates and tables out and put the links' texts in, from the inside out."""
    stack = [_Frame("text")]
    open_of = {"template": 0, "table": 0, "link": 0}
    place = 0

    def begin(kind: str) -> None:
        if len(stack) <= _MAX_DEPTH:
            stack.append(_Frame(kind))
            open_of[kind] += 1

    def end(kind: str) -> str:
        """The content of the innermost frame of this kind, with what was opened in it and never closed."""
        inner = []
        while stack[-1].kind != kind:
            frame = stack.pop()
            open_of[frame.kind] -= 1
            inner.append(frame.unclosed())
        open_of[kind] -= 1
        return "".join([*stack.pop().parts, *reversed(inner)])

    for token in _TOKEN.finditer(text):
        stack[-1].parts.append(text[place : token.start()])
        place = token.end()
        mark = token[0]
        if mark.startswith("{{"):
            for _ in range(min(len(mark) // 2, _MAX_DEPTH)):
                begin("template")
        elif mark.startswith("}}"):
            for _ in range(min(len(mark) // 2, open_of["template"])):
                content = _template(end("template"))
                stack[-1].parts.append(content)
        elif mark == "[[":
            begin("link")
        elif mark == "]]":
            if stack[-1].kind == "link":
                content = link(end("link"))
                stack[-1].parts.append(content)
        elif mark.endswith("{|"):
            begin("table")
        elif open_of["table"]:
            end("table")
    stack[-1].parts.append(text[place:])
    return "".join(frame.unclosed() for frame in stack)


def _template(inner: str) -> str:
    name, _, rest = inner.partition("|")
    name = name.strip().lower().replace("_", " ")
    if name in _CONSTANT:
        return _CONSTANT[name]
    if name in ("convert", "cvt"):
        return " ".join(part.strip() for part in rest.split("|")[:2])
    if name in ("circa", "c."):
        return f"c. {_argument(rest, 0)}".rstrip()
    if name == "as of":
        return f"As of {_argument(rest, 0)}"
    if name == "frac":
        return "/".join(part.strip() for part in rest.split("|")[:2])
    if name in _FIRST_ARGUMENT:
        return _argument(rest, 0)
    if name in _SECOND_ARGUMENT or name.startswith("lang-"):
        return _argument(rest, 0 if name.startswith("lang-") else 1)
    return ""


def _argument(arguments: str, index: int) -> str:
    """An argument by its place. Those with names don't count, but for ``1=`` and so on, and ``text=``."""
    place = 0
    for argument in arguments.split("|"):
        name, equals, value = argument.partition("=")
        if equals and name.strip() in (str(index + 1), "text"):
            return value.strip()
        if equals and name.strip().replace("_", "").replace("-", "").isalnum():
            continue
        if place == index:
            return argument.strip()
        place += 1
    return ""


def _link(inner: str, dropped_namespaces: frozenset[str]) -> str:
    target, bar, label = inner.partition("|")
    target = target.strip()
    if target.startswith(":"):
        return label.strip() or target.lstrip(":")
    prefix, colon, _ = target.partition(":")
    if colon:
        if prefix.strip().lower().replace("_", " ") in dropped_namespaces:
            return ""
        if not bar and _INTERLANGUAGE.fullmatch(prefix):
            return ""
    return label if label.strip() else target


def _lines(text: str) -> str:
    """Headings, lists and paragraphs, each on lines of their own. Headings with nothing under them go."""
    kept: list[str] = []
    headings: list[tuple[int, str]] = []  # that wait for something to stand under them
    for line in text.split("\n"):
        line = line.rstrip()
        if line.startswith("=") and line.endswith("=") and (title := line.strip("=").strip()):
            level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")))
            while headings and headings[-1][0] >= level:
                headings.pop()
            headings.append((level, title))
            continue
        if line.startswith("----"):
            line = line.lstrip("-")
        mark = _LIST.match(line)
        if mark:
            item = line[mark.end() :].strip()
            # ":" indents and ";" names a term: neither is an item of its own.
            line = f"{'  ' * (len(mark[0]) - 1)}- {item}" if item and mark[0][-1] in "*#" else item
        elif line.startswith(("|}", "|-", "{|")):
            line = ""
        if not line.strip():
            if kept and kept[-1]:
                kept.append("")
            continue
        for _, title in headings:
            kept += ["", title, ""] if kept and kept[-1] else [title, ""]
        headings = []
        kept.append(line)
    return "\n".join(kept)
