"""Stage `assistant`: conversations in, a model that answers out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from llm_core.config import AssistantConfig, LlmRuntime
from llm_core.progress import Progress


def run(
    config: AssistantConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Tune ``inputs["model"]`` on the train split of ``inputs["examples"]``; the loss counts the answers only.

    Writes model/, metrics.jsonl, events.jsonl and checkpoints/.

    Raises:
        LlmCoreError: there are no conversations, or none whose answer fits into ``max_tokens``.
    """

    from llm_core.adapt.classify import model_folder
    from llm_core.adapt.examples import read_conversations
    from llm_core.adapt.instruct import conversation_examples
    from llm_core.evaluate.bits_per_byte import loss_on_examples
    from llm_core.model.storage import load_model, read_description, save_model
    from llm_core.model.transformer import Transformer
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.batches import ExampleBatches, digest_of
    from llm_core.train.objectives import next_token
    from llm_core.train.plan import Tick
    from llm_core.train.task import Task, train_model, workplace

    tokenizer = Tokenizer.load(inputs["tokenizer"])
    folder = model_folder(inputs["model"])
    with workplace(runtime) as (device, parallel):
        model = load_model(folder, device)
        shape = model.config
        max_tokens = min(config.max_tokens, shape.context_length)
        conversations = read_conversations(inputs["examples"])
        examples = {
            split: conversation_examples(conversations[split], tokenizer, max_tokens, str(inputs["examples"]))
            for split in ("train", "validation")
        }

        def validate(final: bool, tick: Tick) -> dict[str, float]:
            held_out = examples["validation"] if final else examples["validation"][: config.eval_rows]
            return {"loss": loss_on_examples(model, held_out, tokenizer.pad_id, device, tick).loss} if held_out else {}

        batches = ExampleBatches(examples["train"], config.batch_examples, tokenizer.pad_id, config.seed)
        task = Task(
            model=model,
            shape=shape,
            outputs=tokenizer.vocab_size,
            objective=partial(next_token, z_loss=config.z_loss),
            batches=batches,
            row_tokens=max_tokens,
            fixed_shapes=False,
            validate=validate,
            steps=batches.steps(config.epochs),
            train=config,
            identity={
                "stage": "assistant",
                "config": config.model_dump(mode="json"),
                "model": read_description(folder)["weights"]["sha256"],
                "examples": digest_of(examples["train"]),
            },
        )
        trained, whole = train_model(task, out, device, parallel, progress, runtime)
        if isinstance(whole, Transformer):
            save_model(whole, inputs["tokenizer"], out / "model", extra={"kind": "assistant", "steps": trained.steps})
    return {"examples": len(examples["train"]), **trained.counters()}
