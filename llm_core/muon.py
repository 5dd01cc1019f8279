"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum, orthogonalized, for matrices."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from llm_core.train.parallel.matrices import on_whole_matrices
from llm_core.train.parallel.parts import local

#: Nesterov momentum at the first step and from step MOMENTUM_STEPS on: early gradients are soon out of date.
FIRST_MOMENTUM, MOMENTUM, MOMENTUM_STEPS = 0.85, 0.95, 100
#: Coefficients of the quintic iteration, tuned for the steepest slope at zero.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def newton_schulz(matrices: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each, roughly: U V^T of the singular value decomposition U S V^T.

    A quintic polynomial is applied again and again; it moves all singular values to between 0.7 and 1.2 without
    ever computing them.

    Args:
        matrices: (count, rows, columns); all of them go through each product together.

    Returns:
        (count, rows, columns) in bfloat16, which is all the precision that this needs.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:  # the products below are square in the number of rows: make that the shorter side
        x = x.mT.contiguous()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # singular values into [0, 1]
    for _ in range(steps):
        gram = torch.bmm(x, x.mT)  # (count, rows, rows)
        # (a + b gram + c gram^2) x, each sum within the product before it
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def even_out(updates: Tensor) -> Tensor:
    """Rows of standing matrices, columns of lying ones, made equally long; each whole matrix as long as it was.

    An orthogonalized matrix has orthonormal vectors along its shorter side only, so along the longer one some neurons
    would learn faster than others. NorMuon's idea (Li et al. 2025, arXiv:2510.05491), without its running mean, and
    with columns where the matrix is lying; both did better that way here.

    Args:
        updates: (count, rows, columns)
    """
    across = -1 if updates.shape[-2] >= updates.shape[-1] else -2
    lengths = torch.linalg.vector_norm(updates, dim=across, keepdim=True, dtype=torch.float32)
    even = lengths.norm(dim=(-2, -1), keepdim=True) / max(updates.shape[-2:]) ** 0.5
    return updates * (even / (lengths + 1e-7)).to(updates.dtype)


def momentum_at(step: int) -> float:
    return FIRST_MOMENTUM + (MOMENTUM - FIRST_MOMENTUM) * min(1.0, step / MOMENTUM_STEPS)


def update_of(matrices: Tensor) -> Tensor:
    """What Muon makes of momenta: (count, rows, columns) to the same shape in bfloat16."""
    return even_out(newton_schulz(matrices))


class Muon:
    """Momentum, orthogonalized: every direction of a matrix moves equally far, and every neuron.

    The rate is scaled by sqrt(max(1, rows / columns)), the convention of the original; so ``lr`` is the size of the
    update's singular values and doesn't depend on the width. Weight decay is decoupled, as in AdamW.

    Matrices of one shape go through Newton-Schulz as one batch. Of a divided parameter the momentum is that of the part
    that lies here.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], *, lr: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.weight_decay = parameters, lr, weight_decay
        self.momentum = {name: torch.zeros_like(local(p)) for name, p in parameters.items()}
        by_shape: dict[object, list[str]] = defaultdict(list)
        for name, parameter in parameters.items():
            assert parameter.ndim == 2, f"{name} is no matrix"
            by_shape[parameter.shape, getattr(parameter, "placements", None)].append(name)
        self._batches = list(by_shape.values())

    @torch.no_grad()
    def step(self, share: float, admitted: Tensor | None = None, number: int = MOMENTUM_STEPS) -> None:
        """Update ``number`` (0, 1, ...) at ``share`` of the peak rate; none where ``admitted`` (on the device) is 0.

        The device is asked nothing: a gradient that isn't admitted, whatever it holds, is replaced by the momentum,
        which a mean with itself doesn't change, and the update is multiplied by the verdict.
        """
        rate, momentum = self.lr * share, momentum_at(number)
        for names in self._batches:
            parameters = [self.parameters[name] for name in names]
            weights = [local(parameter) for parameter in parameters]
            momenta = [self.momentum[name] for name in names]
            gradients = [
                torch.zeros_like(w) if p.grad is None else local(p.grad)
                for p, w in zip(parameters, weights, strict=True)
            ]
            taken = torch.ones((), device=weights[0].device) if admitted is None else admitted
            if admitted is not None:
                gradients = [torch.where(admitted > 0, g, m) for g, m in zip(gradients, momenta, strict=True)]
            torch._foreach_lerp_(momenta, gradients, 1.0 - momentum)
            ahead = torch._foreach_lerp(gradients, momenta, momentum)  # Nesterov: look one step ahead
            updates = on_whole_matrices(update_of, ahead, parameters[0])
            torch._foreach_mul_(weights, 1.0 - rate * self.weight_decay * taken)
            rows, columns = parameters[0].shape
            for weight, update in zip(weights, updates, strict=True):
                weight.addcmul_(update.to(weight.dtype), taken, value=-rate * max(1.0, rows / columns) ** 0.5)
