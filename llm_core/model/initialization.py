"""Seeded weights. Every parameter is set exactly once, and that is checked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from llm_core.model.block import Mix
from llm_core.model.normalization import LayerNorm, RMSNorm
from llm_core.model.positions import LearnedPositions
from llm_core.model.transformer import Transformer

#: Standard deviation of every matrix, as in GPT-2: at these widths it keeps the first logits near zero.
STD = 0.02
#: How much of the first embedding each block mixes in at first, where it does (nanochat).
FIRST_SHARE = 0.1


def initialize(model: Transformer, seed: int) -> None:
    """Normal(0, 0.02) for matrices and embeddings, ones for norms, zeros for biases.

    The matrices that write into the residual stream (``output`` and ``down``) get 0.02 / sqrt(2 * layers), so that
    the sum over all branches starts at the same size for any depth (Radford et al. 2019); with ``zero_init`` they
    get zeros, so that every block begins by changing nothing (Zhang et al. 2019).
    The numbers come from a generator on the CPU, so that a seed means the same weights on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    zero = model.config.zero_init
    residual_std = 0.0 if zero else STD / math.sqrt(2 * model.config.layers)
    done: set[int] = set()

    def once(parameter: Tensor, *, mean: float = 0.0, std: float = 0.0) -> None:
        assert id(parameter) not in done, "a parameter would be initialized twice"
        done.add(id(parameter))
        with torch.no_grad():
            if std == 0.0:
                parameter.fill_(mean)
            else:
                values = torch.empty(parameter.shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
                parameter.copy_(values)

    for name, module in model.named_modules():
        if isinstance(module, RMSNorm):
            once(module.weight, mean=1.0)
        elif isinstance(module, LayerNorm):
            once(module.weight, mean=1.0)
            once(module.bias)
        elif isinstance(module, Mix):
            once(module.stream, mean=1.0)
            once(module.embedding, mean=FIRST_SHARE)
        elif isinstance(module, nn.Embedding | LearnedPositions):
            once(module.weight, std=STD)
        elif isinstance(module, nn.Linear) and not (name == "head" and model.config.tie_embeddings):
            once(module.weight, std=residual_std if name.endswith((".output", ".down")) else STD)
            if module.bias is not None:
                once(module.bias)
    missed = [name for name, parameter in model.named_parameters() if id(parameter) not in done]
    assert not missed, f"parameters without an initial value: {missed}"
