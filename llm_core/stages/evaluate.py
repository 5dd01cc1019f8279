"""Stage `evaluate`: every model of the chain beside its baselines, on text that none of them has seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.config import EvaluateConfig, LlmRuntime
from llm_core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def run(
    config: EvaluateConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Measure the language model on the validation split, classifiers and assistant on the test split.

    ``inputs`` may lack the classifiers and the assistant; what is there is measured.
    Writes scorecard.json, scorecard.md, samples.md, confusion.csv (with a classifier).
    """
    import torch

    from llm_core.adapt.classify import model_folder
    from llm_core.atomic import write_bytes, write_json
    from llm_core.evaluate.assistant import answer
    from llm_core.evaluate.language_model import evaluate_language_model
    from llm_core.evaluate.scorecard import confusion_csv, samples_markdown, scorecard_markdown
    from llm_core.generate.engine import generate
    from llm_core.model.storage import load_model
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.device import autocast, prepare_device

    device = prepare_device(runtime)
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    base = load_model(model_folder(inputs["model"]), device)
    parts = ["language model", *(name for name in ("classifier", "assistant") if name in inputs), "samples"]

    def ticker(part: str) -> Callable[[], None]:
        return lambda: progress(parts.index(part), len(parts), part)

    card: dict[str, Any] = {}
    tuned = load_model(model_folder(inputs["assistant"]), device) if "assistant" in inputs else None
    with torch.no_grad(), autocast(device, config.precision):
        card["language_model"] = evaluate_language_model(
            base, tokenizer, inputs["shards"], inputs["documents"], device, ticker("language model")
        )
        if "classifier" in inputs:
            card["classification"] = _classification(inputs, device, ticker("classifier"))
        if tuned is not None:
            card["assistant"] = _assistant(inputs, base, tuned, device, ticker("assistant"))
    samples: list[dict[str, str]] = []
    for prompt in config.prompts:
        ticker("samples")()
        ids = [tokenizer.eot_id, *tokenizer.encode(prompt)]
        drawn = generate(
            base,
            tokenizer,
            ids,
            max_tokens=config.sample_tokens,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=config.seed,
        )
        samples.append({"model": "language model", "prompt": prompt, "text": prompt + tokenizer.decode(drawn)})
    for question in config.instructions if tuned is not None else ():
        assert tuned is not None
        ticker("samples")()
        said = answer(tuned, tokenizer, [{"role": "user", "content": question}], config.sample_tokens)
        samples.append({"model": "assistant", "prompt": question, "text": said})
    card["samples"] = samples
    write_json(out / "scorecard.json", card)
    write_bytes(out / "scorecard.md", scorecard_markdown(card).encode())
    write_bytes(out / "samples.md", (samples_markdown(samples) + "\n").encode())
    if "classification" in card:
        labels, confusion = card["classification"]["labels"], card["classification"]["confusion"]
        write_bytes(out / "confusion.csv", confusion_csv(labels, confusion).encode())
    progress(len(parts), len(parts), "done")
    return headline(card)


def headline(card: dict[str, Any]) -> dict[str, int | float | str]:
    """The numbers that one looks at first, flat, for the manifest and for tracking."""
    language = card["language_model"]
    numbers: dict[str, int | float | str] = {
        "bits_per_byte": language["bits_per_byte"],
        "validation_loss": language["loss"],
        "perplexity": language["perplexity"],
    }
    numbers |= {f"baseline_{name}": value for name, value in language["baselines"].items()}
    for name, score in card.get("classification", {}).get("scores", {}).items():
        numbers |= {f"{name}_accuracy": score["accuracy"], f"{name}_macro_f1": score["macro_f1"]}
    for name, value in card.get("assistant", {}).items():
        numbers[f"assistant_{name}"] = value
    return numbers


def _classification(inputs: dict[str, Path], device: torch.device, tick: Callable[[], None]) -> dict[str, Any]:
    from dataclasses import asdict

    from llm_core.adapt.classify import load_classifier
    from llm_core.adapt.examples import read_labelled, read_labels
    from llm_core.errors import LlmCoreError
    from llm_core.evaluate.classification import classification_metrics, naive_bayes_predictions

    labels = read_labels(inputs["classification_set"])
    number = {label: index for index, label in enumerate(labels)}
    examples = read_labelled(inputs["classification_set"])
    split = "test" if examples["test"] else "validation"
    texts, truth = [e.text for e in examples[split]], [number[e.label] for e in examples[split]]
    if not texts:
        raise LlmCoreError(
            "no labelled document is held out.",
            where=str(inputs["classification_set"]),
            fix="Raise mix.test_fraction or add documents.",
        )
    result: dict[str, Any] = {"split": split, "examples": len(texts), "labels": labels, "scores": {}}
    for stage in ("classifier", "classifier_from_scratch"):
        if stage not in inputs:
            continue
        tick()
        classifier = load_classifier(inputs[stage], device)
        scratch = stage == "classifier_from_scratch" or classifier.init == "scratch"
        name = "from_scratch" if scratch else "pretrained"
        probabilities = classifier.probabilities(texts)
        measured = classification_metrics(truth, probabilities.argmax(axis=1).tolist(), labels)
        result["scores"][name] = {"accuracy": measured.accuracy, "macro_f1": measured.macro_f1}
        if stage == "classifier":
            result["classes"] = [asdict(each) for each in measured.classes]
            result["confusion"] = measured.confusion.tolist()
    tick()
    train_texts = [e.text for e in examples["train"]]
    train_labels = [number[e.label] for e in examples["train"]]
    for name, predicted in naive_bayes_predictions(train_texts, train_labels, texts).items():
        measured = classification_metrics(truth, predicted, labels)
        result["scores"][name] = {"accuracy": measured.accuracy, "macro_f1": measured.macro_f1}
    return result


def _assistant(
    inputs: dict[str, Path], base: Any, tuned: Any, device: torch.device, tick: Callable[[], None]
) -> dict[str, Any]:
    from llm_core.adapt.examples import read_conversations
    from llm_core.evaluate.assistant import evaluate_assistant
    from llm_core.tokenizer.encode import Tokenizer

    conversations = read_conversations(inputs["instruction_set"])
    held_out = conversations["test"] or conversations["validation"]
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    return evaluate_assistant(base, tuned, tokenizer, held_out, device, tick)
