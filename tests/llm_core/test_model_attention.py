"""Attention in all its forms against the equation, and positions against transformers' and the papers' formulas."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from llm_core.config import ModelConfig, RopeScaling
from llm_core.model.attention import attention, attention_reference, causal_mask, document_mask, look, window_mask
from llm_core.model.positions import (
    SinusoidalPositions,
    positions_in_documents,
    rotary_frequencies,
    rotate,
)
from llm_core.model.transformer import Transformer

DOCUMENTS = torch.tensor([[4, 4, 4, 0, 0, 9, 9, 9, 9], [1, 2, 2, 2, 2, 2, 2, 2, 3]])


def test_masks_by_hand() -> None:
    def seen(mask: torch.Tensor) -> list[list[int]]:
        return (mask == 0).int().tolist()

    assert seen(causal_mask(2, 3)) == [[1, 1, 0], [1, 1, 1]]
    assert seen(causal_mask(3, 3) + window_mask(3, 3, 2)) == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert seen(document_mask(torch.tensor([[7, 7, 5]]))[0, 0]) == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None, documents: Any) -> torch.Tensor:
    """One query and one key at a time, with nothing of the program's."""
    batch, heads, queries, head_dim = q.shape
    keys, share, out = k.shape[2], heads // k.shape[1], torch.zeros(q.shape)
    for b, h, i in itertools.product(range(batch), range(heads), range(queries)):
        at = keys - queries + i
        first = 0 if window is None else max(0, at - window + 1)
        seen = [j for j in range(first, at + 1) if documents is None or documents[b][j] == documents[b][at]]
        weights = [math.exp(float(q[b, h, i] @ k[b, h // share, j]) / math.sqrt(head_dim)) for j in seen]
        for j, weight in zip(seen, weights, strict=True):
            out[b, h, i] += weight / sum(weights) * v[b, h // share, j]
    return out


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["whole", "documents"])
@pytest.mark.parametrize("window", [None, 1, 3, 9])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_every_form_is_the_equation(kv_heads: int, window: int | None, documents: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    k, v = torch.randn(2, kv_heads, 9, 8), torch.randn(2, kv_heads, 9, 8)
    for queries in (9,) if documents is not None else (1, 5, 9):
        q = torch.randn(2, 4, queries, 8)
        expected = by_hand(q, k, v, window, documents)
        mask = causal_mask(queries, 9)
        mask = mask if window is None else mask + window_mask(queries, 9, window)
        mask = mask if documents is None else mask + document_mask(documents)
        wide_k, wide_v = k.repeat_interleave(4 // kv_heads, 1), v.repeat_interleave(4 // kv_heads, 1)
        torch.testing.assert_close(attention_reference(q, wide_k, wide_v, mask), expected, atol=1e-5, rtol=1e-5)
        for blockwise in (False, True):  # FlexAttention, here without its compiler
            sight = look(queries, 9, window=window, documents=documents, blockwise=blockwise)
            assert (sight.blocks is not None) == (
                blockwise and queries == 9 and (window in (1, 3) or documents is not None)
            )
            torch.testing.assert_close(attention(q, k, v, sight), expected, atol=1e-5, rtol=1e-5)


def test_plain_causality_is_left_to_the_kernel() -> None:
    assert look(8, 8).is_causal and look(8, 8).mask is None
    assert not look(1, 8).is_causal and look(1, 8).mask is None  # one query sees all there is
    assert look(1, 8, window=4).mask is not None and look(4, 8).mask is not None
    with pytest.raises(ValueError, match="in pieces"):
        look(2, 9, documents=DOCUMENTS)


@pytest.mark.parametrize("kind", ["linear", "ntk", "yarn", "llama3"])
@pytest.mark.parametrize(("factor", "original"), [(4.0, 64), (8.0, 512)])
def test_scaled_frequencies_are_those_of_transformers(kind: Any, factor: float, original: int) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    said: dict[str, Any] = {"rope_theta": 10_000.0, "factor": factor, "original_max_position_embeddings": original}
    said["rope_type"] = {"ntk": "dynamic"}.get(kind, kind)
    if kind == "llama3":
        said |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "ntk":  # theirs grows with the text; at the full length it is ours
        said["factor"] = 1.0
    peer = LlamaConfig(hidden_size=128, num_attention_heads=4, max_position_embeddings=original, rope_parameters=said)
    length = int(factor * original) if kind == "ntk" else None
    theirs, their_factor = ROPE_INIT_FUNCTIONS[said["rope_type"]](peer, torch.device("cpu"), seq_len=length)
    scaling = RopeScaling(kind=kind, factor=factor, original_context=original)
    ours, our_factor = rotary_frequencies(32, 10_000.0, scaling)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)
    assert our_factor == pytest.approx(their_factor)
    assert not torch.allclose(ours, rotary_frequencies(32, 10_000.0)[0])


def test_yarn_sharpens_scores_by_the_square_of_its_factor() -> None:
    config = ModelConfig(
        layers=1, dim=16, heads=1, ffn_dim=8, context_length=64, rope_scaling=RopeScaling(kind="yarn", factor=8)
    )
    rotary = Transformer(config, 300).rotary
    assert rotary is not None
    x = torch.randn(1, 1, 1, 16)
    turned = rotate(x, *rotary.tables(torch.tensor([0])))
    torch.testing.assert_close(turned, x * (0.1 * math.log(8) + 1))


def test_sinusoids_are_the_papers() -> None:
    module = SinusoidalPositions(context_length=9, dim=6)
    added = module(torch.zeros(1, 9, 6), torch.arange(9))[0]
    for position, i in itertools.product(range(9), range(3)):
        angle = position / 10_000 ** (2 * i / 6)
        assert float(added[position, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-5)
        assert float(added[position, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-5)
    assert float(module(torch.ones(1, 1, 6), torch.tensor([0]))[0, 0, 0]) == pytest.approx(math.sqrt(6))


def test_positions_begin_again_with_every_document() -> None:
    assert positions_in_documents(DOCUMENTS).tolist() == [
        [0, 1, 2, 0, 1, 0, 1, 2, 3],
        [0, 0, 1, 2, 3, 4, 5, 6, 0],
    ]
