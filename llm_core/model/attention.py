"""Scaled dot-product attention (Vaswani et al. 2017): the equation, and the fast forms, behind one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_mask(queries: int, keys: int, *, device: torch.device | None = None) -> Tensor:
    """M of the equation: 0 where a query may look, -inf where it may not.

    The queries are the last ``queries`` of ``keys`` positions; each sees itself and what came before.

    Returns:
        (queries, keys) fp32.
    """
    query_at = torch.arange(keys - queries, keys, device=device)[:, None]
    key_at = torch.arange(keys, device=device)[None, :]
    return torch.zeros(queries, keys, device=device).masked_fill(key_at > query_at, -math.inf)


def window_mask(queries: int, keys: int, window: int, *, device: torch.device | None = None) -> Tensor:
    """M of a sliding window (Beltagy et al. 2020): -inf for what is ``window`` or more positions back."""
    query_at = torch.arange(keys - queries, keys, device=device)[:, None]
    key_at = torch.arange(keys, device=device)[None, :]
    return torch.zeros(queries, keys, device=device).masked_fill(query_at - key_at >= window, -math.inf)


def document_mask(document_ids: Tensor) -> Tensor:
    """M of documents that share a row: -inf between tokens of different ones.

    Args:
        document_ids: (batch, time)

    Returns:
        (batch, 1, time, time) fp32
    """
    apart = document_ids[:, None, :, None] != document_ids[:, None, None, :]
    return torch.zeros(apart.shape, device=document_ids.device).masked_fill(apart, -math.inf)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d) + M): how much each query takes from each key, (batch, heads, queries, keys)."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1)


def attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d) + M) V, written as the equation. Slow and plain: the tests compare with it.

    Args:
        q: (batch, heads, queries, head_dim)
        k, v: (batch, heads, keys, head_dim)
        mask: M, broadcast to (batch, heads, queries, keys); None attends everywhere.
    """
    return attention_weights(q, k, mask) @ v  # (batch, heads, queries, head_dim)


@dataclass(frozen=True)
class Sight:
    """Which keys each query sees, in the form that the kernels want. The queries are the last of the keys.

    Made once for a forward pass and read by every layer.
    """

    queries: int
    keys: int
    mask: Tensor | None = None
    """M, broadcast to (batch, heads, queries, keys), where the causal rule alone doesn't say it."""
    blocks: Any = None
    """The same as a BlockMask of FlexAttention, which then computes it."""

    @property
    def is_causal(self) -> bool:
        """Each query sees itself and all before it, and `is_causal` of the kernels means just that."""
        return self.mask is None and self.blocks is None and self.queries == self.keys and self.queries > 1


def look(
    queries: int,
    keys: int,
    *,
    window: int | None = None,
    documents: Tensor | None = None,
    device: torch.device | None = None,
    blockwise: bool = False,
) -> Sight:
    """The sight of causal attention.

    Args:
        window: positions that a query sees at most, itself included.
        documents: (batch, keys) ids; only where queries and keys are the same positions.
        blockwise: let FlexAttention skip what no query sees, where that is more than causality.
    """
    if documents is not None and queries != keys:
        raise ValueError("documents that share a row can't be read in pieces")
    window = None if window is None or window >= keys else window
    if blockwise and queries == keys and (window is not None or documents is not None):
        return Sight(queries, keys, blocks=_block_mask(keys, window, documents, device))
    masks = []
    if queries > 1 and (queries < keys or window is not None or documents is not None):
        # A piece of text after cached text, too: `is_causal` of the kernels would align it at the start.
        masks.append(causal_mask(queries, keys, device=device))
    if window is not None:
        masks.append(window_mask(queries, keys, window, device=device))
    if documents is not None:
        masks.append(document_mask(documents))
    return Sight(queries, keys, mask=sum(masks[1:], masks[0]) if masks else None)


def attention(q: Tensor, k: Tensor, v: Tensor, sight: Sight, *, dropout: float = 0.0) -> Tensor:
    """Attention by fused kernels, which never hold the (queries, keys) matrix of scores.

    Grouped-query attention (Ainslie et al. 2023): with fewer key heads than query heads, every
    ``heads / kv_heads`` neighbouring query heads share one key and value head.

    Args:
        q: (batch, heads, queries, head_dim)
        k, v: (batch, kv_heads, keys, head_dim)
        dropout: share of the weights that are set to zero; not with ``sight.blocks``.
    """
    on_cpu = q.device.type == "cpu"
    # In fp32 on a CPU, also under autocast: there the fused kernel takes 22 ms in fp32 and 30 ms in bfloat16
    # (forward and backward of 8 x 256 tokens, 6 heads of 32, one core with AVX-512 BF16).
    dtype = torch.promote_types(q.dtype, torch.float32) if on_cpu else v.dtype
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    grouped = q.shape[1] != k.shape[1]
    if sight.blocks is not None:
        return _flex_attention(q, k, v, sight, grouped)
    if grouped and (not q.is_cuda or sight.mask is not None):  # these fused kernels want as many key as query heads
        share = q.shape[1] // k.shape[1]
        k, v, grouped = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1), False
    mask = None if sight.mask is None else sight.mask.to(dtype)
    with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=sight.is_causal, enable_gqa=grouped
        )


def _block_mask(time: int, window: int | None, documents: Tensor | None, device: torch.device | None) -> Any:
    """The BlockMask of FlexAttention: blocks of 128 x 128 scores in which nothing is seen are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(batch: Tensor, head: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        answer = key_at <= query_at
        if window is not None:
            answer = answer & (query_at - key_at < window)
        if documents is not None:
            answer = answer & (documents[batch, query_at] == documents[batch, key_at])
        return answer

    batch = None if documents is None else len(documents)
    return create_block_mask(seen, batch, None, time, time, device=str(device or "cpu"))


def _flex_attention(q: Tensor, k: Tensor, v: Tensor, sight: Sight, grouped: bool) -> Tensor:
    """FlexAttention (Dong et al. 2024). On a GPU it has to be compiled: only then is it a fused kernel."""
    from torch.nn.attention.flex_attention import flex_attention

    inside = torch.compiler.is_compiling()  # then all of the model is being compiled, and this with it
    run: Any = _compiled_flex_attention() if q.is_cuda and not inside else flex_attention
    gathered: Tensor = run(q, k, v, block_mask=sight.blocks, enable_gqa=grouped)
    return gathered


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
