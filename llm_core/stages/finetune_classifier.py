"""Stages `classifier` and `classifier_from_scratch`: labelled texts in, a classifier out."""

from __future__ import annotations

from pathlib import Path

from llm_core.config import ClassifierStage, LlmRuntime
from llm_core.progress import Progress


def run(
    config: ClassifierStage, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Train a classifier on the train split of ``inputs["examples"]``, from ``inputs["model"]`` or from scratch.

    The weights of the last step are kept: with a rate that falls to zero they are the best or close to it, and
    choosing an epoch by a small validation split would mostly choose its noise.

    Writes model/ (with labels.json), metrics.jsonl, events.jsonl and checkpoints/.

    Raises:
        LlmCoreError: there are no examples, or the pretrained model is missing.
    """

    from llm_core.adapt.classify import TextClassifier, labelled_examples, model_folder, save_classifier
    from llm_core.adapt.examples import LABELS_FILE, read_labelled, read_labels
    from llm_core.atomic import write_json
    from llm_core.errors import LlmCoreError
    from llm_core.evaluate.classification import classification_metrics
    from llm_core.model.initialization import initialize
    from llm_core.model.storage import load_model, read_description
    from llm_core.model.transformer import Transformer
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.batches import ExampleBatches, digest_of, in_order
    from llm_core.train.objectives import classification
    from llm_core.train.plan import Tick
    from llm_core.train.task import Task, train_model, workplace

    train = config.train
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    with workplace(runtime) as (device, parallel):
        weights = "scratch"
        if train.init == "pretrained":
            if "model" not in inputs:
                raise LlmCoreError("a pretrained model is needed.", where="classifier.init", fix="Set it to scratch.")
            folder = model_folder(inputs["model"])
            transformer = load_model(folder, device)
            weights = read_description(folder)["weights"]["sha256"]
        else:
            transformer = Transformer(config.model, tokenizer.vocab_size)
            initialize(transformer, train.seed)
        max_tokens = min(train.max_tokens, transformer.config.context_length)
        labels = read_labels(inputs["examples"])
        texts = read_labelled(inputs["examples"])
        examples = {
            split: labelled_examples(texts[split], labels, tokenizer, max_tokens) for split in ("train", "validation")
        }
        model = TextClassifier(transformer, len(labels)).to(device)

        def validate(final: bool, tick: Tick) -> dict[str, float]:
            held_out = examples["validation"] if final else examples["validation"][: train.eval_rows]
            truth: list[int] = []
            predicted: list[int] = []
            loss_sum = 0.0
            for numbers, batch in in_order(held_out, tokenizer.pad_id, rows=64):
                tick()
                batch = batch.to(device)
                logits = model(batch.tokens, batch.lengths).float()
                loss_sum += float(-logits.log_softmax(-1).gather(1, batch.targets[:, None]).sum())
                predicted += logits.argmax(-1).tolist()
                truth += [int(held_out[i].targets) for i in numbers]  # type: ignore[arg-type]
            if not truth:
                return {}
            measured = classification_metrics(truth, predicted, labels)
            return {"loss": loss_sum / len(truth), "accuracy": measured.accuracy, "macro_f1": measured.macro_f1}

        batches = ExampleBatches(examples["train"], train.batch_examples, tokenizer.pad_id, train.seed)
        task = Task(
            model=model,
            shape=transformer.config,
            outputs=len(labels),
            objective=classification,
            batches=batches,
            row_tokens=max_tokens,
            fixed_shapes=False,
            validate=validate,
            steps=batches.steps(train.epochs),
            train=train,
            identity={
                "stage": "classifier",
                "config": config.model_dump(mode="json"),
                "model": weights,
                "labels": labels,
                "examples": digest_of(examples["train"]),
            },
        )
        trained, whole = train_model(task, out, device, parallel, progress, runtime)
        if isinstance(whole, TextClassifier):
            save_classifier(whole, inputs["tokenizer"], out / "model", labels, max_tokens, train.init)
            write_json(out / "model" / LABELS_FILE, labels)
    return {"classes": len(labels), "examples": len(examples["train"]), **trained.counters()}
