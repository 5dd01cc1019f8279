"""Training rows out of token shards: memory-mapped, in an order that is a pure function of seed and position."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llm_core.errors import LlmCoreError
from llm_core.shards.format import ShardIndex, check_files, read_index
from llm_core.shards.order import permute


class TokenRows:
    """The tokens of one split, cut into rows.

    Row i is tokens [i * T, i * T + T], which are T + 1 of them for a context of T: inputs are the first T, targets
    the last T. So every token but the very first is a target once; less than one row at the end is left out.
    """

    def __init__(self, folder: Path, index: ShardIndex, split: str, context_length: int) -> None:
        self.index, self.split, self.context_length = index, split, context_length
        files = index.splits[split].files
        dtype = np.dtype(index.dtype).newbyteorder("<")
        self._arrays = [np.memmap(Path(folder) / file.name, dtype=dtype, mode="r") for file in files]
        self._starts = np.cumsum([0, *(file.tokens for file in files)])  # where each file begins in the whole split
        self.tokens = int(self._starts[-1])
        self.bytes = index.splits[split].bytes
        """UTF-8 bytes of the split's text."""
        self._rows = max(0, self.tokens - 1) // context_length

    @classmethod
    def open(cls, folder: Path, split: str, context_length: int, *, verify: bool = False) -> TokenRows:
        """Open a split. File sizes are always checked, contents (sha256) with ``verify``.

        Raises:
            LlmCoreError: the split is missing or damaged, or has too few tokens for one row.
        """
        folder = Path(folder)
        index = read_index(folder)
        if split not in index.splits:
            raise LlmCoreError(f"there is no split {split!r}, only {', '.join(index.splits)}.", where=str(folder))
        check_files(folder, index, split, hashes=verify)
        tokens = index.splits[split].tokens
        if tokens < context_length + 1:
            raise LlmCoreError(
                f"the context is longer than the shards: a row needs {context_length + 1} tokens "
                f"(model.context_length {context_length}), the split {split!r} has {tokens} in all.",
                where=str(folder),
                fix="Lower model.context_length or add documents.",
            )
        return cls(folder, index, split, context_length)

    def __len__(self) -> int:
        return self._rows

    def row(self, i: int) -> np.ndarray:
        """Row ``i`` in the order of the shards: (context_length + 1,) int64."""
        if not 0 <= i < self._rows:
            raise IndexError(f"row {i} of {self._rows}")
        start = i * self.context_length
        end = start + self.context_length + 1
        file = int(np.searchsorted(self._starts, start, side="right")) - 1
        parts: list[np.ndarray] = []
        while start < end:
            inside = start - int(self._starts[file])
            part = self._arrays[file][inside : inside + end - start]
            parts.append(part)
            start += len(part)
            file += 1
        return np.concatenate(parts).astype(np.int64)

    def shuffled_row(self, seed: int, index: int) -> np.ndarray:
        """The row that comes ``index``-th in training, counted over all epochs; each epoch is shuffled anew."""
        epoch, position = divmod(index, self._rows)
        return self.row(permute(seed, epoch, position, self._rows))

    def batch(self, start: int, count: int, seed: int) -> np.ndarray:
        """Training rows ``start`` to ``start + count`` of the endless shuffled order: (count, context_length + 1)."""
        return np.stack([self.shuffled_row(seed, index) for index in range(start, start + count)])
