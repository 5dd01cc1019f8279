"""The network that every position goes through by itself, between two attentions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from llm_core.config import ModelConfig
from llm_core.model.precision import narrow


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.dim, config.ffn_dim, bias=config.bias)
        self.up = nn.Linear(config.dim, config.ffn_dim, bias=config.bias)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = narrow(x, self.gate)
        return self.down(F.silu(self.gate(x)) * self.up(x))


class GELU(nn.Module):
    """down(gelu(up(x))) with the tanh approximation (Hendrycks & Gimpel 2016), as GPT-2 has it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, config.ffn_dim, bias=config.bias)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(narrow(x, self.up)), approximate="tanh"))


class SquaredReLU(nn.Module):
    """down(relu(up(x))^2) (So et al. 2021)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, config.ffn_dim, bias=config.bias)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(narrow(x, self.up))).square())


def feed_forward(config: ModelConfig) -> nn.Module:
    kinds: dict[str, type[nn.Module]] = {"swiglu": SwiGLU, "gelu": GELU, "relu_squared": SquaredReLU}
    return kinds[config.feed_forward](config)
