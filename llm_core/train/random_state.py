"""The random number generators of a process, as JSON values."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llm_core.train.parallel import Parallel


def random_state() -> dict[str, Any]:
    """All random number generators as JSON values: python, numpy, torch, and torch's on each GPU."""
    version, numbers, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": numpy_state | {"state": {k: _plain(v) for k, v in numpy_state["state"].items()}},
        "torch": _encode(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        state["cuda"] = [_encode(each) for each in torch.cuda.get_rng_state_all()]
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what :func:`random_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy_state = dict(state["numpy"])
    numpy_state["state"] = {
        k: np.array(v, dtype=np.uint32) if isinstance(v, list) else v for k, v in numpy_state["state"].items()
    }
    np.random.set_state(numpy_state)
    torch.set_rng_state(_decode(state["torch"]))
    if torch.cuda.is_available():
        for device, encoded in zip(range(torch.cuda.device_count()), state.get("cuda", []), strict=False):
            torch.cuda.set_rng_state(_decode(encoded), device)


def restore_or_seed(states: Sequence[Mapping[str, Any]], parallel: Parallel, seed: int, step: int) -> None:
    """Put back this process's state, out of those of all processes by rank. If there were more or fewer then, nobody's
    fits: all are seeded anew, and the same each time."""
    if len(states) == parallel.world_size:
        restore_random_state(states[parallel.rank])
    else:
        seed_random_state(seed, step, parallel.share.rank)


def seed_random_state(seed: int, step: int, share: int) -> None:
    """Seed all generators. Processes that compute the same rows (parts of one model) draw the same numbers.

    Args:
        share: which share of the rows this process computes.
    """
    words = np.random.SeedSequence((seed, step, share)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))  # of all GPUs as well


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _encode(tensor: Tensor) -> str:
    return base64.b64encode(tensor.numpy().tobytes()).decode()


def _decode(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.uint8).copy())
