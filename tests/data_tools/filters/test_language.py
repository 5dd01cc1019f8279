from __future__ import annotations

import pytest

from data_tools.filters.language import LanguageAccuracy, identify_language, language_accuracy


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog,\nand nobody is surprised by it any more.", "en"),
        ("Le renard brun saute par-dessus le chien paresseux et personne ne s'en étonne plus.", "fr"),
        ("El zorro marrón salta sobre el perro perezoso y ya nadie se sorprende de ello.", "es"),
        ("Der schnelle braune Fuchs springt über den faulen Hund, und niemand wundert sich.", "de"),
        ("Быстрая коричневая лиса перепрыгивает через ленивую собаку.", "ru"),
        ("このあたりでは毎年春になると桜が咲きます。", "ja"),
    ],
)
def test_languages(text: str, language: str) -> None:
    found, confidence = identify_language(text, 1000)
    assert found == language
    assert 0.5 < confidence <= 1.0


def test_only_the_first_characters_count() -> None:
    english = "This is a plain English sentence that stands at the very beginning of the document. " * 2
    assert identify_language(english + "Und hier wird es deutsch. " * 500, 120) == identify_language(english, 120)


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00"])
def test_nothing_to_identify(text: str) -> None:
    assert identify_language(text, 1000) == ("und", 0.0)


def test_accuracy_by_language_leaves_out_what_nobody_translated() -> None:
    german = "Der schnelle braune Fuchs springt über den faulen Hund, und niemand wundert sich."
    english = "The dog that sat with the cat and the bird went to the end of the road."
    texts = [german, english, english, german, ""]
    table = language_accuracy(texts, ["de", "de", "en", "fr", "fr"])
    assert list(table) == ["de", "en", "fr"]
    assert table["de"] == LanguageAccuracy(documents=1, right=1, kept=1, mistaken_for="", untranslated=1)
    assert table["en"].right == table["en"].documents == 1
    assert (table["fr"].documents, table["fr"].right, table["fr"].mistaken_for) == (2, 0, "de 1")
    assert language_accuracy([german], ["de"], min_confidence=1.01)["de"].kept == 0
