"""One layer: attention gathers from other positions, a feed-forward network works on each by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_core.config import ModelConfig
from llm_core.model.attention import Sight, attention
from llm_core.model.cache import KVCache
from llm_core.model.feed_forward import feed_forward
from llm_core.model.normalization import normalization
from llm_core.model.positions import rotate
from llm_core.model.precision import narrow
from llm_core.model.shape import gate_dims, has_value_embedding, head_shape, window_of


@dataclass(frozen=True)
class Surroundings:
    """What the blocks of one forward pass are told besides the residual stream."""

    sights: dict[int | None, Sight]
    """Which keys the queries see, by sliding window."""
    rotation: tuple[Tensor, Tensor] | None
    """cos and sin of rotary positions, each (..., time, 1, head_dim / 2)."""
    first: Tensor | None
    """The stream before the first block (batch, time, dim), where the blocks mix it in."""
    cache: KVCache | None


class Attention(nn.Module):
    """Causal self-attention, its key and value heads shared by groups of query heads (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        heads, kv_heads, self.head_dim = head_shape(config)
        self.layer, self.window, self.dropout = layer, window_of(config, layer), config.dropout
        self.query = nn.Linear(config.dim, heads * self.head_dim, bias=config.bias)
        self.key = nn.Linear(config.dim, kv_heads * self.head_dim, bias=config.bias)
        self.value = nn.Linear(config.dim, kv_heads * self.head_dim, bias=config.bias)
        # QK-norm (Dehghani et al. 2023): no score can grow beyond bounds.
        self.query_norm = normalization(config, self.head_dim) if config.qk_norm else nn.Identity()
        self.key_norm = normalization(config, self.head_dim) if config.qk_norm else nn.Identity()
        self.output = nn.Linear(heads * self.head_dim, config.dim, bias=config.bias)
        self.value_gate: nn.Linear | None = None
        if has_value_embedding(config, layer):
            self.value_gate = nn.Linear(gate_dims(config), kv_heads, bias=False)

    def project(self, x: Tensor, around: Surroundings, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (batch, heads, time, head_dim), keys and values (batch, kv_heads, time, head_dim) of ``x``."""
        batch, time, _ = x.shape
        x = narrow(x, self.query)
        # The number of heads is left open (-1): with tensor parallelism each process has its share of them.
        q = self.query_norm(self.query(x).view(batch, time, -1, self.head_dim))
        k = self.key_norm(self.key(x).view(batch, time, -1, self.head_dim))
        v = self.value(x).view(batch, time, -1, self.head_dim)
        if around.rotation is not None:
            q, k = rotate(q, *around.rotation), rotate(k, *around.rotation)
        if self.value_gate is not None and value is not None:
            gate = 2 * torch.sigmoid(self.value_gate(x[..., : self.value_gate.in_features]))  # (batch, time, kv_heads)
            v = v + gate[..., None] * value.view_as(v).to(v.dtype)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, around: Surroundings, value: Tensor | None = None) -> Tensor:
        batch, time, _ = x.shape
        q, k, v = self.project(x, around, value)
        if around.cache is not None:
            k, v = around.cache.append(self.layer, k, v)
        sight = around.sights[self.window]
        gathered = attention(q, k, v, sight, dropout=self.dropout if self.training else 0.0)
        return self.output(narrow(gathered.transpose(1, 2).reshape(batch, time, -1), self.output))


class Mix(nn.Module):
    """stream * x + embedding * first, with a learned number for each (modded-nanogpt): late blocks can read the token
    itself again."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = nn.Parameter(torch.ones(1))
        self.embedding = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        return self.stream * x + self.embedding * first


class Block(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + feed_forward(norm(x)). The stream itself is only ever added to."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.mix = Mix() if config.residual_scalars else None
        self.attention_norm = normalization(config, config.dim)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = normalization(config, config.dim)
        self.feed_forward = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, around: Surroundings, value: Tensor | None = None) -> Tensor:
        """One layer.

        Args:
            x: (batch, time, dim), the residual stream.
            value: (batch, time, kv_heads * head_dim), what the tokens themselves add to the values, in the layers that
                :func:`llm_core.model.shape.has_value_embedding` names.
        """
        if self.mix is not None and around.first is not None:
            x = self.mix(x, around.first)
        return self.branches(x, around, value)

    def branches(self, x: Tensor, around: Surroundings, value: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), around, value))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class PostNormBlock(Block):
    """norm(x + attention(x)), then norm(x + feed_forward(x)) (Vaswani et al. 2017)."""

    def branches(self, x: Tensor, around: Surroundings, value: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, around, value)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


def block(config: ModelConfig, layer: int) -> Block:
    return PostNormBlock(config, layer) if config.norm_position == "post" else Block(config, layer)
