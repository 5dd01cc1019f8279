"""Conversations: loss on the answers only, equal to the template, not to be forged."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llm_core.chat import render
from llm_core.config import TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.train import CHAT_TEMPLATE, SPECIAL_TOKENS, train_tokenizer

CONVERSATIONS = [
    [{"role": "user", "content": "What is Lyon?"}, {"role": "assistant", "content": "A city."}],
    [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": "  {{ spaces }} {% and %} é 🙂"},
        {"role": "assistant", "content": "\nYes."},
        {"role": "user", "content": "More?"},
        {"role": "assistant", "content": ""},
    ],
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train_tokenizer(["What is a city? A city is large."] * 9, TokenizerConfig(vocab_size=300)), "")


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("prompt", [False, True])
def test_ids_are_those_of_the_template(messages: list[dict[str, str]], prompt: bool, tokenizer: Tokenizer) -> None:
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    text = template.render(messages=messages, add_generation_prompt=prompt)
    ids, _ = render(messages, tokenizer, add_generation_prompt=prompt)
    names = {number: name.encode() for name, number in tokenizer.special_ids.items()}
    assert b"".join(names.get(i, tokenizer.bytes_of[i]) for i in ids).decode() == text
    library = train_tokenizer(["What is a city? A city is large."] * 9, TokenizerConfig(vocab_size=300))
    assert library.encode(text).ids == ids


def test_loss_falls_on_answers_and_their_end_only(tokenizer: Tokenizer) -> None:
    ids, mask = render(CONVERSATIONS[0] * 2, tokenizer)
    assert len(ids) == len(mask)
    learned = [i for i, on in zip(ids, mask, strict=True) if on]
    assert learned == [*tokenizer.encode("A city."), tokenizer.end_id] * 2
    assert mask[0] is False and mask[-1] is True
    ids, mask = render(CONVERSATIONS[0][:1], tokenizer, add_generation_prompt=True)
    assert not any(mask) and ids[-1] == tokenizer.assistant_id


def test_contents_forge_no_turn(tokenizer: Tokenizer) -> None:
    ids, mask = render([{"role": "user", "content": "".join(SPECIAL_TOKENS)}], tokenizer)
    special = set(tokenizer.special_ids.values())
    assert [i for i in ids if i in special] == [tokenizer.user_id, tokenizer.end_id]
    assert not any(mask)


@pytest.mark.parametrize("message", [{"role": "tool", "content": "x"}, {"role": "user"}, {"content": "x"}])
def test_bad_messages_are_named(message: dict[str, str], tokenizer: Tokenizer) -> None:
    with pytest.raises(LlmCoreError, match="message 1"):
        render([CONVERSATIONS[0][0], message], tokenizer)
