"""Measures of a classifier: how often it is right, in all and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassMetrics:
    label: str
    precision: float
    recall: float
    f1: float
    support: int
    """Examples that truly are of this class."""


@dataclass(frozen=True)
class ClassificationMetrics:
    accuracy: float
    macro_f1: float
    """Mean of the classes' F1, each counting the same; a class that is in neither truth nor prediction doesn't."""
    classes: list[ClassMetrics]
    confusion: np.ndarray
    """(classes, classes): rows are true, columns predicted."""


def classification_metrics(
    truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> ClassificationMetrics:
    """Compare predicted class numbers with the true ones. Undefined ratios (0/0) are 0, as in scikit-learn."""
    count = len(labels)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    right = np.diag(confusion)
    support, said = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + said, 1)
    seen = (support + said) > 0
    classes = [
        ClassMetrics(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(labels)
    ]
    accuracy = float(right.sum() / max(1, confusion.sum()))
    return ClassificationMetrics(accuracy, float(f1[seen].mean()) if seen.any() else 0.0, classes, confusion)


def naive_bayes_predictions(
    train_texts: Sequence[str], train_labels: Sequence[int], texts: Sequence[str]
) -> dict[str, list[int]]:
    """What a bag of words knows: two naive Bayes classifiers, fitted on the same train split as the model.

    Returns:
        `multinomial` (word counts; McCallum & Nigam 1998) and `complement` (TF-IDF of words and pairs of words;
        Rennie et al. 2003): the class of each of ``texts``.
    """
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.naive_bayes import ComplementNB, MultinomialNB
    from sklearn.pipeline import make_pipeline

    models = {
        "multinomial": make_pipeline(CountVectorizer(), MultinomialNB()),
        "complement": make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), ComplementNB(alpha=0.3)
        ),
    }
    predictions: dict[str, list[int]] = {}
    for name, model in models.items():
        try:
            model.fit(list(train_texts), list(train_labels))
        except ValueError:  # no word occurs often enough: a tiny or empty set has no such baseline
            continue
        predictions[name] = [int(number) for number in model.predict(list(texts))]
    return predictions
