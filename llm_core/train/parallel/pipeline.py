"""Pipeline parallelism: each process (a stage) has some of the layers, and micro-batches follow one another through.

The order is 1F1B (Narayanan et al. 2019): a stage begins with as many forward passes as there are stages behind it,
then does one backward pass for each forward pass; so it holds the activations of as many micro-batches as there are
stages, whatever their number. Stages wait for each other at both ends of a step, a share of
(stages - 1) / (micro-batches + stages - 1) of its time: many small micro-batches waste least.

The model stays as it is written. Blocks of other stages are replaced by :class:`Elsewhere`, under the same names; a
stage's first block reads what the stage before it computed, and what its last block computed is handed on where the
final norm would read it. Embedding, final norm and head are whole on every stage, and their gradients are added up
over the stages: a tied matrix works at both ends, and the loss of held-out data can be taken everywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llm_core.model.transformer import Transformer
from llm_core.train.batches import Batch


class Elsewhere(nn.Module):
    """A block that another stage has. The last one before this stage's own lets in what came from there."""

    def __init__(self, receive: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.receive = receive

    def forward(self, x: Tensor, *around: Any) -> Tensor:
        return x if self.receive is None else self.receive(x)


class _HandOn(Exception):
    """This stage has done its part of a forward pass: what follows is the last stage's."""

    def __init__(self, states: Tensor) -> None:
        self.states = states


class Pipeline:
    """One stage of ``transformer``, whose other blocks are let go.

    Args:
        group: the stages, in order.
    """

    def __init__(self, transformer: Transformer, group: dist.ProcessGroup) -> None:
        self.group, self.stage, self.stages = group, dist.get_rank(group), dist.get_world_size(group)
        self.dim = transformer.config.dim
        self.device = transformer.embedding.weight.device
        self._incoming: Tensor | None = None
        layers = len(transformer.blocks)
        first, end = layers * self.stage // self.stages, layers * (self.stage + 1) // self.stages
        for layer in range(layers):
            if not first <= layer < end:
                transformer.blocks[layer] = Elsewhere(self._receive if layer == first - 1 else None)
        transformer.norm.register_forward_pre_hook(self._before_norm)
        transformer.norm.register_forward_hook(self._after_norm)

    @property
    def is_first(self) -> bool:
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        return self.stage == self.stages - 1

    def stop_after_states(self, transformer: Transformer) -> None:
        """Let training passes end where another stage goes on. Called when all that wraps ``hidden`` is in place."""
        whole = transformer.hidden

        def hidden(*args: Any, **options: Any) -> Tensor:
            states = whole(*args, **options)
            if transformer.training and not self.is_last:
                raise _HandOn(states)
            return states

        transformer.hidden = hidden  # type: ignore[method-assign]

    # ------------------------------------------------------------------------------------------------- training

    def forward_backward(
        self,
        loss_sum: Callable[[Batch], Tensor],
        batches: Sequence[Batch],
        precision: Callable[[], AbstractContextManager[object]],
        before_last: Callable[[], None],
    ) -> Tensor:
        """Every micro-batch through all stages and back.

        Args:
            before_last: called before the last backward pass.

        Returns:
            The sum of the losses, on every stage.
        """
        total = torch.zeros((), device=self.device)
        held: deque[tuple[Tensor | None, Tensor]] = deque()  # what came in and what went out, oldest first
        done = 0

        def forward(number: int, incoming: Tensor | None) -> Tensor:
            self._incoming = None if incoming is None else incoming.requires_grad_()
            with precision():
                try:
                    result = loss_sum(batches[number])
                    total.add_(result.detach())
                except _HandOn as handed:
                    result = handed.states
            held.append((incoming, result))
            return result.detach()

        def backward(gradient: Tensor | None) -> Tensor | None:
            nonlocal done
            incoming, result = held.popleft()
            done += 1
            if done == len(batches):
                before_last()
            torch.autograd.backward(result, gradient)
            return None if incoming is None else incoming.grad

        count = len(batches)
        ahead = min(self.stages - self.stage - 1, count)
        for number in range(ahead):
            states, _ = self._exchange(states_like=batches[number])
            self._exchange(states=forward(number, states))
        if ahead < count:
            states, _ = self._exchange(states_like=batches[ahead])
        for number in range(ahead, count):
            result = forward(number, states)
            _, gradient = self._exchange(states=result, gradient_like=batches[number - ahead])
            more = batches[number + 1] if number + 1 < count else None
            states, _ = self._exchange(gradient=backward(gradient), states_like=more)
        for number in range(count - ahead, count):
            _, gradient = self._exchange(gradient_like=batches[number])
            self._exchange(gradient=backward(gradient))
        dist.broadcast(total, group=self.group, group_src=self.stages - 1)
        return total

    def _exchange(
        self,
        *,
        states: Tensor | None = None,
        gradient: Tensor | None = None,
        states_like: Batch | None = None,
        gradient_like: Batch | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Send states on and a gradient back, and receive those of the named batches: all at once, so that no two
        stages wait for each other. At the ends of the pipeline there is nobody to talk to.

        Returns:
            (states from the stage before, gradient from the stage behind)
        """
        operations: list[dist.P2POp] = []
        received: list[Tensor | None] = [None, None]

        def add(what: Callable[..., Any], tensor: Tensor, peer: int) -> Tensor:
            operations.append(dist.P2POp(what, tensor, group=self.group, group_peer=peer))
            return tensor

        if states is not None and not self.is_last:
            add(dist.isend, states.contiguous(), self.stage + 1)
        if gradient is not None and not self.is_first:
            add(dist.isend, gradient.contiguous(), self.stage - 1)
        if states_like is not None and not self.is_first:
            received[0] = add(dist.irecv, self._room(states_like), self.stage - 1)
        if gradient_like is not None and not self.is_last:
            received[1] = add(dist.irecv, self._room(gradient_like), self.stage + 1)
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()
        return received[0], received[1]

    def _room(self, batch: Batch) -> Tensor:
        return torch.empty(*batch.tokens.shape, self.dim, device=self.device)  # fp32, as the residual stream is

    # ------------------------------------------------------------------------------------ within the forward pass

    def _receive(self, x: Tensor) -> Tensor:
        """In place of what this stage would have computed without the stages before it."""
        if self._incoming is not None:
            states, self._incoming = self._incoming, None
            return states
        states = torch.empty_like(x)
        dist.recv(states, group=self.group, group_src=self.stage - 1)
        return states

    def _before_norm(self, norm: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Held-out data: the last stage's states for all, so that every process takes the same loss."""
        if norm.training:
            return None
        states = args[0].contiguous()
        if not self.is_last:
            dist.send(states, group=self.group, group_dst=self.stage + 1)
        dist.broadcast(states, group=self.group, group_src=self.stages - 1)
        return (states,)

    def _after_norm(self, norm: nn.Module, args: tuple[Tensor, ...], result: Tensor) -> Tensor:
        """The states themselves where another stage goes on with them."""
        return args[0] if norm.training and not self.is_last else result
