"""What a configuration says about each layer. Plain numbers, without PyTorch: the plan needs them too."""

from __future__ import annotations

from llm_core.config import ModelConfig

#: Numbers of the residual stream that a value embedding's gate reads.
GATE_DIMS = 32


def head_shape(config: ModelConfig) -> tuple[int, int, int]:
    """(query heads, key and value heads, dimensions of each)."""
    return config.heads, config.kv_heads or config.heads, config.head_dim or config.dim // config.heads


def window_of(config: ModelConfig, layer: int) -> int | None:
    """Positions that a token of ``layer`` (from 0 on) sees at most, itself included. None: all before it."""
    every = config.full_attention_every
    sees_all = bool(every) and (layer + 1) % every == 0
    window = config.sliding_window
    return None if sees_all or window is None or window >= config.context_length else window


def has_value_embedding(config: ModelConfig, layer: int) -> bool:
    """Every other layer, and always the last."""
    return config.value_embeddings and (config.layers - 1 - layer) % 2 == 0


def gate_dims(config: ModelConfig) -> int:
    """What the gate of a value embedding reads: the first numbers of the stream."""
    return min(GATE_DIMS, config.dim)
