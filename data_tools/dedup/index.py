"""Earlier documents: what tomorrow's are checked against without reading yesterday's texts again.

An index is a folder (``data_tools.dedup.index_format``) or stands in a Redis that several machines share
(``data_tools.dedup.redis_index``). Either way a document is only taken for a copy of an earlier one after their
shingles were compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt

from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.dedup.index_folder import IndexFolder
from data_tools.dedup.index_format import Match, index_folder, sha256_of
from data_tools.dedup.index_writer import IndexWriter
from data_tools.dedup.shingles import Shingles

if TYPE_CHECKING:
    from data_tools.dedup.redis_index import RedisIndex

__all__ = ["EarlierDocuments", "IndexWriter", "Match", "index_digests", "open_indexes"]


class Index(Protocol):
    def match(
        self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]
    ) -> list[Match | None]: ...

    def close(self) -> None: ...


class EarlierDocuments:
    """Several indexes in order; the first that accounts for a document is named. A context manager."""

    def __init__(self, indexes: Sequence[Index], shared: RedisIndex | None) -> None:
        self._indexes, self._shared = indexes, shared

    def match(
        self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]
    ) -> list[Match | None]:
        """For each document the earlier one that accounts for it, or None.

        Args:
            doc_ids: of the new documents.
            signatures: (documents, bands * rows) uint32.
            shingles: sorted distinct hashes of each.
        """
        found: list[Match | None] = [None] * len(doc_ids)
        for index in self._indexes:
            left = [position for position, match in enumerate(found) if match is None]
            matches = index.match(
                [doc_ids[position] for position in left], signatures[left], [shingles[position] for position in left]
            )
            for position, match in zip(left, matches, strict=True):
                found[position] = match
        return found

    def add(self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]) -> None:
        """Tell the shared index (Redis) which documents were kept. Adding one twice changes nothing; folders are
        immutable and don't take any."""
        if self._shared is not None:
            self._shared.add(doc_ids, signatures, shingles)

    def close(self) -> None:
        for index in self._indexes:
            index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_indexes(config: DeduplicateConfig, runtime: DataRuntime, batch: str = "") -> EarlierDocuments | None:
    """The indexes that ``config`` names, or None if it names none.

    Args:
        batch: names this run in a shared index, and is the same when the run is repeated after a crash: what the run
            itself added before counts as new, not as earlier.

    Raises:
        DataError: an index is missing, damaged, or made with other parameters; Redis can't be reached.
    """
    if not config.against and config.redis is None:
        return None
    indexes: list[Index] = [IndexFolder(path, config) for path in config.against]
    shared = None
    if config.redis is not None:
        from data_tools.dedup.redis_index import RedisIndex

        shared = RedisIndex(config, batch)
        indexes.append(shared)
    return EarlierDocuments(indexes, shared)


def index_digests(paths: Sequence[str]) -> dict[str, str]:
    """``against/<position>`` to the sha256 of that index's ``index.json``, which has the digests of all its files.

    Raises:
        DataError: there is no index at one of the paths.
    """
    return {f"against/{position}": sha256_of(index_folder(path) / "index.json") for position, path in enumerate(paths)}
