"""From scores to the next token: temperature, top-k, top-p. Pure functions on logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the ``k`` highest scores of each row, the others become -inf. (Fan et al. 2018)"""
    k = min(k, logits.shape[-1])
    kept = torch.topk(logits, k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, kept.indices, kept.values)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens whose probabilities add up to at least ``p`` (nucleus, Holtzman et al. 2020).

    The likeliest token always stays.
    """
    ordered, order = torch.sort(logits, dim=-1, descending=True)
    probabilities = torch.softmax(ordered, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # mass of the likelier ones
    kept = ordered.masked_fill(before >= p, -math.inf)
    kept[..., 0] = ordered[..., 0]
    return torch.full_like(logits, -math.inf).scatter(-1, order, kept)


def next_token_probabilities(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The distribution that the next token is drawn from: temperature first, then top-k, then top-p.

    Args:
        logits: (..., vocab)
        temperature: above 0; below 1 sharpens, above 1 flattens.

    Returns:
        (..., vocab) probabilities in fp32.
    """
    # The likeliest at 0, so that a temperature near 0 gives -inf to the others and never infinity to it.
    scores = logits.float()
    scores = (scores - scores.amax(dim=-1, keepdim=True)) / max(temperature, torch.finfo(torch.float32).tiny)
    if top_k is not None:
        scores = keep_top_k(scores, top_k)
    if top_p is not None and top_p < 1.0:
        scores = keep_top_p(scores, top_p)
    return torch.softmax(scores, dim=-1)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a token for each row: (batch, vocab) -> (batch,) int64. Temperature 0 takes the likeliest (greedy).

    The draw itself is on the CPU, so that a seed gives the same text on every device that computes the same scores.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    return torch.multinomial(probabilities.cpu(), 1, generator=generator).squeeze(-1).to(logits.device)
