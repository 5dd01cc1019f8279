"""The memory of generation."""

from __future__ import annotations

import torch
from torch import Tensor


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
