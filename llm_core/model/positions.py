"""How a token is told where it stands: rotary, learned or sinusoidal positions, and rotary ones for longer texts."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from llm_core.config import ModelConfig, RopeScaling
from llm_core.model.shape import head_shape

#: YaRN: a pair that turns more often than FAST in the original context is left alone, one that turns less often than
#: SLOW is stretched (Peng et al. 2023, section 3.2: alpha and beta for Llama).
FAST, SLOW = 32, 1


def rotary_frequencies(head_dim: int, base: float, scaling: RopeScaling | None = None) -> tuple[Tensor, float]:
    """Radians per position of each pair, and the factor that queries and keys are multiplied with (YaRN only).

    Unscaled, pair i turns by base^(-2i / head_dim) radians a position (Su et al. 2021).

    Returns:
        ((head_dim / 2,) fp32, factor)
    """
    if scaling is not None and scaling.kind == "ntk":
        # The slowest pair is stretched by `factor`, the fastest hardly at all.
        base = base * scaling.factor ** (head_dim / max(1, head_dim - 2))
    pair = torch.arange(0, head_dim, 2, dtype=torch.float32)
    frequency = 1.0 / base ** (pair / head_dim)
    if scaling is None or scaling.kind == "ntk":
        return frequency, 1.0
    stretched = frequency / scaling.factor
    if scaling.kind == "linear":
        return stretched, 1.0
    if scaling.kind == "llama3":
        return _llama3(frequency, stretched, scaling), 1.0
    kept = _yarn_kept(head_dim, base, scaling.original_context)
    # Attention grows flatter over a longer text; this sharpens it again (the paper's equation 22).
    sharpen = 0.1 * math.log(scaling.factor) + 1.0
    return stretched * (1 - kept) + frequency * kept, sharpen


def _llama3(frequency: Tensor, stretched: Tensor, scaling: RopeScaling) -> Tensor:
    """Short waves as they are, long ones stretched, in between a mean of both (Llama 3.1)."""
    turns = scaling.original_context * frequency / (2 * math.pi)  # within the original context
    span = scaling.high_freq_factor - scaling.low_freq_factor
    kept = ((turns - scaling.low_freq_factor) / span).clamp(0, 1)
    return stretched * (1 - kept) + frequency * kept


def _yarn_kept(head_dim: int, base: float, original_context: int) -> Tensor:
    """Share of each pair's own frequency that stays: 1 for fast pairs, 0 for slow ones, a ramp between."""

    def pair_that_turns(times: float) -> float:
        return head_dim * math.log(original_context / (times * 2 * math.pi)) / (2 * math.log(base))

    first = max(math.floor(pair_that_turns(FAST)), 0)
    last = min(math.ceil(pair_that_turns(SLOW)), head_dim - 1)
    ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - first) / max(last - first, 0.001)
    return 1 - ramp.clamp(0, 1)


class RotaryEmbedding(nn.Module):
    """Rotary positions (Su et al. 2021): every pair of a head's dimensions turns by position times its frequency.

    Queries and keys are turned by their own position, so that their product depends on the distance only.
    Dimensions i and i + head_dim/2 form a pair, as in Llama and Qwen.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, context_length: int, base: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        frequency, factor = rotary_frequencies(head_dim, base, scaling)
        angle = torch.arange(context_length, dtype=torch.float32)[:, None] * frequency  # (time, head_dim / 2)
        # Not saved with the weights: they follow from the configuration. Always fp32: bf16 can't tell 256 from 257.
        self.register_buffer("cos", angle.cos() * factor, persistent=False)
        self.register_buffer("sin", angle.sin() * factor, persistent=False)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin for ``positions`` (time,) or (batch, time), with an axis for the heads put in before the last."""
        return self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)  # (..., time, 1, head_dim / 2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of ``x`` (batch, time, heads, head_dim) by its position's angle."""
    if x.device.type == "cpu" and x.dtype == cos.dtype:
        rotated: Tensor = _RotateOnCPU.apply(x, cos, sin)
        return rotated
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class _RotateOnCPU(torch.autograd.Function):
    """(first, second) * (cos, cos) + (second, first) * (-sin, sin), whole vectors at a time; its gradient turns back.

    The same numbers. As halves, and by autograd, it takes twice the time: a loop over half a head is too short.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = x.shape[-2]
        # (..., time, heads, head_dim): with the heads written out, one row of memory is a whole position
        ctx.cos = torch.cat((cos, cos), dim=-1).repeat_interleave(heads, dim=-2)
        ctx.sin = torch.cat((-sin, sin), dim=-1).repeat_interleave(heads, dim=-2)
        return (x * ctx.cos).addcmul_(swap_halves(x), ctx.sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return (gradient * ctx.cos).addcmul_(swap_halves(gradient), ctx.sin, value=-1.0), None, None


def swap_halves(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((second, first), dim=-1)


class LearnedPositions(nn.Module):
    """A learned vector for each position, added to the token's (GPT-2)."""

    def __init__(self, context_length: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(context_length, dim))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """``x`` (batch, time, dim), ``positions`` (time,) or (batch, time)."""
        return x + F.embedding(positions, self.weight)


class SinusoidalPositions(nn.Module):
    """sqrt(dim) * token + (sin, cos of the position at falling frequencies) (Vaswani et al. 2017, section 3.5)."""

    table: Tensor

    def __init__(self, context_length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoids(context_length, dim), persistent=False)
        self.scale = math.sqrt(dim)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        return x * self.scale + self.table[positions]


def sinusoids(context_length: int, dim: int) -> Tensor:
    """(context_length, dim) fp32: at 2i sin(position / 10000^(2i/dim)), at 2i + 1 its cosine."""
    angle = torch.arange(context_length)[:, None] / 10_000 ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim]


class NoPositions(nn.Module):
    """Nothing is added: the positions come in elsewhere (rotary)."""

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        return x


def position_embedding(config: ModelConfig) -> nn.Module:
    """What is added to the tokens' vectors."""
    if config.positions == "learned":
        return LearnedPositions(config.context_length, config.dim)
    if config.positions == "sinusoidal":
        return SinusoidalPositions(config.context_length, config.dim)
    return NoPositions()


def rotary_embedding(config: ModelConfig) -> RotaryEmbedding | None:
    """What turns queries and keys."""
    if config.positions != "rotary":
        return None
    return RotaryEmbedding(head_shape(config)[2], config.context_length, config.rope_base, config.rope_scaling)


def positions_in_documents(document_ids: Tensor) -> Tensor:
    """Positions that begin at 0 with every document: (batch, time) ids -> (batch, time) int64."""
    index = torch.arange(document_ids.shape[1], device=document_ids.device).expand_as(document_ids)
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values
