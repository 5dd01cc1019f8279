"""Activation checkpointing (Chen et al. 2016): keep less for the backward pass, and compute it again there."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

_aten = torch.ops.aten
#: What is dear to compute and is kept by `selective`: matrix products and attention. The rest (norms, activations,
#: rotations, casts) is cheap beside them and makes up most of the memory (Korthikanti et al. 2022).
KEPT = [
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
]


def recomputed(block: nn.Module, x: Tensor, *rest: Any, keep_products: bool) -> Tensor:
    """``block(x, *rest)``, of which only ``x`` is kept, and with ``keep_products`` what is dear to compute.

    The random state is kept as well, so that dropout falls the same way again: gradients don't change.
    """
    if not keep_products:
        return checkpoint(block, x, *rest, use_reentrant=False)
    contexts = partial(create_selective_checkpoint_contexts, KEPT)
    return checkpoint(block, x, *rest, use_reentrant=False, context_fn=contexts)
