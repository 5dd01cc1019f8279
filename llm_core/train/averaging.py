"""A moving average of the weights (Polyak & Juditsky 1992): often better than the last ones, and never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from llm_core.train.parallel import local


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights after every step that was taken; without ``decay`` nothing."""

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self.tensors: dict[str, Tensor] = {}
        """By the parameters' names; empty without ``decay``."""
        if decay is not None:
            self.tensors = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, admitted: Tensor) -> None:
        """Take the weights in.

        Args:
            admitted: fp32 scalar on the device, 0 for a step that wasn't taken: the average stays as it is.
        """
        if self.decay is not None:
            averages = [local(average) for average in self.tensors.values()]
            weights = [local(parameter.data) for parameter in self._parameters.values()]
            share = (admitted * (1.0 - self.decay)).to(averages[0])
            torch._foreach_lerp_(averages, weights, [share] * len(weights))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While entered the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def move_in(self) -> None:
        """Give the model the averaged weights for good: training is over."""
        for name, average in self.tensors.items():
            self._parameters[name].data.copy_(average)

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.tensors.items():
            parameter = self._parameters[name]
            held = parameter.data.clone()
            parameter.data.copy_(average)
            average.copy_(held)
