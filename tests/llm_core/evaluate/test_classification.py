import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from llm_core.evaluate.classification import classification_metrics, naive_bayes_predictions

LABELS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, 60).tolist()  # class 3 never occurs
    predicted = [t if draw.random() < 0.6 else int(draw.integers(0, 4)) for t in truth]
    ours = classification_metrics(truth, predicted, LABELS)
    assert ours.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert ours.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    assert (ours.confusion == confusion_matrix(truth, predicted, labels=range(4))).all()
    theirs = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for i, each in enumerate(ours.classes):
        assert (each.precision, each.recall, each.f1, each.support) == pytest.approx(tuple(row[i] for row in theirs))


def test_nothing_to_compare_is_zero() -> None:
    assert classification_metrics([], [], LABELS).accuracy == 0.0


def test_naive_bayes_learns_words() -> None:
    texts = ["cat dog cat", "dog wolf", "sum prime", "prime integer sum"] * 5
    labels = [0, 0, 1, 1] * 5
    predictions = naive_bayes_predictions(texts, labels, ["wolf cat", "integer prime"])
    assert predictions == {"multinomial": [0, 1], "complement": [0, 1]}
