"""Conversations as tokens: ``<|user|>question<|end|><|assistant|>answer<|end|>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llm_core.errors import LlmCoreError
from llm_core.tokenizer.encode import Tokenizer

ROLES = ("system", "user", "assistant")


def render(
    messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer, *, add_generation_prompt: bool = False
) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and which of them the model is to learn.

    The same ids as ``chat_template.jinja`` gives elsewhere. Contents can't forge a turn: a literal ``<|end|>`` in a
    message stays plain text.

    Args:
        messages: each with "role" (system, user, assistant) and "content".
        add_generation_prompt: end with ``<|assistant|>``, so that the model answers next.

    Returns:
        ids and loss_mask of equal length. loss_mask[i] says that ids[i] counts as a target: the assistant's contents
        and the ``<|end|>`` that closes them.

    Raises:
        LlmCoreError: a message lacks role or content, or has an unknown role.
    """
    ids: list[int] = []
    loss_mask: list[bool] = []
    role_ids = {"system": tokenizer.system_id, "user": tokenizer.user_id, "assistant": tokenizer.assistant_id}
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in role_ids or not isinstance(content, str):
            raise LlmCoreError(
                f"a message needs a role ({', '.join(ROLES)}) and a content that is text, not {dict(message)!r}.",
                where=f"message {number}",
            )
        body = [*tokenizer.encode(content), tokenizer.end_id]
        ids += [role_ids[role], *body]
        loss_mask += [False, *([role == "assistant"] * len(body))]
    if add_generation_prompt:
        ids.append(tokenizer.assistant_id)
        loss_mask.append(False)
    return ids, loss_mask
