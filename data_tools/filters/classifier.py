"""A classifier of good and bad texts: hashed word n-grams, a linear model, trained on examples.

This is what fastText's supervised mode does for two classes (Joulin et al. 2017, arXiv:1607.01759; used so by DCLM, Li
et al. 2024) but for two things: there is no hidden layer, so a bucket has one weight and not a vector, and steps are
AdaGrad's, so that rare n-grams learn as fast as common ones. A text's score is the probability of "good" under the
shares of good and bad among the examples.

On disk: ``weights.npy`` (float32, the bias last) and ``model.json``, which says how to compute the features and holds
the weights' sha256. Nothing in it is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_tools.config import QualityClassifierConfig
from data_tools.errors import DataError
from data_tools.progress import Progress, no_progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

#: Raised when the same weights would mean something else: what a word is, how n-grams are hashed, how a score is made.
FEATURES_VERSION = "ngram-features-1"
FORMAT = "groundup-quality-classifier"
WEIGHTS, MODEL = "weights.npy", "model.json"
_INITIAL_SQUARES = 1e-3


@dataclass(frozen=True)
class LinearModel:
    weights: npt.NDArray[np.float32]
    """(buckets,)"""
    bias: float
    word_ngrams: int
    max_words: int

    def scores(self, texts: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.float64]:
        """(texts,) the probability of being good, for a string column without nulls."""
        from data_tools.kernels import ngram_features as kernels
        from data_tools.kernels.buffers import text_buffers
        from data_tools.kernels.characters import character_flags, lower_case

        data, offsets = text_buffers(texts)
        found: npt.NDArray[np.float64] = kernels.scores(
            data, offsets, character_flags(), lower_case(), self.word_ngrams, self.max_words, self.weights, self.bias
        )
        return found

    def score_of_features(self, features: npt.NDArray[np.int32]) -> float:
        """The same for one text's :func:`text_features`."""
        z = self.bias
        if len(features):
            z += float(self.weights[features].sum(dtype="float64")) / math.sqrt(len(features))
        return 1.0 / (1.0 + math.exp(-min(max(z, -700.0), 700.0)))


def text_features(texts: pa.ChunkedArray | pa.Array, config: QualityClassifierConfig) -> list[npt.NDArray[np.int32]]:
    """For each text the buckets of its n-grams, repetitions included."""
    from data_tools.kernels import ngram_features as kernels
    from data_tools.kernels.buffers import text_buffers
    from data_tools.kernels.characters import character_flags, lower_case

    data, offsets = text_buffers(texts)
    flags, lower = character_flags(), lower_case()
    limits = (config.word_ngrams, config.max_words, config.buckets)
    return [kernels.features(data, offsets[i], offsets[i + 1], flags, lower, *limits) for i in range(len(offsets) - 1)]


def train(
    features: Sequence[npt.NDArray[np.int32]],
    labels: npt.NDArray[np.int8],
    config: QualityClassifierConfig,
    progress: Progress = no_progress,
) -> tuple[LinearModel, list[float]]:
    """Fit a model. The same examples in the same order give the same weights.

    Args:
        features: of :func:`text_features`.
        labels: (examples,) 1 for good, 0 for bad.

    Returns:
        the model, and the mean loss of each epoch.
    """
    import numpy as np

    from data_tools.kernels import ngram_features as kernels

    offsets = np.zeros(len(features) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in features], out=offsets[1:])
    flat = np.concatenate(features) if features else np.zeros(0, dtype=np.int32)
    weights = np.zeros(config.buckets, dtype=np.float32)
    squares = np.full(config.buckets, _INITIAL_SQUARES, dtype=np.float32)
    bias = np.array([0.0, _INITIAL_SQUARES])
    generator = np.random.default_rng(config.seed)
    decay = config.learning_rate / (config.epochs * len(features))
    losses = []
    for epoch in range(config.epochs):
        order = generator.permutation(len(features))
        rate = config.learning_rate * (1 - epoch / config.epochs)
        losses.append(float(kernels.train_epoch(flat, offsets, labels, order, weights, squares, bias, rate, decay)))
        progress(epoch + 1, config.epochs, "training the quality classifier")
    return LinearModel(weights, float(bias[0]), config.word_ngrams, config.max_words), losses


def save(model: LinearModel, folder: Path, about: dict[str, Any]) -> None:
    """Write ``weights.npy`` and ``model.json`` (with ``about`` in it), each whole or not at all."""
    import io

    import numpy as np

    from data_tools.atomic_file import atomic_writer, write_json

    raw = io.BytesIO()
    np.save(raw, np.append(model.weights, np.float32(model.bias)))
    with atomic_writer(folder / WEIGHTS) as handle:
        handle.write(raw.getvalue())
    description = {
        "format": FORMAT,
        "features": FEATURES_VERSION,
        "word_ngrams": model.word_ngrams,
        "buckets": len(model.weights),
        "max_words": model.max_words,
        "weights_sha256": hashlib.sha256(raw.getvalue()).hexdigest(),
    }
    write_json(folder / MODEL, {**description, **about})


def load(folder: Path) -> LinearModel:
    """Read what :func:`save` wrote.

    Raises:
        DataError: it isn't there, is damaged, or was made for features that this code doesn't compute.
    """
    import io

    import numpy as np

    fix = "Delete the artifact folder that it lies in; the stage will make it again."
    try:
        about = json.loads((folder / MODEL).read_bytes())
        raw = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"this quality classifier can't be read ({error})", where=str(folder), fix=fix) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError("this is no quality classifier", where=str(folder / MODEL), fix=fix)
    if about.get("features") != FEATURES_VERSION:
        raise DataError(
            f"made for features {about.get('features')!r}, this code computes {FEATURES_VERSION!r}",
            where=str(folder / MODEL),
            fix="Train the quality classifier again.",
        )
    if hashlib.sha256(raw).hexdigest() != about.get("weights_sha256"):
        raise DataError("the weights are not those that model.json describes", where=str(folder / WEIGHTS), fix=fix)
    weights = np.load(io.BytesIO(raw), allow_pickle=False)
    if weights.dtype != np.float32 or weights.shape != (about["buckets"] + 1,):
        raise DataError("the weights don't have the shape that model.json says", where=str(folder / WEIGHTS), fix=fix)
    return LinearModel(weights[:-1].copy(), float(weights[-1]), int(about["word_ngrams"]), int(about["max_words"]))


def load_scorer(folder: Path) -> Callable[[pa.ChunkedArray | pa.Array], npt.NDArray[np.float64]]:
    """A function from a column of texts (no nulls) to (texts,) probabilities of being good.

    Raises:
        DataError: as for :func:`load`.
    """
    return load(folder).scores


def evaluate(labels: npt.NDArray[np.int8], scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """How well scores tell good (1) from bad (0).

    Returns:
        ``accuracy`` at 0.5, ``auc`` (the probability that a good text scores above a bad one, ties half), and
        ``thresholds``: for each, which share of the good and of the bad it keeps.
    """
    import numpy as np

    good, bad = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    wins = np.searchsorted(bad, good, "left").sum() + np.searchsorted(bad, good, "right").sum()
    thresholds = [
        {
            "threshold": threshold,
            "good_kept": float((good >= threshold).mean()),
            "bad_kept": float((bad >= threshold).mean()),
        }
        for threshold in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    ]
    return {
        "accuracy": float(((scores >= 0.5) == (labels == 1)).mean()),
        "auc": float(wins / (2 * len(good) * len(bad))),
        "thresholds": thresholds,
    }
