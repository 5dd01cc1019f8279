"""What is to be made small. An objective returns a sum over valid targets, never a mean.

The loop divides once, by the number in the whole batch. A mean of micro-batches' means would weigh a target more
where its neighbours are masked, which is a well known bug of gradient accumulation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_core.train.batches import IGNORE, Batch

#: Rows whose logits exist at one time, on a CPU and on a GPU (50,304 entries: 0.4 GB in bfloat16).
CHUNK, GPU_CHUNK = 512, 4096
#: Of those, rows that a CPU works on at a time: their scores in fp32 stay in its second-level cache.
PIECE = 64


class Objective(Protocol):
    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The sum of the loss over the batch's valid targets, in nats: fp32 scalar on the device."""


def next_token(model: nn.Module, batch: Batch, *, z_loss: float = 0.0) -> Tensor:
    """Pretraining and instruction tuning: predict each next token that counts. For ``z_loss`` see
    :func:`linear_cross_entropy`."""
    hidden = model.hidden(batch.tokens, document_ids=batch.document_ids)  # type: ignore[operator]
    return linear_cross_entropy(
        hidden,
        model.head.weight,  # type: ignore[union-attr, arg-type]
        batch.targets,
        batch.valid,
        z_loss=z_loss,
        softcap=model.config.logit_softcap,  # type: ignore[union-attr, arg-type]
        compiled=any(getattr(module, "_compiled_call_impl", None) for module in model.modules()),
    )


def classification(model: nn.Module, batch: Batch) -> Tensor:
    """Predict one class a row; ``model(tokens, lengths)`` gives (rows, classes)."""
    logits = model(batch.tokens, batch.lengths)
    return F.cross_entropy(logits.float(), batch.targets, ignore_index=IGNORE, reduction="sum")


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    valid_count: int,
    *,
    z_loss: float = 0.0,
    softcap: float | None = None,
    compiled: bool = False,
) -> Tensor:
    """Cross-entropy of next tokens, from states to loss, without the whole logits.

    Args:
        hidden: (..., dim) states after the final norm.
        weight: (vocab, dim) of the head.
        targets: (...) ids, IGNORE where nothing counts.
        valid_count: how many count.
        z_loss: each target's loss grows by this times log(sum of exp(scores))^2 (Chowdhery et al. 2022).
        softcap: scores are cap * tanh(logits / cap) (Gemma 2).
        compiled: on a GPU, fuse what lies between the matrix products (torch.compile), as where the model is compiled.

    Returns:
        Sum in nats.
    """
    hidden, targets = hidden.flatten(0, -2), targets.flatten()
    if valid_count < len(targets) and not hidden.is_cuda:  # a GPU would have to be waited for: there they count as 0
        chosen = targets != IGNORE
        hidden, targets = hidden[chosen], targets[chosen]
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    with torch.autocast(kind, enabled=False):
        return _LinearCrossEntropy.apply(hidden, weight, targets, dtype, z_loss, softcap, compiled)


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropy of softmax(hidden @ weight^T), chunk by chunk.

    The gradient of the logits is softmax - onehot, which is at hand in the forward pass; taking it there means that
    the logits (targets x vocabulary, by far the largest tensor of a small model) are never whole in memory and never
    computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        z_loss: float,
        softcap: float | None,
        compiled: bool,
    ) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad[:2])
        turn = _compiled() if compiled and hidden.is_cuda else turn_into_gradient
        chunk, piece = (GPU_CHUNK, GPU_CHUNK) if hidden.is_cuda else (CHUNK, PIECE)
        narrow_hidden, narrow_weight = hidden.to(dtype), weight.to(dtype)
        total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=hidden.device)
        hidden_gradient = torch.empty_like(hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        for start in range(0, len(targets), chunk):
            rows, wanted = narrow_hidden[start : start + chunk], targets[start : start + chunk]
            logits = rows @ narrow_weight.T  # (chunk, vocab)
            for at in range(0, len(rows), piece):
                total += turn(logits[at : at + piece], wanted[at : at + piece], z_loss, softcap)
            if hidden_gradient is not None and weight_gradient is not None:
                hidden_gradient[start : start + chunk] = logits @ narrow_weight
                weight_gradient += logits.T @ rows
        if needs_gradient:
            ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * gradients[0], weight_gradient * gradients[0], None, None, None, None, None


def turn_into_gradient(logits: Tensor, targets: Tensor, z_loss: float, softcap: float | None) -> Tensor:
    """Overwrite ``logits`` (rows, vocab) with the gradient of their loss; give the sum of the losses.

    With s = cap tanh(logits / cap), Z = sum_j exp(s_j) and p = exp(s) / Z:
    loss = log Z - s_target + z_loss (log Z)^2, and its gradient by s is p (1 + 2 z_loss log Z) - onehot(target).
    Everything is done in place, in at least fp32: on a CPU each pass over memory costs about as much as the next.
    """
    valid = (targets != IGNORE).unsqueeze(1)  # (rows, 1)
    wanted = targets.clamp(min=0).unsqueeze(1)
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    bent = None
    if softcap is not None:
        bent = torch.tanh(scores / softcap)
        scores = bent * softcap
    peak = scores.amax(dim=1, keepdim=True)
    at_target = scores.gather(1, wanted)
    gradient = scores.sub_(peak).exp_()
    total = gradient.sum(dim=1, keepdim=True)
    log_total = total.log() + peak
    losses = (log_total - at_target + z_loss * log_total.square()) * valid
    gradient.mul_((1.0 + 2.0 * z_loss * log_total) / total * valid)
    gradient.scatter_add_(1, wanted, -valid.to(gradient.dtype))
    if bent is not None:
        gradient.mul_(1.0 - bent.square())  # the derivative of cap tanh(x / cap)
    logits.copy_(gradient)
    return losses.sum()


@cache
def _compiled() -> Callable[[Tensor, Tensor, float, float | None], Tensor]:
    return torch.compile(turn_into_gradient, dynamic=False)
