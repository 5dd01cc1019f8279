"""AdamW, and Muon for the matrices inside the blocks. Every parameter is in exactly one group, and that is asserted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_core.config import OptimizerConfig
from llm_core.train.parallel.matrices import on_whole_matrices
from llm_core.train.parallel.parts import is_divided, local, split_like

#: Nesterov momentum of Muon; Jordan et al. 2024.
MUON_MOMENTUM = 0.95
#: Coefficients of the quintic iteration, tuned for the steepest slope at zero; Jordan et al. 2024.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
#: What AdamW keeps of each parameter besides the number of updates: mean gradient and mean squared gradient.
ADAMW_MEANS = ("exp_avg", "exp_avg_sq")

Named = dict[str, nn.Parameter]


@dataclass(frozen=True)
class ParameterGroups:
    """Names to parameters, by how they are updated."""

    muon: Named
    """2-D weights inside the blocks, where Muon is asked for."""
    decayed: Named
    """Other weights of two or more dimensions: AdamW with weight decay."""
    plain: Named
    """Norms and biases: AdamW without decay."""


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> ParameterGroups:
    """Put every trainable parameter of ``model`` into exactly one group.

    A tied matrix has one name and one place. The embedding and the head never go to Muon: their rows are
    looked up one by one, which is not what orthogonalizing a whole matrix is for.
    """
    muon: Named = {}
    decayed: Named = {}
    plain: Named = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_block = "blocks." in name
        if config.name == "muon" and parameter.ndim == 2 and in_block:
            muon[name] = parameter
        elif parameter.ndim >= 2:
            decayed[name] = parameter
        else:
            plain[name] = parameter
    placed = [id(p) for group in (muon, decayed, plain) for p in group.values()]
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(placed) == len(set(placed)), "a parameter is in two optimizer groups"
    assert set(placed) == wanted, "a parameter is in no optimizer group"
    return ParameterGroups(muon, decayed, plain)


def newton_schulz(matrices: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each, roughly: U V^T of the singular value decomposition U S V^T.

    A quintic polynomial is applied again and again; it moves all singular values to between 0.7 and 1.2 without
    ever computing them. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon

    Args:
        matrices: (count, rows, columns); all of them go through each product together.

    Returns:
        (count, rows, columns) in bfloat16, which is all the precision that this needs.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:  # the products below are square in the number of rows: make that the shorter side
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # singular values into [0, 1]
    for _ in range(steps):
        gram = x @ x.mT  # (count, rows, rows)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


class Muon:
    """Momentum, orthogonalized (Jordan et al. 2024): every direction of a matrix moves equally far.

    The rate is scaled by sqrt(max(1, rows / columns)), the convention of the original; so ``lr`` is the size of the
    update's singular values and doesn't depend on the width. Weight decay is decoupled, as in AdamW.

    Matrices of one shape are stacked and go through Newton-Schulz as one batch.
    """

    def __init__(self, parameters: Named, *, lr: float, weight_decay: float) -> None:
        self.parameters, self.lr, self.weight_decay = parameters, lr, weight_decay
        self.momentum = {name: torch.zeros_like(local(p)) for name, p in parameters.items()}
        by_shape: dict[object, list[str]] = defaultdict(list)
        for name, parameter in parameters.items():
            by_shape[parameter.shape, getattr(parameter, "placements", None)].append(name)
        self._stacks = list(by_shape.values())

    @torch.no_grad()
    def step(self, share: float, admitted: Tensor | None = None) -> None:
        for names in self._stacks:
            parameters = [self.parameters[name] for name in names]
            weights = [local(parameter) for parameter in parameters]
            gradients = [
                torch.zeros_like(w) if p.grad is None else local(p.grad)
                for p, w in zip(parameters, weights, strict=True)
            ]
            momenta = [self.momentum[name] for name in names]
            if admitted is not None and not admitted.item():
                continue
            torch._foreach_lerp_(momenta, gradients, 1.0 - MUON_MOMENTUM)
            ahead = torch._foreach_lerp(gradients, momenta, MUON_MOMENTUM)  # Nesterov: look one step ahead
            updates = [u.to(weights[0].dtype) for u in on_whole_matrices(newton_schulz, ahead, parameters[0])]
            rows, columns = parameters[0].shape
            rate = self.lr * share
            torch._foreach_mul_(weights, 1.0 - rate * self.weight_decay)
            torch._foreach_add_(weights, updates, alpha=-rate * max(1.0, rows / columns) ** 0.5)


class Optimizer:
    """AdamW alone, or Muon and AdamW side by side, behind one ``step``.

    Its state is a flat dictionary of named tensors (:meth:`state`), so that a checkpoint needs no pickle.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self.groups = parameter_groups(model, config)
        self.config = config
        self.muon = Muon(self.groups.muon, lr=config.muon_lr, weight_decay=config.weight_decay)
        self._named = self.groups.decayed | self.groups.plain
        # AdamW works element by element, so each process updates the parts that it holds.
        self._parts = {name: nn.Parameter(local(p)) if is_divided(p) else p for name, p in self._named.items()}
        groups = [
            {"params": [self._parts[name] for name in self.groups.decayed], "weight_decay": config.weight_decay},
            {"params": [self._parts[name] for name in self.groups.plain], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=True,  # one pass over all memory; half the time of the default on the CPU too
        )
        for parameter in self._parts.values():  # now, not at the first step: the state always has the same tensors
            self.adamw.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self, share: float, admitted: Tensor | None = None) -> None:
        """Update every parameter at ``share`` of the peak learning rates.

        Args:
            admitted: fp32 scalar on the device; 0 leaves weights and state as they are, whatever the gradients hold.
        """
        for group in self.adamw.param_groups:
            group["lr"] = self.config.lr * share
        # The fused kernel's own way to leave a step out, made for gradient scaling: no host has to ask.
        self.adamw.found_inf = None if admitted is None else 1.0 - admitted  # type: ignore[attr-defined]
        for name, part in self._parts.items():
            parameter = self._named[name]
            if part is not parameter:
                part.data, part.grad = local(parameter), None if parameter.grad is None else local(parameter.grad)
        self.adamw.step()
        self.muon.step(share, admitted)

    def zero_grad(self) -> None:
        for parameters in (self.groups.muon, self._named):
            for parameter in parameters.values():
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state under ``kind.parameter``, the live ones: what is copied into them counts."""
        muon = self.groups.muon
        tensors = {f"muon_momentum.{name}": split_like(t, muon[name]) for name, t in self.muon.momentum.items()}
        for name, parameter in self._named.items():
            state = self.adamw.state[self._parts[name]]
            tensors[f"adamw_step.{name}"] = state["step"]
            for kind in ADAMW_MEANS:
                tensors[f"adamw_{kind}.{name}"] = split_like(state[kind], parameter)
        return tensors
