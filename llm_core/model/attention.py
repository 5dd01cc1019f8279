"""Scaled dot-product attention (Vaswani et al. 2017): the equation, the fast form, and the cache for generating."""

from __future__ import annotations

import math
from contextlib import nullcontext

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


def attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(d) + M) V, written as the equation. Slow and plain: the tests compare with it.

    Args:
        q: (batch, heads, queries, head_dim)
        k, v: (batch, heads, keys, head_dim)
        mask: M, broadcast to (batch, heads, queries, keys); None attends everywhere.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (batch, heads, queries, keys)
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, dim=-1) @ v  # (batch, heads, queries, head_dim)


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True) -> Tensor:
    """The same by PyTorch's fused kernels, which never hold the (queries, keys) matrix of scores.

    Grouped-query attention (Ainslie et al. 2023): with fewer key heads than query heads, every
    ``heads / kv_heads`` neighbouring query heads share one key and value head.

    Args:
        q: (batch, heads, queries, head_dim)
        k, v: (batch, kv_heads, keys, head_dim)
        causal: queries are the last positions of the keys and don't look ahead.
    """
    queries, keys = q.shape[-2], k.shape[-2]
    on_cpu = q.device.type == "cpu"
    # In fp32 on a CPU, also under autocast: there the fused kernel takes 22 ms in fp32 and 30 ms in bfloat16
    # (forward and backward of 8 x 256 tokens, 6 heads of 32, one core with AVX-512 BF16).
    dtype = torch.promote_types(q.dtype, torch.float32) if on_cpu else v.dtype
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    grouped = q.shape[1] != k.shape[1]
    if grouped and not q.is_cuda:  # the CPU's fused kernel wants as many key heads as query heads
        share = q.shape[1] // k.shape[1]
        k, v, grouped = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1), False
    mask = None
    if causal and 1 < queries < keys:  # a piece of text after cached text; `is_causal` would align it at the start
        mask = causal_mask(queries, keys, device=q.device).to(q.dtype)
    with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal and queries == keys and queries > 1, enable_gqa=grouped
        )


class KVCache:
    """Keys and values of the text so far, so that each new token costs one step and not the whole text again.

    Memory is taken once: (layers, 2, batch, kv_heads, capacity, head_dim).
    """

    def __init__(
        self,
        *,
        layers: int,
        batch: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.store = torch.zeros(layers, 2, batch, kv_heads, capacity, head_dim, device=device, dtype=dtype)
        self.capacity = capacity
        self.length = 0  # positions that every layer holds already

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values (batch, kv_heads, new, head_dim) behind the old ones and return all of them."""
        end = self.length + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} positions, {end} were asked for")
        self.store[layer, 0, :, :, self.length : end] = k
        self.store[layer, 1, :, :, self.length : end] = v
        return self.store[layer, 0, :, :, :end].to(k.dtype), self.store[layer, 1, :, :, :end].to(v.dtype)

    def advance(self, new: int) -> None:
        """After all layers have appended: ``new`` more positions are held."""
        self.length += new

    def reset(self) -> None:
        self.length = 0
