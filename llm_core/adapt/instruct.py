"""Supervised fine-tuning on conversations: the loss counts the assistant's tokens only."""

from __future__ import annotations

from collections.abc import Sequence

from llm_core.adapt.examples import Messages
from llm_core.chat import render
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.batches import IGNORE, Example


def conversation_example(messages: Messages, tokenizer: Tokenizer, max_tokens: int) -> Example | None:
    """One row: at each position the next token is the target, if the assistant says it.

    A longer conversation than ``max_tokens`` loses its end; None if nothing of the assistant's is left.
    """
    ids, spoken = render(messages, tokenizer)
    ids, spoken = ids[: max_tokens + 1], spoken[: max_tokens + 1]
    targets = [token if counts else IGNORE for token, counts in zip(ids[1:], spoken[1:], strict=True)]
    if all(target == IGNORE for target in targets):
        return None
    return Example(ids[:-1], targets)


def conversation_examples(
    conversations: Sequence[Messages], tokenizer: Tokenizer, max_tokens: int, where: str
) -> list[Example]:
    """Rows for the training loop.

    Raises:
        LlmCoreError: no answer of any conversation fits into ``max_tokens``.
    """
    rows = (conversation_example(messages, tokenizer, max_tokens) for messages in conversations)
    examples = [row for row in rows if row is not None]
    if conversations and not examples:
        raise LlmCoreError(
            f"no answer begins within assistant.max_tokens ({max_tokens}).", where=where, fix="Raise max_tokens."
        )
    return examples
