"""Generation: the cache changes nothing, the window slides, characters stay whole, draws follow the distribution."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from llm_core.config import ModelConfig, TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.generate.engine import StreamDecoder, generate, stream_text
from llm_core.generate.sampling import keep_top_k, keep_top_p, next_token_probabilities, sample
from llm_core.model.initialization import initialize
from llm_core.model.transformer import Transformer
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.train import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["the city of light and the river of light"] * 9
    return Tokenizer(train_tokenizer(texts, TokenizerConfig(vocab_size=300)), "")


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    return random_model(tokenizer)


def random_model(tokenizer: Tokenizer, **changes: Any) -> Transformer:
    shape = {"layers": 2, "dim": 32, "heads": 4, "kv_heads": 2, "ffn_dim": 64, "context_length": 24}
    model = Transformer(ModelConfig.model_validate(shape | changes), tokenizer.vocab_size).eval()
    initialize(model, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def test_cached_greedy_text_is_the_uncached(model: Transformer, tokenizer: Tokenizer) -> None:
    text = prompt = tokenizer.encode("the city")
    with torch.no_grad():
        while len(text) < 24:
            text = [*text, int(model(torch.tensor([text]))[0, -1].argmax())]
    options = {"max_tokens": 24 - len(prompt), "temperature": 0, "stop_ids": ()}
    assert list(generate(model, tokenizer, prompt, **options)) == text[len(prompt) :]


KINDS = [
    {"preset": "gpt2", "kv_heads": 4},
    {"preset": "speed", "sliding_window": 5},
    {"norm_position": "post", "positions": "sinusoidal", "logit_softcap": 3.0},
    {"sliding_window": 7, "full_attention_every": 2, "rope_scaling": {"kind": "llama3"}},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: next(iter(kind.values())))
def test_every_kind_of_model_writes_what_it_would_without_a_cache(kind: dict[str, Any], tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer, **kind)
    text = prompt = tokenizer.encode("the city")
    with torch.no_grad():
        while len(text) < 24:
            text = [*text, int(model(torch.tensor([text]))[0, -1].argmax())]
    options = {"temperature": 0, "stop_ids": ()}
    assert list(generate(model, tokenizer, prompt, max_tokens=24 - len(prompt), **options)) == text[len(prompt) :]
    assert len(list(generate(model, tokenizer, prompt, max_tokens=40, **options))) == 40  # beyond the context, too


def test_a_model_in_bfloat16_writes(tokenizer: Tokenizer) -> None:
    for kind in KINDS:
        exact = random_model(tokenizer, **kind)
        tokens = torch.tensor([tokenizer.encode("the city of light")])
        with torch.no_grad():
            expected, narrow = exact(tokens), copy.deepcopy(exact).to(torch.bfloat16)(tokens)
        assert torch.nn.functional.cosine_similarity(expected.flatten(), narrow.flatten(), dim=0) > 0.99
        assert len(list(generate(exact.to(torch.bfloat16), tokenizer, [7], max_tokens=5, stop_ids=()))) == 5


def test_text_goes_on_when_the_window_is_full(model: Transformer, tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("the city of light " * 20)
    assert len(prompt) > 24
    new = list(generate(model, tokenizer, prompt, max_tokens=60, temperature=1.0, stop_ids=()))
    assert len(new) == 60
    same_end = list(generate(model, tokenizer, prompt[-24:], max_tokens=60, temperature=1.0, stop_ids=()))
    assert new == same_end  # only the window's content counts


def test_seeds_and_stops(model: Transformer, tokenizer: Tokenizer) -> None:
    def text(seed: int, stop: tuple[int, ...] = ()) -> list[int]:
        return list(generate(model, tokenizer, [], max_tokens=20, temperature=1.0, seed=seed, stop_ids=stop))

    assert text(1) == text(1)
    assert text(1) != text(2)
    first = text(1)
    at = first.index(first[5])
    assert text(1, stop=(first[5],)) == first[:at]


def test_generation_leaves_the_models_mode(model: Transformer, tokenizer: Tokenizer) -> None:
    model.train()
    list(generate(model, tokenizer, [7], max_tokens=2))
    assert model.training
    model.eval()


def test_a_strangers_tokenizer_is_refused(tokenizer: Tokenizer) -> None:
    other = Transformer(ModelConfig(layers=1, dim=8, heads=1, ffn_dim=8, context_length=8), 999)
    with pytest.raises(LlmCoreError, match="999"):
        generate(other, tokenizer, [1])


def test_streaming_never_breaks_a_character(tokenizer: Tokenizer) -> None:
    text = "é 東京 🙂!"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)  # characters are spread over several tokens here
    pieces = list(stream_text(tokenizer, ids))
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces)
    decoder = StreamDecoder(tokenizer)
    assert "".join(decoder.push(i) for i in ids[:1]) == ""
    assert decoder.flush() == "\ufffd"


def test_top_k_and_top_p_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.2, 0.3]]))
    assert torch.isinf(keep_top_k(logits, 2)).tolist() == [[True, False, True, False]]
    assert torch.isinf(keep_top_k(logits, 99)).sum() == 0
    # 0.4, then 0.7, then 0.9 of the mass
    for p, kept in [(0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.95, 4), (1e-9, 1)]:
        assert int((keep_top_p(logits, p) > -math.inf).sum()) == kept
    both = next_token_probabilities(logits, top_k=3, top_p=0.6)
    torch.testing.assert_close(both, torch.tensor([[0.0, 4 / 7, 0.0, 3 / 7]]))
    hot, cold = next_token_probabilities(logits, temperature=10), next_token_probabilities(logits, temperature=0.1)
    assert hot.max() < 0.3 and cold.max() > 0.9


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = torch.log(probabilities).expand(20_000, 4)
    drawn = sample(logits, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(shares, probabilities, atol=0.015, rtol=0)
    assert set(sample(logits, top_k=2, generator=torch.Generator().manual_seed(0)).tolist()) == {0, 1}
    assert set(sample(logits, temperature=0).tolist()) == {0}
