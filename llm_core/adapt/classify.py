"""A text classifier: the pretrained transformer with a linear head (Radford et al. 2018). All weights are tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from llm_core.adapt.examples import LabelledText
from llm_core.errors import LlmCoreError
from llm_core.model.storage import load_extra_tensors, load_model, read_description, save_model
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.batches import Example, in_order

#: How a text's states become one: their mean, or the last one alone. On the quickstart's topics they are equally good
#: (0.870 and 0.865 after two epochs, 0.851 both after one; docs/decisions.md); the mean also suits a text that was cut.
Pooling = Literal["mean", "last"]
Init = Literal["pretrained", "scratch"]


class TextClassifier(nn.Module):
    """Scores for classes from the pooled states of a text."""

    def __init__(self, transformer: Transformer, classes: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.transformer, self.pooling = transformer, pooling
        self.classifier = nn.Linear(transformer.config.dim, classes)
        # Zero: every class is equally likely at first, and no random head disturbs the pretrained weights.
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(batch, time) ids and (batch,) lengths without padding -> logits (batch, classes)."""
        hidden = self.transformer.hidden(tokens).float()  # (batch, time, dim)
        if self.pooling == "last":
            pooled = hidden[torch.arange(len(tokens), device=tokens.device), lengths - 1]
        else:
            inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (batch, time)
            pooled = (hidden * inside[..., None]).sum(dim=1) / lengths[:, None]
        return self.classifier(pooled)


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> list[list[int]]:
    """Ids as documents look in pretraining: <|endoftext|> before, <|endoftext|> after. A long text loses its end."""
    eot = tokenizer.eot_id
    return [[eot, *ids[: max(1, max_tokens - 2)], eot] for ids in tokenizer.encode_batch(list(texts))]


def labelled_examples(
    rows: Sequence[LabelledText], labels: Sequence[str], tokenizer: Tokenizer, max_tokens: int
) -> list[Example]:
    """Rows for the training loop."""
    number = {label: index for index, label in enumerate(labels)}
    encoded = encode_texts([row.text for row in rows], tokenizer, max_tokens)
    return [Example(ids, number[row.label]) for ids, row in zip(encoded, rows, strict=True)]


class Classifier:
    """A trained classifier, ready to be asked."""

    def __init__(
        self, model: TextClassifier, tokenizer: Tokenizer, labels: list[str], max_tokens: int, init: Init = "pretrained"
    ) -> None:
        self.model, self.tokenizer, self.labels, self.max_tokens = model, tokenizer, labels, max_tokens
        self.init = init

    def probabilities(self, texts: Sequence[str], batch_rows: int = 64) -> np.ndarray:
        """(texts, classes) fp32, each row summing to one; the columns are :attr:`labels`."""
        encoded = encode_texts(texts, self.tokenizer, self.max_tokens)
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        device = self.model.classifier.weight.device
        self.model.eval()
        with torch.no_grad():
            for numbers, batch in in_order([Example(ids, 0) for ids in encoded], self.tokenizer.pad_id, batch_rows):
                batch = batch.to(device)
                result[numbers] = self.model(batch.tokens, batch.lengths).float().softmax(dim=-1).cpu().numpy()
        return result

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest class of each text."""
        return [self.labels[index] for index in self.probabilities(texts).argmax(axis=1)]


def save_classifier(
    model: TextClassifier,
    tokenizer_folder: Path,
    folder: Path,
    labels: Sequence[str],
    max_tokens: int,
    init: Init = "pretrained",
) -> None:
    """A model folder as any other, with the head's weights and the classes' names in it.

    Args:
        init: which weights the training began with, so that a scorecard calls the model what it is.
    """
    extra: dict[str, Any] = {
        "kind": "classifier",
        "labels": list(labels),
        "pooling": model.pooling,
        "max_tokens": max_tokens,
        "init": init,
    }
    head = {"classifier.weight": model.classifier.weight, "classifier.bias": model.classifier.bias}
    save_model(model.transformer, tokenizer_folder, folder, extra=extra, extra_tensors=head)


def load_classifier(folder: Path, device: torch.device | str = "cpu") -> Classifier:
    """Read a classifier back.

    Args:
        folder: a model folder, or the artifact folder that holds one.

    Raises:
        LlmCoreError: it is missing, damaged, or a model of another kind.
    """
    folder = model_folder(folder)
    extra = read_description(folder).get("extra", {})
    if extra.get("kind") != "classifier":
        raise LlmCoreError("this model is not a classifier.", where=str(folder), fix="Give the classifier's folder.")
    transformer = load_model(folder, device)
    model = TextClassifier(transformer, len(extra["labels"]), extra["pooling"])
    head = load_extra_tensors(folder)
    model.classifier.load_state_dict({"weight": head["classifier.weight"], "bias": head["classifier.bias"]})
    return Classifier(
        model.to(device).eval(),
        Tokenizer.load(folder),
        list(extra["labels"]),
        int(extra["max_tokens"]),
        extra.get("init", "pretrained"),
    )


def model_folder(folder: Path) -> Path:
    """``folder/model`` where a stage's artifact is given, else ``folder``."""
    return Path(folder) / "model" if (Path(folder) / "model").is_dir() else Path(folder)
