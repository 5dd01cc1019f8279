"""How the processes of a run divide the work: data x pipeline x tensor = all of them.

One process needs none of it (:class:`Parallel` does nothing). Several are started by torchrun, and :func:`start` makes
them find each other. Every process then runs the same loop; what differs is which rows (``share``), which layers and
which parts of the matrices are its own. Gradients are *sums* over all rows everywhere, never means of the processes'
means: the loop divides once, by the number of targets that count in the whole batch.
"""

from __future__ import annotations

import os

import torch

from llm_core.config import LlmRuntime
from llm_core.train.parallel.parts import local, split_like
from llm_core.train.parallel.single import Parallel

__all__ = ["Parallel", "local", "split_like", "start"]


def start(runtime: LlmRuntime, device: torch.device) -> Parallel:
    """This process's place in the run, by the environment that torchrun sets. Waits until all processes are there.

    Raises:
        LlmCoreError: ``runtime.parallel`` doesn't fit the number of processes.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1 and runtime.parallel.tensor == runtime.parallel.pipeline == 1 and runtime.parallel.data == "ddp":
        return Parallel()
    from llm_core.train.parallel.several import Several

    return Several(runtime.parallel, device)
