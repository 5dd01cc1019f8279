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

import xxhash

# C0 and C1 controls but for tab and newline, DEL, and the byte order mark.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _nfc_clean(text: str) -> str:
    # Controls go before NFC: one between a letter and its accent would keep them apart.
    text = _CONTROLS.sub("", _NEWLINES.sub("\n", text))
    # Not a regular expression: on a long run of blanks within a line that takes quadratic time.
    return "\n".join([line.rstrip(" \t") for line in _nfc(text).split("\n")]).strip("\n")


NORMALIZATIONS: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "nfc": _nfc,
    "nfc-clean": _nfc_clean,
}


def normalize(text: str, name: str) -> str:
    """Apply the normalization called ``name``; doing it twice changes nothing more."""
    return NORMALIZATIONS[name](text)


def document_id(text: str) -> str:
    """xxh3-128 of the (normalized) text in UTF-8, as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(text.encode())


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
