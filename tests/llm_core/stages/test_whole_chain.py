"""The doors of the model part, one after another, as the pipeline opens them."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_core.config import (
    AssistantConfig,
    ClassifierConfig,
    ClassifierStage,
    EvaluateConfig,
    OptimizerConfig,
    PretrainConfig,
    PretrainStage,
    ScheduleConfig,
)
from llm_core.errors import LlmCoreError
from llm_core.progress import no_progress
from llm_core.stages import evaluate, finetune_assistant, finetune_classifier, pretrain

SCHEDULE = ScheduleConfig(warmup_steps=3)


@pytest.mark.slow
def test_pretrain_tune_and_evaluate(toy: Any, tmp_path: Path) -> None:
    folders = {n: tmp_path / n for n in ("pretrain", "classifier", "scratch", "assistant", "evaluate", "alone")}
    for folder in folders.values():
        folder.mkdir()
    tokenizer = {"tokenizer": toy.tokenizer}
    adamw = OptimizerConfig(lr=5e-3)
    counters = pretrain.run(
        PretrainStage(
            model=toy.model,
            train=PretrainConfig(steps=60, batch_tokens=512, optimizer=adamw, schedule=SCHEDULE, eval_every=50),
        ),
        {"shards": toy.shards, **tokenizer},
        folders["pretrain"],
        no_progress,
        toy.runtime,
    )
    assert counters["steps"] == 60 and counters["validation_bits_per_byte"] < 2.5  # type: ignore[operator]
    classifier = ClassifierConfig(epochs=2, batch_examples=16, optimizer=adamw, schedule=SCHEDULE)
    labelled = {"examples": toy.labelled, **tokenizer}
    for name, init in (("classifier", "pretrained"), ("scratch", "scratch")):
        stage = ClassifierStage(model=toy.model, train=classifier.model_copy(update={"init": init}))
        given = labelled | ({"model": folders["pretrain"]} if init == "pretrained" else {})
        finetune_classifier.run(stage, given, folders[name], no_progress, toy.runtime)
    finetune_assistant.run(
        AssistantConfig(epochs=2, batch_examples=16, max_tokens=32, optimizer=adamw, schedule=SCHEDULE),
        {"model": folders["pretrain"], "examples": toy.conversations, **tokenizer},
        folders["assistant"],
        no_progress,
        toy.runtime,
    )
    base = {"shards": toy.shards, "documents": toy.documents, "model": folders["pretrain"], **tokenizer}
    config = EvaluateConfig(prompts=("the cat",), instructions=("Say something.",), sample_tokens=8)
    numbers = evaluate.run(
        config,
        base
        | {
            "classifier": folders["classifier"],
            "classifier_from_scratch": folders["scratch"],
            "classification_set": toy.labelled,
            "assistant": folders["assistant"],
            "instruction_set": toy.conversations,
        },
        folders["evaluate"],
        no_progress,
        toy.runtime,
    )
    assert all(isinstance(value, int | float | str) for value in numbers.values())
    assert numbers["bits_per_byte"] < numbers["baseline_token_unigram"]  # type: ignore[operator]
    assert numbers["assistant_loss_after"] < numbers["assistant_loss_before"]  # type: ignore[operator]
    assert numbers["pretrained_accuracy"] > 0.6  # type: ignore[operator]
    card = json.loads((folders["evaluate"] / "scorecard.json").read_text())
    assert set(card["classification"]["scores"]) == {"pretrained", "from_scratch", "multinomial", "complement"}
    assert [sample["prompt"] for sample in card["samples"]] == ["the cat", "Say something."]
    page = (folders["evaluate"] / "scorecard.md").read_text()
    assert "xz -9e" in page and "naive Bayes" in page and "Samples" in page
    confusion = (folders["evaluate"] / "confusion.csv").read_text().splitlines()
    assert len(confusion) == 4 and confusion[0] == "true \\ predicted,animals,numbers,places"

    # a classifier that was configured to begin with random weights is called so
    scratch_only = {"classifier": folders["scratch"], "classification_set": toy.labelled}
    folders["alone"].joinpath("scratch").mkdir()
    short = EvaluateConfig(prompts=(), sample_tokens=4)
    told = evaluate.run(short, base | scratch_only, folders["alone"] / "scratch", no_progress, toy.runtime)
    assert "pretrained_accuracy" not in told and told["from_scratch_accuracy"] == numbers["from_scratch_accuracy"]

    # and with nothing but the language model
    alone = evaluate.run(EvaluateConfig(sample_tokens=4), base, folders["alone"], no_progress, toy.runtime)
    assert alone["bits_per_byte"] == numbers["bits_per_byte"]
    assert not (folders["alone"] / "confusion.csv").exists()


def test_shards_of_another_tokenizer_are_refused(toy: Any, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer"
    other.mkdir()
    changed = json.loads((toy.tokenizer / "tokenizer.json").read_text())  # without the digests that vouch for it
    (other / "tokenizer.json").write_text(json.dumps(changed, indent=5))
    with pytest.raises(LlmCoreError, match="another tokenizer"):
        pretrain.run(
            PretrainStage(model=toy.model),
            {"shards": toy.shards, "tokenizer": other},
            tmp_path,
            no_progress,
            toy.runtime,
        )
