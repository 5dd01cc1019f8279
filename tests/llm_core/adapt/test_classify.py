from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llm_core.adapt.classify import TextClassifier, encode_texts, load_classifier, save_classifier
from llm_core.config import (
    ClassifierConfig,
    ClassifierStage,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    PretrainStage,
    ScheduleConfig,
)
from llm_core.errors import LlmCoreError
from llm_core.model.initialization import initialize
from llm_core.model.storage import save_model
from llm_core.model.transformer import Transformer
from llm_core.progress import no_progress
from llm_core.stages import finetune_classifier, pretrain
from llm_core.tokenizer.encode import Tokenizer

SHAPE = ModelConfig(layers=1, dim=16, heads=2, ffn_dim=32, context_length=32)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_changes_nothing(pooling: Any) -> None:
    transformer = Transformer(SHAPE, 40)
    initialize(transformer, 1)
    model = TextClassifier(transformer, 3, pooling).eval()
    torch.nn.init.normal_(model.classifier.weight)
    tokens = torch.randint(0, 40, (2, 6), generator=torch.Generator().manual_seed(1))
    padded = torch.cat([tokens, torch.full((2, 9), 7)], dim=1)
    lengths = torch.tensor([6, 4])
    with torch.no_grad():
        assert torch.allclose(model(tokens, lengths), model(padded, lengths), atol=1e-5)


def test_long_texts_lose_their_end(toy: Any) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    short, long = encode_texts(["the cat", "the cat is known for its age " * 20], tokenizer, 12)
    assert len(long) == 12 and len(short) < 12
    assert short[0] == short[-1] == long[0] == long[-1] == tokenizer.eot_id


def test_saved_and_loaded_gives_the_same_probabilities(toy: Any, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    transformer = Transformer(SHAPE, tokenizer.vocab_size)
    initialize(transformer, 1)
    model = TextClassifier(transformer, 3, "mean").eval()
    torch.nn.init.normal_(model.classifier.weight)
    save_classifier(model, toy.tokenizer, tmp_path / "model", ["a", "b", "c"], 20)
    texts = ["the cat lies near the border.", "a prime", "", "the river " * 30]
    loaded = load_classifier(tmp_path)
    probabilities = loaded.probabilities(texts, batch_rows=3)
    assert probabilities.shape == (4, 3) and np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    for text, row in zip(texts, probabilities, strict=True):
        ids = torch.tensor(encode_texts([text], tokenizer, 20))
        with torch.no_grad():
            alone = model(ids, torch.tensor([ids.shape[1]])).softmax(-1)[0].numpy()
        assert np.allclose(alone, row, atol=1e-5)
    assert loaded.predict(texts) == [["a", "b", "c"][i] for i in probabilities.argmax(axis=1)]


def test_a_language_model_is_not_a_classifier(toy: Any, tmp_path: Path) -> None:
    save_model(Transformer(SHAPE, Tokenizer.load(toy.tokenizer).vocab_size), toy.tokenizer, tmp_path / "model")
    with pytest.raises(LlmCoreError, match="not a classifier"):
        load_classifier(tmp_path)


@pytest.mark.slow
def test_the_stage_learns_the_classes_from_pretrained_weights_and_from_scratch(toy: Any, tmp_path: Path) -> None:
    pretrained = tmp_path / "pretrain"
    pretrained.mkdir()
    short = PretrainConfig(steps=5, batch_tokens=512, optimizer=OptimizerConfig(lr=3e-3))
    inputs = {"shards": toy.shards, "tokenizer": toy.tokenizer}
    pretrain.run(PretrainStage(model=toy.model, train=short), inputs, pretrained, no_progress, toy.runtime)
    train = ClassifierConfig(
        epochs=6,
        batch_examples=16,
        max_tokens=32,
        optimizer=OptimizerConfig(lr=5e-3),
        schedule=ScheduleConfig(kind="linear", warmup_steps=5),
    )
    examples = {"examples": toy.labelled, "tokenizer": toy.tokenizer}
    for init, given in (("pretrained", examples | {"model": pretrained}), ("scratch", examples)):
        out = tmp_path / init
        out.mkdir()
        stage = ClassifierStage(model=toy.model, train=train.model_copy(update={"init": init}))
        counters = finetune_classifier.run(stage, given, out, no_progress, toy.runtime)
        assert counters["validation_accuracy"] > 0.9  # type: ignore[operator]
        assert load_classifier(out).init == init
        assert load_classifier(out).predict(["a prime has many names.", "the cat has many names."]) == [
            "numbers",
            "animals",
        ]


def test_without_a_pretrained_model_it_says_so(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(LlmCoreError, match="pretrained model is needed"):
        finetune_classifier.run(
            ClassifierStage(model=toy.model),
            {"examples": toy.labelled, "tokenizer": toy.tokenizer},
            tmp_path,
            no_progress,
            toy.runtime,
        )
