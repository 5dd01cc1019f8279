"""Training rows out of token shards: memory-mapped, in an order that is a pure function of seed and position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from llm_core.errors import LlmCoreError
from llm_core.shards.format import ShardIndex, check_files, read_index
from llm_core.shards.order import permute_many
from llm_core.shards.packing import Spans, pack_documents

#: Stands where a row has no target (it is shorter than the others).
NO_TARGET = -100
#: Tokens that are counted at a time.
COUNTED_TOKENS = 4_000_000


@dataclass(frozen=True)
class Rows:
    """Some rows of one length. At each place a token and the one that follows it, which is to be predicted."""

    tokens: np.ndarray
    """(rows, time) int64"""
    targets: np.ndarray
    """(rows, time) int64; NO_TARGET in the padding on the right"""
    lengths: np.ndarray
    """(rows,) int64: places that aren't padding"""
    documents: np.ndarray | None = None
    """(rows, time) int64: the number of the target's document in the split; -1 in the padding"""


class TokenRows:
    """The tokens of one split, cut into rows.

    A row of T places is one or more runs of T targets in all. The input at each place is the token before its target:
    for the first token of a document that is the <|endoftext|> which closes the document before, so this token opens
    a document as much as it closes one, and generation begins with it too.

    `concatenate`: row i is targets [1 + i * T, 1 + i * T + T). So every token but the very first is a target once; less
    than one row at the end is left out. `best_fit`: a run is a document, or a piece of one that is longer than a row;
    every token is a target once.
    """

    def __init__(
        self,
        folder: Path,
        index: ShardIndex,
        split: str,
        context_length: int,
        packing: Literal["concatenate", "best_fit"] = "concatenate",
    ) -> None:
        self.folder, self.index, self.split = Path(folder), index, split
        self.context_length, self.packing = context_length, packing
        files = index.splits[split].files
        self._arrays = [np.asarray(np.memmap(self.folder / file.name, index.token_type, mode="r")) for file in files]
        self._starts = np.cumsum([0, *(file.tokens for file in files)])  # where each file begins in the whole split
        self.tokens = int(self._starts[-1])
        self.bytes = index.splits[split].bytes
        """UTF-8 bytes of the split's text."""
        self._spans: Spans | None = None
        if packing == "best_fit":
            self._spans = pack_documents(self.offsets, context_length)
            self._rows = len(self._spans.first) - 1
        else:
            self._rows = max(0, self.tokens - 1) // context_length

    @classmethod
    def open(
        cls,
        folder: Path,
        split: str,
        context_length: int,
        *,
        packing: Literal["concatenate", "best_fit"] = "concatenate",
        verify: bool = False,
    ) -> TokenRows:
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
        return cls(folder, index, split, context_length, packing)

    def __len__(self) -> int:
        return self._rows

    @cached_property
    def offsets(self) -> np.ndarray:
        """(documents + 1,) int64: where each document begins among the split's tokens, and the end."""
        files = self.index.splits[self.split].files
        parts = [np.load(self.folder / file.offsets, allow_pickle=False)[:-1] for file in files]
        return np.concatenate(
            [*(part + start for part, start in zip(parts, self._starts, strict=False)), [self.tokens]]
        )

    @cached_property
    def sources(self) -> np.ndarray:
        """(documents,) uint16: where each document came from, numbers in the index's ``sources``."""
        files = self.index.splits[self.split].files
        return np.concatenate([np.load(self.folder / file.sources, allow_pickle=False) for file in files])

    @property
    def utilization(self) -> float:
        """Share of all places that have a target."""
        return 1.0 if self._spans is None else self.tokens / (self._rows * self.context_length)

    def documents_cut(self) -> int:
        """Documents that don't stand whole in one row."""
        if self._spans is not None:
            return int((np.diff(self.offsets) > self.context_length).sum())
        first, last = (self.offsets[:-1] - 1) // self.context_length, (self.offsets[1:] - 2) // self.context_length
        return int((first != last).sum())

    def count_tokens(self, vocab_size: int, documents: np.ndarray) -> np.ndarray:
        """(vocab,) int64: how often each token occurs in the chosen ``documents`` ((documents,) bool)."""
        counts = np.zeros(vocab_size, dtype=np.int64)
        lengths = np.diff(self.offsets)
        first = 0
        for file, array in zip(self.index.splits[self.split].files, self._arrays, strict=True):
            here = slice(first, first + file.documents)
            chosen = np.repeat(documents[here], lengths[here])
            for start in range(0, len(array), COUNTED_TOKENS):
                piece = slice(start, start + COUNTED_TOKENS)
                counts += np.bincount(array[piece][chosen[piece]], minlength=vocab_size)
            first += file.documents
        return counts

    def shuffled(self, start: int, count: int, seed: int) -> np.ndarray:
        """Numbers of the rows that come ``start``-th to ``start + count``-th in training, counted over all epochs; each
        epoch is shuffled anew."""
        indices = np.arange(start, start + count)
        epochs, positions = np.divmod(indices, self._rows)
        numbers = np.empty(count, dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            numbers[here] = permute_many(seed, epoch, positions[here], self._rows)
        return numbers

    def read(self, numbers: np.ndarray, *, documents: bool = False) -> Rows:
        """Rows by their numbers in the order of the shards; on request with the documents that targets belong to."""
        numbers = np.asarray(numbers, dtype=np.int64)
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < self._rows:
            raise IndexError(f"a row is outside of range({self._rows})")
        time = self.context_length
        if self._spans is None:
            starts, lengths = 1 + numbers * time, np.full(len(numbers), time)
            places = np.arange(len(numbers)) * time
            filled = lengths
        else:
            first, last = self._spans.first[numbers], self._spans.first[numbers + 1]
            chosen = _ranges(first, last - first)
            starts, lengths = self._spans.starts[chosen], self._spans.lengths[chosen]
            row = np.repeat(np.arange(len(numbers)), last - first)
            before = np.cumsum(lengths) - lengths  # targets of all chosen spans before each
            row_starts = np.searchsorted(row, np.arange(len(numbers)))  # the first chosen span of each row
            places = row * time + before - before[row_starts][row]
            filled = np.add.reduceat(lengths, row_starts) if len(row) else lengths
        tokens, targets = (np.empty(len(numbers) * time, dtype=np.int64) for _ in range(2))
        if self._spans is not None:
            tokens.fill(self.index.eot_id)
            targets.fill(NO_TARGET)
        self._copy(starts, lengths, places, tokens, targets)
        shape = (len(numbers), time)
        found = self._documents_of(starts, lengths, places, len(tokens)).reshape(shape) if documents else None
        return Rows(tokens.reshape(shape), targets.reshape(shape), filled, found)

    def _copy(
        self, starts: np.ndarray, lengths: np.ndarray, places: np.ndarray, tokens: np.ndarray, targets: np.ndarray
    ) -> None:
        """Copy runs of targets to their ``places``, and the tokens before each of them."""
        files = np.searchsorted(self._starts, starts, side="right") - 1
        begins = starts - self._starts[files]  # in their files
        columns = (files.tolist(), begins.tolist(), lengths.tolist(), places.tolist())
        for file, begin, length, place in zip(*columns, strict=True):
            array = self._arrays[file]
            # Files begin with a document, and the token before a document is <|endoftext|>.
            tokens[place] = array[begin - 1] if begin else self.index.eot_id
            while True:
                here = min(length, len(array) - begin)
                run = array[begin : begin + here]
                targets[place : place + here] = run
                if here == length:
                    tokens[place + 1 : place + here] = run[:-1]
                    break
                tokens[place + 1 : place + 1 + here] = run
                file, begin, length, place = file + 1, 0, length - here, place + here
                array = self._arrays[file]

    def _documents_of(self, starts: np.ndarray, lengths: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
        """(size,) the document of each place that runs of targets fill, elsewhere -1."""
        first = np.searchsorted(self.offsets, starts, side="right") - 1
        last = np.searchsorted(self.offsets, starts + lengths - 1, side="right") - 1
        steps = np.zeros(size + 1, dtype=np.int64)  # how much the document's number grows at each place
        begun = _ranges(first + 1, last - first)  # documents that begin inside of a run
        steps[np.repeat(places - starts, last - first) + self.offsets[begun]] = 1
        numbers = np.cumsum(steps[:-1])
        filled = _ranges(places, lengths)
        result = np.full(size, -1, dtype=np.int64)
        result[filled] = numbers[filled] + np.repeat(first - numbers[places], lengths)
        return result


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """range(starts[0], starts[0] + lengths[0]), then those of the second, and so on."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
