"""Normalization of each position's vector: root mean square (Zhang & Sennrich 2019), or mean and variance
(Ba et al. 2016). In fp32 whatever comes in, and fp32 comes out: squares lose too much in narrow types."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from llm_core.config import ModelConfig


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis: the equation itself, which the tests compare with."""
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight


class _RMSNormOnCPU(torch.autograd.Function):
    """The equation with its gradient written out: scale (g w - n mean(g w n)), with n = x scale and scale = 1 / rms(x).

    PyTorch has a fused kernel on GPUs only; on a CPU autograd walks over some fifteen full-size temporaries. There is
    one for layer normalization, whose gradient has one term more, - mean(g w): told that the mean is 0 it gives all of
    the rest in one pass, and that term is added again. A third less time than by elementary operations.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        scale = mean_square.add_(eps).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, scale, weight)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        by_x, by_weight, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, x, weight.shape, torch.zeros_like(scale), scale, weight, None, [True, True, False]
        )
        mean = torch.mv(gradient.view(-1, len(weight)), weight).view(scale.shape).div_(len(weight))
        return by_x.add_(mean.mul_(scale)), by_weight, None


class RMSNorm(nn.Module):
    """x / rms(x) * weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x, weight = x.float(), self.weight.float()
        if x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return _RMSNormOnCPU.apply(x, weight, self.eps)
        return F.rms_norm(x, weight.shape, weight, self.eps)


class PlainRMSNorm(nn.Module):
    """x / rms(x), without weights: the matrices after it can scale as well."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.dim,), None, self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight.float(), self.bias.float(), self.eps)


def normalization(config: ModelConfig, dim: int) -> nn.Module:
    kinds: dict[str, type[nn.Module]] = {"rmsnorm": RMSNorm, "rmsnorm_plain": PlainRMSNorm, "layernorm": LayerNorm}
    return kinds[config.norm](dim, config.norm_eps)
