"""What is to be made small. An objective returns a sum over valid targets and their number, never a mean.

The loop divides once, by the number in the whole batch. A mean of micro-batches' means would weigh a target more
where its neighbours are masked, which is a well known bug of gradient accumulation.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_core.train.batches import IGNORE, Batch

#: Rows of the logits that exist at one time. On a CPU they then stay in its cache.
CHUNK = 512


class Objective(Protocol):
    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the loss over the batch's valid targets, in nats: fp32 scalar on the device."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropy of softmax(hidden @ weight^T), chunk by chunk.

    The gradient of the logits is softmax - onehot, which is at hand in the forward pass; taking it there means that
    the logits (targets x vocabulary, by far the largest tensor of a small model) are never whole in memory and never
    computed twice.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad[:2])
        narrow_weight = weight.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_gradient = torch.empty_like(hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        for start in range(0, len(targets), CHUNK):
            rows, wanted = hidden[start : start + CHUNK].to(dtype), targets[start : start + CHUNK, None]
            logits = rows @ narrow_weight.T  # (chunk, vocab)
            log_probabilities = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
            at_target = log_probabilities.gather(1, wanted)  # (chunk, 1)
            total -= at_target.sum()
            if hidden_gradient is not None and weight_gradient is not None:
                narrow = torch.exp(log_probabilities, out=log_probabilities).to(dtype)  # softmax
                narrow.scatter_(1, wanted, at_target.exp().sub_(1.0).to(dtype))  # minus one at the target
                hidden_gradient[start : start + CHUNK] = narrow @ narrow_weight
                weight_gradient += narrow.T @ rows
        if needs_gradient:
            ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], weight_gradient * gradients[0], None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, valid_count: int) -> Tensor:
    """Cross-entropy of next tokens, from states to loss, without the whole logits.

    Args:
        hidden: (..., dim) states after the final norm.
        weight: (vocab, dim) of the head.
        targets: (...) ids, IGNORE where nothing counts; those rows cost nothing.
        valid_count: how many count.

    Returns:
        Sum in nats.
    """
    hidden, targets = hidden.flatten(0, -2), targets.flatten()
    if valid_count < len(targets):
        valid = targets != IGNORE
        hidden, targets = hidden[valid], targets[valid]
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    with torch.autocast(kind, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, dtype)


def next_token(model: nn.Module, batch: Batch) -> Tensor:
    """Pretraining and instruction tuning: predict each next token that counts."""
    hidden = model.hidden(batch.tokens)  # type: ignore[operator]
    return linear_cross_entropy(hidden, model.head.weight, batch.targets, batch.valid)  # type: ignore[union-attr, arg-type]


def classification(model: nn.Module, batch: Batch) -> Tensor:
    """Predict one class a row; ``model(tokens, lengths)`` gives (rows, classes)."""
    logits = model(batch.tokens, batch.lengths)
    return F.cross_entropy(logits.float(), batch.targets, ignore_index=IGNORE, reduction="sum")
