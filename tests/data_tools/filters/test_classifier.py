from __future__ import annotations

import json
import math
import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import QualityClassifierConfig
from data_tools.errors import DataError
from data_tools.filters.classifier import LinearModel, evaluate, load, load_scorer, save, text_features, train
from data_tools.kernels.characters import UNSEGMENTED, character_flags

SIDES: dict[str, Any] = {"positive": ("good.jsonl",), "negative": ("bad.jsonl",)}
SMALL = QualityClassifierConfig(**SIDES, buckets=2**12)
MASK = 2**64 - 1


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def made_task(seed: int, n: int) -> tuple[list[str], np.ndarray]:
    """Texts over a common vocabulary; good ones lean towards one half of it, bad ones towards the other."""
    chance = random.Random(seed)
    words = [f"word{i}" for i in range(400)]
    texts, labels = [], []
    for _ in range(n):
        label = chance.random() < 0.4
        lean = words[:200] if label else words[200:]
        texts.append(" ".join(chance.choice(lean if chance.random() < 0.12 else words) for _ in range(60)))
        labels.append(int(label))
    return texts, np.array(labels, dtype=np.int8)


def mixed(value: int) -> int:
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCD & MASK
    value = (value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ (value >> 33)


def plain_words(text: str) -> list[int]:
    """The hashes of the words, one character at a time."""
    words: list[list[int]] = []
    inside = False
    for character in text:
        part = character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
        alone = bool(character_flags()[ord(character)] & UNSEGMENTED)
        if part and not alone:
            code = ord(character.lower()[0])
            words[-1].append(code) if inside else words.append([code])
            inside = True
        else:
            inside = False
            if not character.isspace():
                words.append([ord(character)])
    hashes = []
    for word in words:
        value = 0xCBF29CE484222325
        for code in word:
            value = (value ^ code) * 0x100000001B3 & MASK
        hashes.append(mixed(value) | 1)
    return hashes


def plain_features(text: str, config: QualityClassifierConfig) -> list[int]:
    words = plain_words(text)[: config.max_words]
    found = []
    for end in range(1, len(words) + 1):
        for n in range(1, min(config.word_ngrams, end) + 1):
            value = n
            for word in words[end - n : end]:
                value = (value * 0x9E3779B97F4A7C15 + word) & MASK
            found.append(mixed(value) % config.buckets)
    return found


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=60) | st.text("aB_1 .|\n漢のé", max_size=60), max_size=4),
    st.integers(1, 5),
    st.sampled_from([10, 1000]),
)
def test_features_and_scores_equal_plain_python(texts: list[str], ngrams: int, max_words: int) -> None:
    config = SMALL.model_copy(update={"word_ngrams": ngrams, "max_words": max_words, "buckets": 5_003})
    features = text_features(column(texts), config)
    assert [found.tolist() for found in features] == [plain_features(text, config) for text in texts]
    weights = np.linspace(-1, 1, 5_003, dtype=np.float32)
    model = LinearModel(weights, 0.25, ngrams, max_words)
    for found, score in zip(features, model.scores(column(texts)), strict=True):
        z = 0.25 + (float(weights[found].sum(dtype=float)) / math.sqrt(len(found)) if len(found) else 0.0)
        assert score == pytest.approx(1 / (1 + math.exp(-z)))
        assert model.score_of_features(found) == pytest.approx(score)


def test_as_good_as_logistic_regression_on_the_same_kind_of_features() -> None:
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    texts, labels = made_task(1, 1_500)
    held_texts, held_labels = made_task(2, 600)
    config = SMALL.model_copy(update={"word_ngrams": 1})
    model, losses = train(text_features(column(texts), config), labels, config)
    scores = model.scores(column(held_texts))
    vectorizer = HashingVectorizer(n_features=2**12, alternate_sign=False)
    regression = LogisticRegression(max_iter=500).fit(vectorizer.transform(texts), labels)
    theirs = roc_auc_score(held_labels, regression.predict_proba(vectorizer.transform(held_texts))[:, 1])
    found = evaluate(held_labels, scores)
    assert found["auc"] == pytest.approx(roc_auc_score(held_labels, scores))
    assert 0.8 < theirs < 0.999
    assert abs(found["auc"] - theirs) < 0.02
    assert losses[-1] < losses[0]
    kept = {row["threshold"]: row for row in found["thresholds"]}
    assert kept[0.5]["good_kept"] == (scores[held_labels == 1] >= 0.5).mean()
    assert kept[0.05]["bad_kept"] >= kept[0.5]["bad_kept"] >= kept[0.95]["bad_kept"]


def test_the_same_examples_give_the_same_weights() -> None:
    texts, labels = made_task(3, 100)
    features = text_features(column(texts), SMALL)
    first, _ = train(features, labels, SMALL)
    again, _ = train(features, labels, SMALL)
    other, _ = train(features, labels, SMALL.model_copy(update={"seed": 2}))
    assert first.weights.tobytes() == again.weights.tobytes() and first.bias == again.bias
    assert first.weights.tobytes() != other.weights.tobytes()


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    texts, labels = made_task(4, 60)
    model, _ = train(text_features(column(texts), SMALL), labels, SMALL)
    save(model, tmp_path, {"seed": 1})
    np.testing.assert_allclose(load_scorer(tmp_path)(column(texts)), model.scores(column(texts)), rtol=1e-6)
    assert load_scorer(tmp_path)(pa.chunked_array([], pa.large_string())).shape == (0,)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.json").unlink(), "can't be read"),
        (lambda folder: (folder / "model.json").write_text("[]"), "no quality classifier"),
        (lambda folder: _change(folder, features="others-1"), "'others-1'"),
        (lambda folder: (folder / "weights.npy").write_bytes(b"\x00" * 100), "not those that model.json describes"),
    ],
)
def test_a_model_that_cannot_be_trusted_is_refused(tmp_path: Path, damage: Any, said: str) -> None:
    save(LinearModel(np.zeros(1024, dtype=np.float32), 0.0, 2, 100), tmp_path, {})
    load(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def _change(folder: Path, **values: Any) -> None:
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**about, **values}))
