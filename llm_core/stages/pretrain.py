"""Stage `pretrain`: token shards in, a language model out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from llm_core.config import LlmRuntime, PretrainStage
from llm_core.progress import Progress


def run(
    config: PretrainStage, inputs: dict[str, Path], out: Path, progress: Progress, runtime: LlmRuntime
) -> dict[str, int | float | str]:
    """Train ``config.model`` from random weights on the train split of ``inputs["shards"]``.

    Writes model/, metrics.jsonl, events.jsonl and checkpoints/, from which it goes on where it was interrupted.

    Raises:
        LlmCoreError: the shards and the tokenizer don't belong together, or have too few tokens for the context.
    """
    import torch

    from llm_core.atomic import sha256_of
    from llm_core.errors import LlmCoreError
    from llm_core.evaluate.bits_per_byte import loss_on_rows
    from llm_core.model.initialization import initialize
    from llm_core.model.presets import parameter_count
    from llm_core.model.storage import save_model
    from llm_core.model.transformer import Transformer
    from llm_core.shards.format import INDEX, read_index
    from llm_core.shards.loader import TokenRows
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.attention_maps import attention_observer
    from llm_core.train.batches import TokenBatches
    from llm_core.train.objectives import next_token
    from llm_core.train.plan import Tick
    from llm_core.train.task import Task, train_model, workplace

    train = config.train
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    if read_index(inputs["shards"]).tokenizer_digest != tokenizer.digest:
        raise LlmCoreError(
            "the token shards were written with another tokenizer.",
            where=str(inputs["shards"]),
            fix="Run the shards stage again.",
        )
    context = config.model.context_length
    rows = TokenRows.open(inputs["shards"], "train", context, packing=train.packing, verify=True)
    held_out = TokenRows.open(inputs["shards"], "validation", context, verify=True)
    with workplace(runtime) as (device, parallel):
        model = Transformer(config.model, tokenizer.vocab_size)
        initialize(model, train.seed)
        model.to(device)

        def validate(final: bool, tick: Tick) -> dict[str, float]:
            limit = None if final else train.eval_rows
            masked = train.document_mask
            return loss_on_rows(
                model, held_out, tokenizer.byte_lengths, limit, device, tick, document_mask=masked
            ).metrics()

        batches = TokenBatches(rows, train.batch_tokens, train.seed, document_mask=train.document_mask, read_ahead=True)
        shards_digest = sha256_of(Path(inputs["shards"]) / INDEX)
        task = Task(
            model=model,
            shape=config.model,
            outputs=tokenizer.vocab_size,
            objective=partial(next_token, z_loss=train.z_loss),
            batches=batches,
            row_tokens=context,
            fixed_shapes=True,
            validate=validate,
            steps=train.steps,
            train=train,
            identity={"stage": "pretrain", "config": config.model_dump(mode="json"), "shards": shards_digest},
            byte_lengths=torch.from_numpy(tokenizer.byte_lengths),
            observer=attention_observer(model, tokenizer, runtime, train.steps, out) if parallel.is_main else None,
        )
        trained, whole = train_model(task, out, device, parallel, progress, runtime)
        if isinstance(whole, Transformer):
            extra = {"kind": "language_model", "steps": trained.steps}
            save_model(whole, inputs["tokenizer"], out / "model", extra=extra)
    return {
        "parameters": parameter_count(config.model, tokenizer.vocab_size),
        "epochs": round(train.steps * batches.batch_rows / len(rows), 3),
        "row_utilization": round(rows.utilization, 4),
        "documents_cut": round(rows.documents_cut() / (len(rows.offsets) - 1), 4),
        **trained.counters(),
    }
