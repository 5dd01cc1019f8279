"""AdamW, and Muon for the matrices inside the blocks. Every parameter is in exactly one group, and that is asserted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_core.config import OptimizerConfig
from llm_core.muon import MOMENTUM_STEPS, Muon
from llm_core.train.parallel.parts import is_divided, local, split_like

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

    def step(self, share: float, admitted: Tensor | None = None, number: int = MOMENTUM_STEPS) -> None:
        """Update every parameter at ``share`` of the peak learning rates.

        Args:
            admitted: fp32 scalar on the device; 0 leaves weights and state as they are, whatever the gradients hold.
            number: of this update (0, 1, ...); Muon's momentum grows in the first ones.
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
        self.muon.step(share, admitted, number)

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
