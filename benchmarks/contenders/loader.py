"""Rows for training out of the same shards, batch after batch, in a shuffled order."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]


def groundup(spec: dict[str, Any]) -> Contender:
    return (yield from _groundup(spec, "concatenate", masked=False))


def groundup_best_fit(spec: dict[str, Any]) -> Contender:
    return (yield from _groundup(spec, "best_fit", masked=True))


def _groundup(spec: dict[str, Any], packing: Any, *, masked: bool) -> Contender:
    from llm_core.shards.loader import TokenRows
    from llm_core.train.batches import TokenBatches

    rows = TokenRows.open(Path(spec["shards"]), "train", spec["time"], packing=packing)
    batches = TokenBatches(rows, spec["rows"] * spec["time"], seed=1, document_mask=masked)
    batches.micro_batches(0, spec["micro_batch"])
    yield
    total = 0
    for step in range(1, spec["steps"] + 1):
        for batch in batches.micro_batches(step, spec["micro_batch"]):
            total += int(batch.targets[0, 0])
    return {"rows": spec["steps"] * spec["rows"], "sum": total}


def _tokens(spec: dict[str, Any]) -> Any:
    import numpy as np

    return np.memmap(spec["file"], dtype=np.uint16, mode="r")


def data_loader(spec: dict[str, Any]) -> Contender:
    """torch.utils.data.DataLoader with a dataset of slices, as tutorials write it."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    data, time = _tokens(spec), spec["time"]

    class Slices(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return (len(data) - 1) // time

        def __getitem__(self, index: int) -> Any:
            row = torch.from_numpy(data[index * time : (index + 1) * time + 1].astype(np.int64))
            return row[:-1], row[1:]

    def endless() -> Any:
        while True:
            yield from DataLoader(Slices(), batch_size=spec["micro_batch"], shuffle=True, drop_last=True)

    batches = endless()
    next(batches)
    yield
    total = 0
    for _ in range(spec["steps"] * spec["rows"] // spec["micro_batch"]):
        total += int(next(batches)[1][0, 0])
    return {"rows": spec["steps"] * spec["rows"], "sum": total}


def random_windows(spec: dict[str, Any]) -> Contender:
    """nanoGPT's way: windows at random places, with replacement."""
    import numpy as np
    import torch

    data, time = _tokens(spec), spec["time"]

    def batch() -> Any:
        starts = torch.randint(len(data) - time, (spec["micro_batch"],))
        x = torch.stack([torch.from_numpy(data[i : i + time].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + time].astype(np.int64)) for i in starts])
        return x, y

    batch()
    yield
    total = 0
    for _ in range(spec["steps"] * spec["rows"] // spec["micro_batch"]):
        total += int(batch()[1][0, 0])
    return {"rows": spec["steps"] * spec["rows"], "sum": total}
