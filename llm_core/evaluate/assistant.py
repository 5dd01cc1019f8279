"""The assistant on held-out questions: how likely the right answers are to it, and what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from llm_core.adapt.examples import Messages
from llm_core.adapt.instruct import conversation_examples
from llm_core.chat import render
from llm_core.evaluate.bits_per_byte import loss_on_examples
from llm_core.generate.engine import generate
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.encode import Tokenizer

#: Held-out questions that are really answered. Answers are generated one by one, so this is what takes time.
ANSWERED = 32
ANSWER_TOKENS = 48
#: Held-out conversations that the loss is measured on.
MEASURED = 512


def word_f1(answer: str, reference: str) -> float:
    """Overlap of words, case aside: harmonic mean of precision and recall (as for SQuAD, Rajpurkar et al. 2016)."""
    said, wanted = Counter(answer.casefold().split()), Counter(reference.casefold().split())
    common = sum((said & wanted).values())
    if not common:
        return float(said == wanted)  # both empty is a match
    precision, recall = common / sum(said.values()), common / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)


def answer(model: Transformer, tokenizer: Tokenizer, question: Messages, max_tokens: int = ANSWER_TOKENS) -> str:
    """The likeliest answer, token by token (greedy)."""
    prompt, _ = render(question, tokenizer, add_generation_prompt=True)
    return tokenizer.decode(generate(model, tokenizer, prompt, max_tokens=max_tokens, temperature=0.0)).strip()


def evaluate_assistant(
    base: Transformer,
    tuned: Transformer,
    tokenizer: Tokenizer,
    held_out: Sequence[Messages],
    device: torch.device,
    tick: Callable[[], None],
) -> dict[str, Any]:
    """Loss of the held-out answers before and after tuning; exact matches and word overlap of generated ones."""
    chosen = list(held_out)[:: max(1, len(held_out) // MEASURED)][:MEASURED]
    examples = conversation_examples(chosen, tokenizer, tuned.config.context_length, "instruction_set")
    result: dict[str, Any] = {
        "conversations": len(chosen),
        "loss_before": loss_on_examples(base, examples, tokenizer.pad_id, device, tick).loss,
        "loss_after": loss_on_examples(tuned, examples, tokenizer.pad_id, device, tick).loss,
    }
    exact, overlap, asked = 0, 0.0, 0
    for messages in chosen[:: max(1, len(chosen) // ANSWERED)][:ANSWERED]:
        if messages[-1]["role"] != "assistant":
            continue
        tick()
        said, wanted = answer(tuned, tokenizer, messages[:-1]), messages[-1]["content"].strip()
        exact += said == wanted
        overlap += word_f1(said, wanted)
        asked += 1
    if asked:
        result |= {"answered": asked, "exact_match": exact / asked, "word_f1": overlap / asked}
    return result
