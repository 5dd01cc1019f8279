from typing import Any

import pytest

from llm_core.adapt.instruct import conversation_example, conversation_examples
from llm_core.errors import LlmCoreError
from llm_core.tokenizer.encode import Tokenizer
from llm_core.train.batches import IGNORE

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "the cat?"},
    {"role": "assistant", "content": "a small dog"},
    {"role": "user", "content": "why"},
    {"role": "assistant", "content": "the grey wolf"},
]


def test_only_what_the_assistant_says_is_learned(toy: Any) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    row = conversation_example(TALK, tokenizer, 200)
    assert row is not None and isinstance(row.targets, list)
    assert len(row.tokens) == len(row.targets)
    learned = [target for target in row.targets if target != IGNORE]
    end = [tokenizer.end_id]
    assert learned == tokenizer.encode("a small dog") + end + tokenizer.encode("the grey wolf") + end


def test_a_target_is_the_token_that_follows(toy: Any) -> None:
    row = conversation_example(TALK, Tokenizer.load(toy.tokenizer), 200)
    assert row is not None and isinstance(row.targets, list)
    for position, target in enumerate(row.targets[:-1]):
        assert target in (IGNORE, row.tokens[position + 1])


def test_the_first_answer_token_is_predicted_from_the_role_token(toy: Any) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    row = conversation_example(TALK[1:3], tokenizer, 200)
    assert row is not None and isinstance(row.targets, list)
    first = next(i for i, target in enumerate(row.targets) if target != IGNORE)
    assert row.tokens[first] == tokenizer.assistant_id


def test_cut_conversations_keep_their_beginning_and_vanish_without_an_answer(toy: Any) -> None:
    tokenizer = Tokenizer.load(toy.tokenizer)
    whole = conversation_example(TALK, tokenizer, 200)
    assert whole is not None
    first = next(i for i, target in enumerate(whole.targets) if target != IGNORE)  # type: ignore[arg-type]
    cut = conversation_example(TALK, tokenizer, first + 2)
    assert cut is not None and cut.tokens == whole.tokens[: first + 2]
    assert conversation_example(TALK, tokenizer, first) is None
    with pytest.raises(LlmCoreError, match="max_tokens"):
        conversation_examples([TALK], tokenizer, first, "here")
