"""The scorecard: one page that says how good the models are, next to what is easy to reach."""

from __future__ import annotations

import csv
import io
from typing import Any

BASELINES = {
    "xz_validation": "xz -9e, the same documents",
    "xz_after_train": "xz -9e, the same documents after it has read the train split",
    "zstd_validation": "zstd -19, the same documents",
    "xz_train_and_validation": "xz -9e, train and validation documents in one file",
    "token_unigram": "token frequencies of the train split",
    "byte_unigram": "byte frequencies of the train split",
}
CLASSIFIERS = {
    "pretrained": "fine-tuned from the pretrained weights",
    "from_scratch": "the same model from random weights",
    "multinomial": "naive Bayes, word counts",
    "complement": "naive Bayes (complement), TF-IDF of words and pairs",
}

OURS = ("pretrained", "from_scratch")


def scorecard_markdown(card: dict[str, Any]) -> str:
    """The page, from the numbers of scorecard.json."""
    parts = ["# Scorecard", _language_model(card["language_model"])]
    if "classification" in card:
        parts.append(_classification(card["classification"]))
    if "assistant" in card:
        parts.append(_assistant(card["assistant"]))
    parts.append(samples_markdown(card.get("samples", [])))
    return "\n\n".join(part for part in parts if part) + "\n"


def _language_model(measured: dict[str, Any]) -> str:
    rows = [("**this model**", measured["bits_per_byte"])]
    rows += sorted(((BASELINES[name], value) for name, value in measured["baselines"].items()), key=lambda row: row[1])
    table = "\n".join(f"| {name} | {value:.3f} |" for name, value in rows)
    return (
        "## Language model\n\n"
        f"{measured['documents']:,} held-out documents ({measured['split']}), {measured['bytes']:,} bytes, "
        f"{measured['tokens']:,} tokens, each document by itself. Loss {measured['loss']:.3f} nats per token, "
        f"perplexity {measured['perplexity']:.1f}.\n\n"
        f"| | bits per byte (less is better) |\n| --- | ---: |\n{table}" + _sources(measured.get("sources", {}))
    )


def _sources(sources: dict[str, Any]) -> str:
    if not sources:
        return ""
    rows = "\n".join(f"| {name} | {each['bytes']:,} | {each['bits_per_byte']:.3f} |" for name, each in sources.items())
    return f"\n\nSource by source:\n\n| source | bytes | bits per byte |\n| --- | ---: | ---: |\n{rows}"


def _classification(measured: dict[str, Any]) -> str:
    scores = measured["scores"]
    lines = [
        f"| {_strong(CLASSIFIERS[name], name in OURS)} | {score['accuracy']:.3f} | {score['macro_f1']:.3f} |"
        for name, score in scores.items()
    ]
    text = (
        "## Classification\n\n"
        f"{measured['examples']:,} held-out examples ({measured['split']}), {len(measured['labels'])} classes.\n\n"
        "| | accuracy | macro-F1 |\n| --- | ---: | ---: |\n" + "\n".join(lines)
    )
    classes = measured.get("classes")
    if classes:
        rows = "\n".join(
            f"| {c['label']} | {c['precision']:.2f} | {c['recall']:.2f} | {c['f1']:.2f} | {c['support']} |"
            for c in classes
        )
        text += (
            "\n\nClass by class, for the first of the table:\n\n"
            f"| class | precision | recall | F1 | examples |\n| --- | ---: | ---: | ---: | ---: |\n{rows}"
        )
    return text


def _strong(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text


def _assistant(measured: dict[str, Any]) -> str:
    text = (
        "## Assistant\n\n"
        f"{measured['conversations']:,} held-out conversations. Loss of the right answers: "
        f"{measured['loss_before']:.3f} nats per token before tuning, **{measured['loss_after']:.3f}** after."
    )
    if "answered" in measured:
        text += (
            f" Of {measured['answered']} questions that it answered, {measured['exact_match']:.0%} word for word; "
            f"overlap of words (F1) {measured['word_f1']:.2f}."
        )
    return text


def samples_markdown(samples: list[dict[str, str]]) -> str:
    """What the models wrote, unedited."""
    if not samples:
        return ""
    parts = ["## Samples"]
    for sample in samples:
        quoted = sample["text"].strip().replace("\n", "\n> ")
        parts.append(f"{sample['model']}: **{sample['prompt']}**\n\n> {quoted}")
    return "\n\n".join(parts)


def confusion_csv(labels: list[str], confusion: list[list[int]]) -> str:
    """Rows are the true classes, columns the predicted ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *labels])
    for label, row in zip(labels, confusion, strict=True):
        writer.writerow([label, *row])
    return text.getvalue()
