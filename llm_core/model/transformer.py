"""The decoder-only transformer, preset `portable`: the shape of Qwen3-dense, so that its weights load elsewhere.

Tokens become vectors; every block adds what attention gathered from earlier positions and what a gated
feed-forward network made of it; a last norm and a matrix turn each vector into scores for the next token.
Pre-norm: each branch reads a normalized copy, and the residual stream itself is only ever added to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_core.config import ModelConfig
from llm_core.model.attention import KVCache, attention
from llm_core.model.normalization import RMSNorm


class RotaryEmbedding(nn.Module):
    """Rotary positions (Su et al. 2021): pair i of a head's dimensions turns by ``position * base^(-2i/head_dim)``.

    Queries and keys are turned by their own position, so that their product depends on the distance only.
    Dimensions i and i + head_dim/2 form a pair, as in Llama and Qwen.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, context_length: int, base: float) -> None:
        super().__init__()
        pair = torch.arange(0, head_dim, 2, dtype=torch.float32)
        frequency = 1.0 / base ** (pair / head_dim)  # (head_dim / 2), radians per position
        angle = torch.arange(context_length, dtype=torch.float32)[:, None] * frequency  # (time, head_dim / 2)
        # Not saved with the weights: they follow from the configuration. Always fp32: bf16 can't tell 256 from 257.
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin for ``positions`` (time,) or (batch, time), with an axis for the heads put in before the last."""
        return self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)  # (..., time, 1, head_dim / 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of ``x`` (batch, time, heads, head_dim) by its position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def narrow(x: Tensor, linear: nn.Linear) -> Tensor:
    """``x`` in the type that ``linear`` multiplies in, cast once for all the matrices that read it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else linear.weight.dtype)


class Attention(nn.Module):
    """Causal self-attention: grouped-query, each head's queries and keys normalized (QK-norm, Dehghani et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = head_shape(config)
        self.query = nn.Linear(config.dim, self.heads * self.head_dim, bias=False)
        self.key = nn.Linear(config.dim, self.kv_heads * self.head_dim, bias=False)
        self.value = nn.Linear(config.dim, self.kv_heads * self.head_dim, bias=False)
        self.query_norm = RMSNorm(self.head_dim, config.norm_eps)
        self.key_norm = RMSNorm(self.head_dim, config.norm_eps)
        self.output = nn.Linear(self.heads * self.head_dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        batch, time, _ = x.shape
        x = narrow(x, self.query)
        q = self.query(x).view(batch, time, self.heads, self.head_dim)
        k = self.key(x).view(batch, time, self.kv_heads, self.head_dim)
        v = self.value(x).view(batch, time, self.kv_heads, self.head_dim)
        q = rotate(self.query_norm(q), cos, sin)  # (batch, time, heads, head_dim), fp32
        k = rotate(self.key_norm(k), cos, sin)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (batch, heads, time, head_dim)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        gathered = attention(q, k, v, causal=True)  # (batch, heads, time, head_dim)
        return self.output(gathered.transpose(1, 2).reshape(batch, time, self.heads * self.head_dim))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, ffn_dim, bias=False)
        self.up = nn.Linear(dim, ffn_dim, bias=False)
        self.down = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = narrow(x, self.gate)
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One layer, pre-norm: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = SwiGLU(config.dim, config.ffn_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None, layer: int) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, cache, layer))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Transformer(nn.Module):
    """Token ids in, scores for every next token out.

    A new one holds PyTorch's default weights; :func:`llm_core.model.initialization.initialize` gives it seeded ones.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.heads, self.kv_heads, self.head_dim = head_shape(config)
        self.embedding = nn.Embedding(vocab_size, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.rotary = RotaryEmbedding(self.head_dim, config.context_length, config.rope_base)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.head = nn.Linear(config.dim, vocab_size, bias=False)
        if config.tie_embeddings:  # Press & Wolf 2017: one matrix reads tokens and scores them
            self.head.weight = self.embedding.weight

    def hidden(self, tokens: Tensor, *, cache: KVCache | None = None, positions: Tensor | None = None) -> Tensor:
        """States after the final norm, from which the head (or a classifier) reads.

        Args:
            tokens: (batch, time) int64, at most ``context_length`` of them with what the cache holds.
            cache: holds the text before; gets this text's keys and values.
            positions: (time,) or (batch, time); by default they count on from the cache's end.

        Returns:
            (batch, time, dim) fp32
        """
        time = tokens.shape[-1]
        start = cache.length if cache is not None else 0
        if positions is None:
            if start + time > self.config.context_length:
                raise ValueError(f"{start + time} tokens don't fit the context of {self.config.context_length}")
            positions = torch.arange(start, start + time, device=tokens.device)
        cos, sin = self.rotary.tables(positions)
        x = self.dropout(self.embedding(tokens))  # (batch, time, dim)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, cache, layer)
        if cache is not None:
            cache.advance(time)
        return self.norm(x)

    def forward(self, tokens: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Scores of the next token: (batch, time) int64 -> logits (batch, time, vocab) fp32."""
        return self.head(self.hidden(tokens, cache=cache)).float()

    def new_cache(self, batch: int = 1, capacity: int | None = None) -> KVCache:
        """An empty cache on the model's device for ``capacity`` positions (by default the whole window)."""
        return KVCache(
            layers=self.config.layers,
            batch=batch,
            kv_heads=self.kv_heads,
            capacity=capacity or self.config.context_length,
            head_dim=self.head_dim,
            device=self.embedding.weight.device,
            dtype=self.embedding.weight.dtype,
        )

    def num_parameters(self) -> int:
        """Trainable numbers; a tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def head_shape(config: ModelConfig) -> tuple[int, int, int]:
    """(query heads, key and value heads, dimensions of each)."""
    return config.heads, config.kv_heads or config.heads, config.head_dim or config.dim // config.heads
