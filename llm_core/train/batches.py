"""What a training step reads, as a function of the step. There is no iterator, so there is no position to save."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llm_core.shards.loader import NO_TARGET, Rows, TokenRows
from llm_core.shards.order import permute_many

#: Targets with this value don't count.
IGNORE = NO_TARGET
#: Batches that are sorted by length together. More waste less padding, and mix lengths less from step to step.
POOL_BATCHES = 8


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass."""

    tokens: Tensor
    """(rows, time) int64, padded on the right; a causal model never looks at the padding."""
    targets: Tensor
    """(rows, time) int64 next tokens, or (rows,) classes; IGNORE where nothing is to be learned."""
    lengths: Tensor
    """(rows,) int64 tokens without padding."""
    valid: int
    """Targets that count; known on the host, so that a GPU needn't be asked."""
    real_tokens: int
    """Tokens without padding, of rows that count."""
    document_ids: Tensor | None = None
    """(rows, time) int64, equal for tokens of one document; None: the whole row may look at itself."""

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        ids = None if self.document_ids is None else move(self.document_ids)
        return Batch(move(self.tokens), move(self.targets), move(self.lengths), self.valid, self.real_tokens, ids)


def batch_of(tokens: Tensor, targets: Tensor, lengths: Tensor, document_ids: Tensor | None = None) -> Batch:
    """A batch with its counts."""
    return Batch(tokens, targets, lengths, int((targets != IGNORE).sum()), int(lengths.sum()), document_ids)


def nothing_like(batch: Batch) -> Batch:
    """One row of ``batch`` that doesn't count, for a process that has no row left while others have: all of them must
    do the same number of passes."""
    ids = None if batch.document_ids is None else batch.document_ids[:1]
    return Batch(batch.tokens[:1], torch.full_like(batch.targets[:1], IGNORE), batch.lengths[:1], 0, 0, ids)


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process computes: the ``rank``-th of ``size`` nearly equal runs of rows."""

    rank: int = 0
    size: int = 1

    def bounds(self, rows: int) -> tuple[int, int]:
        """First and last + 1 of ``rows``."""
        return rows * self.rank // self.size, rows * (self.rank + 1) // self.size

    def pieces(self, rows: int, at_a_time: int) -> list[tuple[int, int]]:
        """This share of ``rows``, ``at_a_time`` of them in one piece. Every rank gets as many pieces; those of one that
        has too few rows are empty at the end."""
        begin, end = self.bounds(rows)
        count = math.ceil(math.ceil(rows / self.size) / at_a_time)
        starts = [begin + number * at_a_time for number in range(count)]
        return [(min(start, end), min(start + at_a_time, end)) for start in starts]


WHOLE = Share()


class BatchSource(Protocol):
    """Training data: everything about step ``step``, in pieces that fit into memory."""

    def micro_batches(self, step: int, rows: int, share: Share = WHOLE) -> list[Batch]:
        """The rows of update ``step`` (0, 1, ...) that are in ``share``, at most ``rows`` of them in one piece."""

    @property
    def batch_rows(self) -> int:
        """Rows in a whole batch."""


def token_batch(rows: Rows) -> Batch:
    """Rows of a split. If they tell their documents, tokens don't see other documents: each place belongs to the
    document of its target, so the <|endoftext|> before a document is its beginning and is all that its first token is
    predicted from. Therefore every target counts."""
    documents = None if rows.documents is None else torch.from_numpy(rows.documents)
    lengths = torch.from_numpy(rows.lengths)
    count = int(rows.lengths.sum())
    return Batch(torch.from_numpy(rows.tokens), torch.from_numpy(rows.targets), lengths, count, count, documents)


class TokenBatches:
    """Pretraining: rows of equal length, in the shards' own shuffled order."""

    def __init__(
        self, rows: TokenRows, batch_tokens: int, seed: int, *, document_mask: bool = False, read_ahead: bool = False
    ) -> None:
        """
        Args:
            document_mask: tokens don't see other documents of their row.
            read_ahead: read the next step's rows in a thread while this step's are computed.
        """
        self.rows, self.seed, self.document_mask = rows, seed, document_mask
        self.batch_rows = max(1, round(batch_tokens / rows.context_length))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead") if read_ahead else None
        self._ahead: tuple[tuple[int, int, Share], Future[list[Batch]]] | None = None

    def micro_batches(self, step: int, rows: int, share: Share = WHOLE) -> list[Batch]:
        wanted = (step, rows, share)
        # What was read ahead is used if it is just what is asked for, so reading ahead can't change what comes.
        ahead, self._ahead = self._ahead, None
        found = ahead[1].result() if ahead is not None and ahead[0] == wanted else self._read(*wanted)
        if self._thread is not None:
            following = (step + 1, rows, share)
            self._ahead = (following, self._thread.submit(self._read, *following))
        return found

    def _read(self, step: int, rows: int, share: Share) -> list[Batch]:
        numbers = self.rows.shuffled(step * self.batch_rows, self.batch_rows, self.seed)
        pieces = share.pieces(self.batch_rows, rows)
        made = [self._batch(numbers[a:b]) for a, b in pieces if a < b]
        if not made:  # fewer rows than processes
            made = [nothing_like(self._batch(numbers[:1]))]
        return made + [nothing_like(made[-1])] * (len(pieces) - len(made))

    def _batch(self, numbers: np.ndarray) -> Batch:
        return token_batch(self.rows.read(numbers, documents=self.document_mask))


@dataclass(frozen=True)
class Example:
    """One row of fine-tuning: ids and, for each, what is to be learned there."""

    tokens: list[int]
    targets: list[int] | int
    """As long as ``tokens``, IGNORE where nothing counts; or the number of a class."""


def pad(examples: Sequence[Example], pad_id: int) -> Batch:
    """Rows as long as the longest of ``examples``, padded on the right."""
    lengths = [len(example.tokens) for example in examples]
    tokens = np.full((len(examples), max(lengths)), pad_id, dtype=np.int64)
    targets = np.full(tokens.shape, IGNORE, dtype=np.int64)
    classes: list[int] = []
    for row, example in enumerate(examples):
        tokens[row, : lengths[row]] = example.tokens
        if isinstance(example.targets, int):
            classes.append(example.targets)
        else:
            targets[row, : lengths[row]] = example.targets
    wanted = torch.tensor(classes) if classes else torch.from_numpy(targets)
    return batch_of(torch.from_numpy(tokens), wanted, torch.tensor(lengths))


class ExampleBatches:
    """Fine-tuning: examples of different lengths, similar ones together so that little is spent on padding.

    Every epoch is a new keyed permutation, cut into pools of a few batches; each pool is sorted by length and cut
    into batches, and the batches are shuffled. Every example comes once an epoch; an epoch's last batch may be
    smaller.
    """

    def __init__(self, examples: Sequence[Example], batch_examples: int, pad_id: int, seed: int) -> None:
        self.examples, self.pad_id, self.seed = examples, pad_id, seed
        self.batch_rows = min(batch_examples, len(examples))
        self.steps_per_epoch = -(-len(examples) // self.batch_rows)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def steps(self, epochs: float) -> int:
        """Updates in so many epochs, at least one."""
        return max(1, math.ceil(epochs * self.steps_per_epoch))

    def epoch(self, epoch: int) -> list[list[int]]:
        """The examples' numbers in each batch of ``epoch``."""
        if self._epoch[0] != epoch:
            n, size = len(self.examples), self.batch_rows
            order = permute_many(self.seed, epoch, np.arange(n), n).tolist()
            batches: list[list[int]] = []
            for start in range(0, n, size * POOL_BATCHES):
                pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda i: len(self.examples[i].tokens))
                batches += [pool[at : at + size] for at in range(0, len(pool), size)]
            count = len(batches)
            shuffled = [batches[at] for at in permute_many(self.seed + 1, epoch, np.arange(count), count)]
            self._epoch = (epoch, shuffled)
        return self._epoch[1]

    def micro_batches(self, step: int, rows: int, share: Share = WHOLE) -> list[Batch]:
        epoch, position = divmod(step, self.steps_per_epoch)
        batch = [self.examples[index] for index in self.epoch(epoch)[position]]
        pieces = share.pieces(len(batch), rows)
        made = [pad(batch[a:b], self.pad_id) for a, b in pieces if a < b]
        if not made:
            made = [nothing_like(pad(batch[:1], self.pad_id))]
        return made + [nothing_like(made[-1])] * (len(pieces) - len(made))


def digest_of(examples: Sequence[Example]) -> str:
    """sha256 over all ids and targets, so that a checkpoint knows its data."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.tokens, example.targets)).encode())
    return digest.hexdigest()


def in_order(examples: Sequence[Example], pad_id: int, rows: int) -> list[tuple[list[int], Batch]]:
    """All examples for evaluation, longest first so that memory runs out at once or never: (their numbers, batch)."""
    order = sorted(range(len(examples)), key=lambda i: (-len(examples[i].tokens), i))
    pieces = [order[start : start + rows] for start in range(0, len(order), rows)]
    return [(piece, pad([examples[i] for i in piece], pad_id)) for piece in pieces]
