"""One process and one device: what the loop asks of a run's division, answered by doing nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from llm_core.train.batches import WHOLE, Batch, Share

#: Forward pass and loss of one batch: (sum in nats, on the device).
LossSum = Callable[[Batch], Tensor]
#: Gives the context for a forward pass (autocast).
Precision = Callable[[], AbstractContextManager[object]]


class Parallel:
    """One process, one device. What several do differently is overridden where they are."""

    rank = 0
    world_size = 1
    #: Which rows of every batch this process computes.
    share: Share = WHOLE
    #: Whether a pass over one piece of a batch waits for no other process.
    passes_are_own = True

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and talks to the parent."""
        return self.rank == 0

    def check_rows(self, rows: int) -> None:
        """Whether a batch of ``rows`` has some for every share.

        Raises:
            LlmCoreError: it hasn't.
        """

    def prepare(self, model: nn.Module) -> nn.Module:
        """Divide ``model`` (already on its device) in place, before the optimizer is made."""
        return model

    def forward_backward(
        self,
        model: nn.Module,
        loss_sum: LossSum,
        batches: Sequence[Batch],
        precision: Callable[[], AbstractContextManager[object]],
    ) -> Tensor:
        """Every batch forward and backward; gradients add up in ``.grad``, over all processes once this returns.

        Returns:
            The sum of the losses over this process's rows, a scalar on the device, detached.
        """
        total: Tensor | None = None
        for batch in batches:
            with precision():
                loss = loss_sum(batch)
            loss.backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a batch has at least one piece"
        return total

    def reading(self, model: nn.Module) -> AbstractContextManager[object]:
        """Where ``model`` computes without a backward pass."""
        return nullcontext()

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all shares of a batch."""
        return values

    def gradient_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """The norm of the gradients of all ``parameters`` together, a scalar on the device."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Each flag as it is if any process raised it: all processes then do the same."""
        return list(flags)

    def gather(self, value: object) -> list[object]:
        """One JSON-like value of each process, by rank, on every process."""
        return [value]

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each tensor with all of its parts, on the main process (elsewhere nothing)."""
        return dict(tensors)

    def unite(self, model: nn.Module) -> nn.Module | None:
        """``model`` with all of its weights, on the main process (elsewhere None): what is saved."""
        return model

    def close(self) -> None:
        """Leave the group of processes."""
