"""What a shape costs: parameters and floating point operations, as plain functions of the configuration."""

from __future__ import annotations

from llm_core.config import ModelConfig
from llm_core.model.shape import head_shape


def matrix_parameters_per_layer(config: ModelConfig) -> int:
    """Weights of one block that multiply activations."""
    heads, kv_heads, head_dim = head_shape(config)
    attention = config.dim * head_dim * (2 * heads + 2 * kv_heads)  # query, output; key, value
    feed_forward = 3 * config.dim * config.ffn_dim  # gate, up, down
    return attention + feed_forward


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """All trainable numbers; a tied embedding counts once."""
    _, _, head_dim = head_shape(config)
    norms = config.layers * (2 * config.dim + 2 * head_dim) + config.dim
    embeddings = vocab_size * config.dim * (1 if config.tie_embeddings else 2)
    return config.layers * matrix_parameters_per_layer(config) + norms + embeddings


def forward_flops_per_token(config: ModelConfig, vocab_size: int, context_length: int | None = None) -> float:
    """Multiplications and additions of one token's forward pass, averaged over a full window.

    Two a weight (a multiplication and an addition) for the blocks and the head; looking up an embedding is free.
    Attention adds two products of ``head_dim`` with each earlier position, on average half the window.
    """
    heads, _, head_dim = head_shape(config)
    window = context_length or config.context_length
    matrices = 2 * (config.layers * matrix_parameters_per_layer(config) + vocab_size * config.dim)
    return matrices + config.layers * heads * (2 * 2 * head_dim) * window / 2


def training_flops_per_token(config: ModelConfig, vocab_size: int, context_length: int | None = None) -> float:
    """Forward and backward: the backward pass costs twice the forward one (Kaplan et al. 2020)."""
    return 3 * forward_flops_per_token(config, vocab_size, context_length)
