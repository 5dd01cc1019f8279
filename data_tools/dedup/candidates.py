"""The shingles and signatures of those documents that met another in a band: computed from their texts a second time,
rather than kept for all documents, and laid down in files from which whole components are taken.

Batches of components are of a fixed size, so that they hang on the documents alone. A component may be larger than
any memory (a million letters from one template); what such a batch needs then lies in files too, mapped into memory.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_tools.atomic_file import atomic_writer
from data_tools.config import DeduplicateConfig
from data_tools.dedup.describe import open_array, save_array
from data_tools.dedup.keep import DOCUMENT, keep_order
from data_tools.dedup.minhash import MinHasher, band_keys
from data_tools.dedup.shingles import shingle_runs
from data_tools.dedup.verify import Candidates, number_buckets, verify
from data_tools.parquet import open_shard

#: Shingles and signatures that are verified together, as far as components allow.
BATCH_BYTES = 64_000_000
#: Beyond this a batch lies on disk.
_IN_MEMORY_BYTES = 256_000_000
_ROWS_AT_A_TIME = 65_536

#: A near copy, and the document that stays for it: positions in the corpus.
NEAR = np.dtype([("document", "<i8"), ("representative", "<i8"), ("estimated", "<f8"), ("exact", "<f8")])

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shards:
    """Where the documents of a corpus stand.

    Attributes:
        folder: of the unfinished work.
        paths: the Parquet files, in corpus order.
        starts: position of each file's first document, and at the end how many documents there are.
    """

    folder: Path
    paths: Sequence[Path]
    starts: Positions

    def file(self, table: str, shard: int) -> Path:
        return self.folder / table / f"{self.paths[shard].stem}.npy"

    def split(self, positions: Positions) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """For each shard that has any of ``positions``: its number, and which of them (by index)."""
        shards = np.searchsorted(self.starts, positions, side="right") - 1
        order = np.argsort(shards, kind="stable")
        bounds = np.searchsorted(shards[order], np.arange(len(self.paths) + 1))
        for shard in np.unique(shards).tolist():
            yield shard, order[bounds[shard] : bounds[shard + 1]]

    def want(self, table: str, positions: Positions) -> list[int]:
        """Write which of ``positions`` (sorted) lie in each shard, for `wanted_texts`; the shards that have any."""
        concerned = []
        for shard, which in self.split(positions):
            save_array(self.file(table, shard), positions[which])
            concerned.append(shard)
        return concerned


def cut_batches(members: Positions, starts: Positions, n_bytes: npt.NDArray[np.int64]) -> list[Positions]:
    """Whole components to batches of about `BATCH_BYTES`.

    Args:
        members, starts: `components.component_members`.
        n_bytes: (members,) of their texts.
    """
    if not len(members):
        return []
    # A word of prose has six bytes, its shingle eight; the rest is the signature, its buckets and the like.
    costs = np.concatenate([[0], np.cumsum(n_bytes * 4 // 3 + 1_000)])
    batch_of_component = costs[starts[:-1]] // BATCH_BYTES
    firsts = starts[:-1][np.diff(batch_of_component, prepend=-1) != 0]
    return np.split(members, firsts[1:])


def lay_down_candidates(config: DeduplicateConfig, shards: Shards, shard: int) -> int:
    """Write the shingles and signatures of one shard's candidates, whose positions are in ``wanted/``."""
    hasher = MinHasher(config.bands * config.rows, config.seed, config.shingle_words)
    signatures = [np.zeros((0, config.bands * config.rows), np.uint32)]
    ends = [np.zeros(1, np.int64)]  # with a 0 before, so that each one's beginning is there too
    written = 0
    with atomic_writer(shards.file("shingles", shard)) as handle:
        for texts in wanted_texts(shards, shard, "wanted"):
            found, found_ends = shingle_runs(texts, config.shingle_words)
            handle.write(found.data)
            ends.append(found_ends + written)
            written += len(found)
            signatures.append(hasher.signatures(texts)[0])
    save_array(shards.file("ends", shard), np.concatenate(ends))
    save_array(shards.file("signatures", shard), np.concatenate(signatures))
    return sum(map(len, signatures))


def wanted_texts(shards: Shards, shard: int, table: str) -> Iterator[pa.ChunkedArray]:
    """The texts of those documents of a shard whose positions are in its file of ``table``, a row group at a time."""
    wanted = open_array(shards.file(table, shard)) - shards.starts[shard]
    with open_shard(shards.paths[shard]) as file:
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            inside = wanted[np.searchsorted(wanted, first) : np.searchsorted(wanted, first + rows)] - first
            first += rows
            if len(inside):
                yield file.read_row_group(group, columns=["text"])["text"].take(inside)


def verify_batch(config: DeduplicateConfig, shards: Shards, batch: Path) -> int:
    """Verify the components whose members are in ``batch``: (2, members), their positions and which component each is
    of. Write who goes to the file of the same name in
    ``near/`` (`NEAR`).

    Returns:
        How many pairs were compared exactly.
    """
    members, components = open_array(batch)
    order = np.argsort(members)
    members, components = members[order], components[order]
    with _Scratch(shards.folder / "scratch" / batch.stem) as scratch:
        documents, candidates = _collect(config, shards, members, components, scratch)
        verdicts = verify(
            candidates,
            min_similarity=config.min_similarity,
            max_comparisons=config.max_comparisons,
            template_documents=config.template_documents,
        )
    gone = np.flatnonzero(verdicts.representatives >= 0)
    found = np.zeros(len(gone), dtype=NEAR)
    found["document"] = documents[gone]
    found["representative"] = documents[verdicts.representatives[gone]]
    found["estimated"], found["exact"] = verdicts.estimated[gone], verdicts.exact[gone]
    save_array(shards.folder / "near" / batch.name, found)
    return verdicts.comparisons


def _collect(
    config: DeduplicateConfig, shards: Shards, members: Positions, components: npt.NDArray[np.int64], scratch: _Scratch
) -> tuple[Positions, Candidates]:
    """The members' positions in keep order, and what was laid down of them."""
    described = np.empty(len(members), dtype=DOCUMENT)
    for shard, which in shards.split(members):
        described[which] = open_array(shards.file("described", shard))[members[which] - shards.starts[shard]]
    order = keep_order(described, config.keep)
    documents = members[order]

    places: list[tuple[int, Positions, Positions, Positions]] = []
    lengths = np.empty(len(documents), dtype=np.int64)
    for shard, which in shards.split(documents):
        slots = np.searchsorted(open_array(shards.file("wanted", shard)), documents[which])
        bounds = open_array(shards.file("ends", shard))
        lengths[which] = bounds[slots + 1] - bounds[slots]
        places.append((shard, which, slots, bounds[slots]))
    ends = np.cumsum(lengths)
    starts = ends - lengths

    shingles = scratch.array((int(lengths.sum()),), np.dtype(np.uint64))
    signatures = scratch.array((len(documents), config.bands * config.rows), np.dtype(np.uint32))
    for shard, which, slots, begins in places:
        signatures[which] = open_array(shards.file("signatures", shard))[slots]
        source = np.asarray(np.memmap(shards.file("shingles", shard), dtype=np.uint64, mode="r"))
        for start, begin, length in zip(starts[which].tolist(), begins.tolist(), lengths[which].tolist(), strict=True):
            shingles[start : start + length] = source[begin : begin + length]
    keys = scratch.array((len(documents), config.bands), np.dtype(np.uint64))
    for first in range(0, len(documents), _ROWS_AT_A_TIME):
        some = slice(first, first + _ROWS_AT_A_TIME)
        keys[some] = band_keys(signatures[some], config.bands, config.rows)
    return documents, Candidates(number_buckets(keys), signatures, shingles, starts, ends, components[order])


class _Scratch:
    """Arrays for one batch: in memory, or, where one is larger than that should be, in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._files = folder, 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if math.prod(shape) * dtype.itemsize <= _IN_MEMORY_BYTES:
            return np.empty(shape, dtype=dtype)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files += 1
        return np.asarray(np.memmap(self._folder / f"{self._files}.tmp", dtype=dtype, mode="w+", shape=shape))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
