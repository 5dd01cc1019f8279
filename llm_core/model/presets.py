"""What a shape costs: parameters, floating point operations and memory, as plain functions of the configuration.

No PyTorch in here: `groundup plan` asks before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_core.config import ModelConfig, OptimizerConfig
from llm_core.model.shape import gate_dims, has_value_embedding, head_shape, window_of

Checkpointing = Literal["none", "selective", "full"]
#: From the most memory to the least.
CHECKPOINTING: tuple[Checkpointing, ...] = ("none", "selective", "full")
#: Bytes of a number.
FP32 = 4
BYTES = {"fp32": 4, "bf16": 2}
#: Matrices of a feed-forward network.
FEED_FORWARD_MATRICES = {"swiglu": 3, "gelu": 2, "relu_squared": 2}


@dataclass(frozen=True)
class ParameterCounts:
    """Trainable numbers by place."""

    embedding: int
    """Tokens, learned positions and value embeddings."""
    blocks: int
    """All layers, and the last norm."""
    head: int
    """0 where it is the embedding's matrix."""

    @property
    def total(self) -> int:
        return self.embedding + self.blocks + self.head


def matrix_parameters_per_layer(config: ModelConfig) -> int:
    """Weights of one block that multiply activations (without the small gates of value embeddings)."""
    heads, kv_heads, head_dim = head_shape(config)
    attention = config.dim * head_dim * (2 * heads + 2 * kv_heads)  # query, output; key, value
    return attention + FEED_FORWARD_MATRICES[config.feed_forward] * config.dim * config.ffn_dim


def parameter_counts(config: ModelConfig, vocab_size: int) -> ParameterCounts:
    """Every trainable number once."""
    heads, kv_heads, head_dim = head_shape(config)
    norm = {"rmsnorm": 1, "rmsnorm_plain": 0, "layernorm": 2}[config.norm]  # numbers a dimension
    in_block = matrix_parameters_per_layer(config) + norm * 2 * config.dim
    if config.qk_norm:
        in_block += norm * 2 * head_dim
    if config.bias:
        hidden = (FEED_FORWARD_MATRICES[config.feed_forward] - 1) * config.ffn_dim
        in_block += head_dim * (heads + 2 * kv_heads) + config.dim + hidden + config.dim
    if config.residual_scalars:
        in_block += 2
    with_values = sum(has_value_embedding(config, layer) for layer in range(config.layers))
    gates = with_values * gate_dims(config) * kv_heads
    last_norm = norm * config.dim if config.norm_position == "pre" else 0
    positions = config.context_length * config.dim if config.positions == "learned" else 0
    return ParameterCounts(
        embedding=vocab_size * config.dim + positions + with_values * vocab_size * kv_heads * head_dim,
        blocks=config.layers * in_block + gates + last_norm,
        head=0 if config.tie_embeddings else vocab_size * config.dim,
    )


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """All trainable numbers; a tied embedding counts once."""
    return parameter_counts(config, vocab_size).total


def keys_seen(window: int | None, context_length: int) -> float:
    """Positions that a token looks at, itself included, on average over a full context."""
    seen = min(window or context_length, context_length)
    return (seen * (seen + 1) / 2 + (context_length - seen) * seen) / context_length


def forward_flops_per_token(config: ModelConfig, vocab_size: int, context_length: int | None = None) -> float:
    """Multiplications and additions of one token's forward pass, averaged over a full context.

    Two a weight (a multiplication and an addition) for the blocks and the head; looking up an embedding is free.
    Attention adds two products of ``head_dim`` with each position that a token sees: half the context on average,
    less in a sliding window. (Public figures often count the whole context for all: Chowdhery et al. 2022.)
    """
    heads, _, head_dim = head_shape(config)
    context = context_length or config.context_length
    matrices = 2 * (config.layers * matrix_parameters_per_layer(config) + vocab_size * config.dim)
    seen = sum(keys_seen(window_of(config, layer), context) for layer in range(config.layers))
    return matrices + heads * (2 * 2 * head_dim) * seen


def training_flops_per_token(config: ModelConfig, vocab_size: int, context_length: int | None = None) -> float:
    """Forward and backward: the backward pass costs twice the forward one (Kaplan et al. 2020)."""
    return 3 * forward_flops_per_token(config, vocab_size, context_length)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device while it trains, by what they hold."""

    weights: int
    """fp32, and for bf16 the narrow copies that the matrix products read."""
    gradients: int
    optimizer: int
    average: int
    """The moving average of the weights, where it is kept."""
    activations: int
    """What a micro-batch keeps for its backward pass."""
    loss: int
    """One chunk of logits, and the gradient of the head that the chunks add up."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.activations + self.loss

    @property
    def fixed(self) -> int:
        """What doesn't grow with the micro-batch."""
        return self.total - self.activations


def activation_bytes_per_token(config: ModelConfig, precision: str, checkpointing: Checkpointing) -> int:
    """What every token leaves in all blocks for the backward pass, in the manner of Korthikanti et al. 2022.

    The residual stream and what norms read are fp32; what the matrices and attention read is ``precision``. Fused
    attention keeps its queries, keys, values, its result and one number a head, never the scores. A compiled model
    fuses what is between the products and keeps less.
    """
    return config.layers * _kept_per_layer(config, precision, checkpointing)


def _kept_per_layer(config: ModelConfig, precision: str, checkpointing: Checkpointing) -> int:
    heads, kv_heads, head_dim = head_shape(config)
    narrow, d, f = BYTES[precision], config.dim, config.ffn_dim
    q, kv = heads * head_dim, kv_heads * head_dim
    if checkpointing == "full":
        return FP32 * d  # the block's input
    into_hidden = FEED_FORWARD_MATRICES[config.feed_forward] - 1  # matrices that the stream goes through
    attended = narrow * q + FP32 * heads
    if checkpointing == "selective":
        products = narrow * (q + 2 * kv + d + into_hidden * f + d)
        return FP32 * d + products + attended
    # Read by: norm and matrices, twice.
    kept = 2 * (FP32 * d + narrow * d)
    kept += narrow * (q + 2 * kv) + attended
    if config.qk_norm:
        kept += FP32 * (q + kv)
    # swiglu: gate, its silu, up and their product; gelu: before and after; relu_squared: relu and its square.
    kept += narrow * f * (4 if config.feed_forward == "swiglu" else 2)
    if config.dropout:
        kept += 2 * d  # which numbers fell away, a byte each
    return kept


def memory_plan(
    config: ModelConfig,
    vocab_size: int,
    *,
    optimizer: OptimizerConfig,
    precision: str,
    rows: int,
    row_tokens: int | None = None,
    checkpointing: Checkpointing = "none",
    average: bool = False,
    divided_among: int = 1,
    chunk_rows: int = 4096,
) -> MemoryPlan:
    """Expected memory of training, without what the allocator and the kernels take for themselves.

    Args:
        rows: of a micro-batch.
        row_tokens: by default the context.
        average: a moving average of the weights is kept (``ema_decay``).
        divided_among: devices that share weights, gradients, optimizer state and average (FSDP).
        chunk_rows: rows of logits that exist at one time (:data:`llm_core.train.objectives.GPU_CHUNK`).
    """
    tokens = rows * (row_tokens or config.context_length)
    counts = parameter_counts(config, vocab_size)
    by_muon = config.layers * matrix_parameters_per_layer(config) if optimizer.name == "muon" else 0
    narrow = BYTES[precision]
    copies = 0 if precision == "fp32" else narrow * (counts.blocks + vocab_size * config.dim)
    activations = tokens * activation_bytes_per_token(config, precision, checkpointing)
    if checkpointing != "none":  # one block at a time is whole again in the backward pass
        activations += tokens * _kept_per_layer(config, precision, "none")
    activations += tokens * FP32 * config.dim * 3  # the embedded tokens, the last norm's states and their gradient
    return MemoryPlan(
        weights=FP32 * counts.total // divided_among + copies,
        gradients=FP32 * counts.total // divided_among,
        optimizer=FP32 * (by_muon + 2 * (counts.total - by_muon)) // divided_among,
        average=FP32 * counts.total // divided_among if average else 0,
        activations=activations,
        loss=(FP32 + narrow) * vocab_size * (min(tokens, chunk_rows) + config.dim),
    )
