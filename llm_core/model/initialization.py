"""Seeded weights. Every parameter is set exactly once, and that is checked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from llm_core.model.normalization import RMSNorm
from llm_core.model.transformer import Transformer

#: Standard deviation of every matrix, as in GPT-2: at these widths it keeps the first logits near zero.
STD = 0.02


def initialize(model: Transformer, seed: int) -> None:
    """Normal(0, 0.02) for matrices, ones for norms.

    The matrices that write into the residual stream (``output`` and ``down``) get 0.02 / sqrt(2 * layers), so that
    the sum over all branches starts at the same size for any depth (Radford et al. 2019).
    The numbers come from a generator on the CPU, so that a seed means the same weights on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    residual_std = STD / math.sqrt(2 * model.config.layers)
    done: set[int] = set()

    def once(parameter: Tensor, std: float | None) -> None:
        assert id(parameter) not in done, "a parameter would be initialized twice"
        done.add(id(parameter))
        with torch.no_grad():
            if std is None:
                parameter.fill_(1.0)
            else:
                values = torch.empty(parameter.shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
                parameter.copy_(values)

    once(model.embedding.weight, STD)
    for name, module in model.named_modules():
        if isinstance(module, RMSNorm):
            once(module.weight, None)
        elif isinstance(module, nn.Linear) and not (name == "head" and model.config.tie_embeddings):
            once(module.weight, residual_std if name.endswith((".output", ".down")) else STD)
    missed = [name for name, parameter in model.named_parameters() if id(parameter) not in done]
    assert not missed, f"parameters without an initial value: {missed}"
