"""The whole chain, from raw text to an evaluated model.

``run("mix", unique)`` reads: have the artifact of stage ``mix``, which is made from ``unique``. It is reused if it is
there, resumed if it was interrupted, and made if it is missing (flows/runner.py). A stage that the configuration
doesn't ask for is None, and so is everything about it. What each stage does, and with which settings, stands in
flows/stages.py.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.config import PipelineConfig
from flows.runner import Run, conduct


def chain(run: Run) -> None:
    """Every stage, in order, with what it reads."""
    documents = run("ingest")
    quality = run("quality_classifier", documents)
    signals = run("annotate", documents, quality)
    good = run("select", documents, signals)
    edited = run("clean", good) or good
    unique = run("deduplicate", edited)
    unseen = run("decontaminate", unique) or unique
    mixed = run("mix", unseen)
    run("data_card", documents, signals, good, edited, unique, unseen, mixed)
    labelled = run("classification_set", mixed)
    conversations = run("instruction_set", mixed)

    tokenizer = run("tokenizer", mixed)
    shards = run("shards", mixed, tokenizer)
    model = run("pretrain", shards, tokenizer)

    classifier = run("classifier", model, labelled, tokenizer)
    from_scratch = run("classifier_from_scratch", labelled, tokenizer)
    assistant = run("assistant", model, conversations, tokenizer)

    judged = (model, classifier, from_scratch, assistant)
    run("evaluate", shards, mixed, tokenizer, labelled, conversations, *judged)


@flow(name="build-language-model", flow_run_name="{config.name}", persist_result=False)
def build_language_model(
    config: PipelineConfig, verify: bool = False, until: list[str] | None = None
) -> dict[str, Any]:
    """From raw text to a language model that is trained, fine-tuned and evaluated.

    Args:
        config: the whole experiment.
        verify: hash every byte of what is reused, instead of comparing sizes.
        until: stages to stop after, such as data_card; what they don't need isn't run. None: everything.
    """
    return conduct(config, chain, until=until or (), verify=verify)  # type: ignore[return-value]
