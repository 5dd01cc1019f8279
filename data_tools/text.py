"""What a text is: named normalizations, definitions of a word, sentences.

A name stands for one meaning for good; a changed meaning gets a new name, because document ids and every signal
hang on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import xxhash

from data_tools.errors import DataError

# C0 and C1 controls but for tab and newline, DEL, and the byte order mark.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")


@lru_cache(maxsize=1)
def _long_marks() -> re.Pattern[str]:
    """Runs of 64 combining characters and more (Unicode's stream-safe format allows 30). All are in these planes."""
    codes = [code for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code))]
    edges = [codes[0], *(edge for pair in pairwise(codes) if pair[1] != pair[0] + 1 for edge in pair), codes[-1]]
    ranges = (f"\\U{a:08x}-\\U{b:08x}" for a, b in zip(edges[::2], edges[1::2], strict=True))
    return re.compile(f"[{''.join(ranges)}]{{64,}}")


def _in_order(marks: re.Match[str]) -> str:
    decomposed = "".join(unicodedata.normalize("NFD", mark) for mark in marks.group())
    return "".join(sorted(decomposed, key=unicodedata.combining))


def _nfc(text: str) -> str:
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    # Python puts combining characters into their order by insertion: a megabyte of them takes minutes. Sorted before,
    # which changes nothing of the outcome, they take milliseconds.
    return unicodedata.normalize("NFC", _long_marks().sub(_in_order, text))


def _without_controls(text: str) -> str:
    return _CONTROLS.sub("", _NEWLINES.sub("\n", text))


def _without_outer_blanks(text: str) -> str:
    # Not a regular expression: on a long run of blanks within a line that takes quadratic time.
    return "\n".join([line.rstrip(" \t") for line in text.split("\n")]).strip("\n")


def _nfc_clean(text: str) -> str:
    # Controls go before NFC: one between a letter and its accent would keep them apart.
    return _without_outer_blanks(_nfc(_without_controls(text)))


#: What was mended can turn out to have been mangled twice. Nobody has seen it more than three times.
_FTFY_ROUNDS = 8


def _ftfy_clean(text: str) -> str:
    """Mends texts that were decoded in a wrong encoding, and nothing else of what ftfy could do: no character
    widths, ligatures, quotes or HTML entities, which are matters of style."""
    ftfy = _import_ftfy()
    config = ftfy.TextFixerConfig(
        unescape_html=False,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        normalization=None,
        explain=False,
    )
    for _ in range(_FTFY_ROUNDS):
        before, text = text, _nfc_clean(ftfy.fix_text(text, config))
        if text == before:
            break
    return text


def _import_ftfy() -> Any:
    try:
        import ftfy
    except ImportError as error:
        raise DataError(
            "normalization 'ftfy' needs a package that isn't installed", fix="pip install 'groundup[web]'"
        ) from error
    return ftfy


NORMALIZATIONS: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "nfc": _nfc,
    "nfc-clean": _nfc_clean,
    "ftfy": _ftfy_clean,
}


def normalize(text: str, name: str) -> str:
    """Apply the normalization called ``name``; doing it twice changes nothing more."""
    return NORMALIZATIONS[name](text)


def normalize_utf8(text: str, raw: bytes, name: str) -> bytes:
    """``normalize(text, name)`` in UTF-8, quick where little has to be changed. ``raw`` is ``text`` in UTF-8."""
    if name == "none":
        return raw
    if name == "nfc-clean":
        from data_tools.kernels.normal_form import BLANKS, COMPOSE, CONTROLS, steps_needed

        steps = steps_needed(raw)
        if not steps & (CONTROLS | COMPOSE | BLANKS):
            return raw
        if not steps & CONTROLS:
            # Composing makes no blanks or newlines, and without them at the ends of lines there is nothing to take.
            composed = _nfc(text) if steps & COMPOSE else text
            if steps & BLANKS:
                return _without_outer_blanks(composed).encode()
            return raw if composed is text else composed.encode()
    return normalize(text, name).encode()


def document_id(text: str | bytes | memoryview) -> str:
    """xxh3-128 of the (normalized) text, as 32 hex digits. Bytes are its UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode() if isinstance(text, str) else text)


@lru_cache(maxsize=1)
def _unicode_word() -> re.Pattern[str]:
    from data_tools.kernels.characters import MARK, UNSEGMENTED, character_flags

    def characters(flag: int) -> str:
        codes = [int(code) for code in (character_flags() & flag).nonzero()[0]]
        edges = [codes[0], *(edge for pair in pairwise(codes) if pair[1] != pair[0] + 1 for edge in pair), codes[-1]]
        return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in zip(edges[::2], edges[1::2], strict=True))

    mark, alone = characters(MARK), characters(UNSEGMENTED)
    run = f"[^\\W_{alone}](?:[^\\W_{alone}]|[{mark}])*"
    return re.compile(f"{run}(?:['’\\-]{run})*|[{alone}][{mark}]*")


def _unicode_words(text: str) -> list[str]:
    return _unicode_word().findall(text)


WORDS: dict[str, Callable[[str], list[str]]] = {
    "whitespace": str.split,
    "unicode-words": _unicode_words,
}


def words(text: str, name: str) -> list[str]:
    """Split by the word definition called ``name``.

    ``whitespace`` is what stands between blanks, punctuation included. ``unicode-words`` is letters and digits with
    inner apostrophes and hyphens; combining marks belong to the word that they follow. Letters of scripts that put no
    blanks between words (Chinese, Japanese, Thai, Khmer ...) are each a word by itself there, while ``whitespace``
    takes whole sentences of them for one. (Compiled twin: ``kernels.word_spans``.)
    """
    return WORDS[name](text)


# A sentence ends at . ! ? or …, closing quotes included, before a blank and something that can begin a sentence.
# Nothing backtracks, so that pages of dot leaders take linear time.
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[^\W_a-zß-öø-ÿ])")
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Gen|Col|Lt|Capt|Sgt|Rev|Hon|Gov|Sen|Rep|Pres|vs|etc|al|ca|cf|c|d|b|r|fl|no|No|"
    r"vol|Vol|pp|p|e\.g|i\.e|approx|Inc|Ltd|Co|Corp|Mt|Ft|lit|Lat|Gr|pron|abbr)|\b\w|\b(?:\w\.)+\w)\.$"
)


def sentences(text: str) -> Iterator[str]:
    """Cut a text into sentences (Latin, Greek and Cyrillic punctuation; common English abbreviations are known).

    A line break with a blank line ends a sentence too. No character but white space between them is left out.
    """
    for paragraph in re.split(r"\n\s*\n", text):
        start = 0
        for match in _SENTENCE_END.finditer(paragraph):
            end = match.end()
            if match.group()[0] == "." and _NO_END.search(paragraph[max(start, end - 20) : end]):
                continue
            yield paragraph[start:end].strip()
            start = end
        rest = paragraph[start:].strip()
        if rest:
            yield rest


def truncate_to_sentences(text: str, max_chars: int) -> str:
    """The text, cut after the last sentence that fits into ``max_chars``; empty if not even the first does."""
    text = text.strip()
    if len(text) <= max_chars:
        return text
    kept = position = 0
    for sentence in sentences(text):
        position = text.index(sentence, position) + len(sentence)
        if position > max_chars:
            break
        kept = position
    return text[:kept]
