"""Stage `pretrain`: token shards in, a language model out."""

from __future__ import annotations

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
    from llm_core.atomic import sha256_of
    from llm_core.errors import LlmCoreError
    from llm_core.evaluate.bits_per_byte import loss_on_rows
    from llm_core.model.initialization import initialize
    from llm_core.model.storage import save_model
    from llm_core.model.transformer import Transformer
    from llm_core.shards.format import INDEX, read_index
    from llm_core.shards.loader import TokenRows
    from llm_core.tokenizer.encode import Tokenizer
    from llm_core.train.batches import TokenBatches
    from llm_core.train.device import prepare_device
    from llm_core.train.loop import Plan, Tick, fit
    from llm_core.train.memory import choose_micro_batch_rows
    from llm_core.train.objectives import next_token

    train = config.train
    tokenizer = Tokenizer.load(inputs["tokenizer"])
    if read_index(inputs["shards"]).tokenizer_digest != tokenizer.digest:
        raise LlmCoreError(
            "the token shards were written with another tokenizer.",
            where=str(inputs["shards"]),
            fix="Run the shards stage again.",
        )
    context = config.model.context_length
    rows = TokenRows.open(inputs["shards"], "train", context, verify=True)
    held_out = TokenRows.open(inputs["shards"], "validation", context, verify=True)
    device = prepare_device(runtime)
    model = Transformer(config.model, tokenizer.vocab_size)
    initialize(model, train.seed)
    model.to(device)

    def validate(final: bool, tick: Tick) -> dict[str, float]:
        limit = None if final else train.eval_rows
        measured = loss_on_rows(model, held_out, tokenizer.byte_lengths, limit, device, tick)
        return {"loss": measured.loss, "bits_per_byte": measured.bits_per_byte}

    batches = TokenBatches(rows, train.batch_tokens, train.seed)
    shards_digest = sha256_of(Path(inputs["shards"]) / INDEX)
    plan = Plan(
        steps=train.steps,
        train=train,
        identity={"stage": "pretrain", "config": config.model_dump(mode="json"), "shards": shards_digest},
        micro_batch_rows=choose_micro_batch_rows(
            config.model, batches.batch_rows, context, device, runtime.micro_batch_rows
        ),
    )
    trained = fit(
        model, next_token, batches, validate, plan, out=out, device=device, progress=progress, runtime=runtime
    )
    save_model(model, inputs["tokenizer"], out / "model", extra={"kind": "language_model", "steps": trained.steps})
    return {
        "parameters": model.num_parameters(),
        "epochs": round(train.steps * batches.batch_rows / len(rows), 3),
        **trained.counters(),
    }
