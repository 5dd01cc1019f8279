"""Looking documents up in an index folder (see ``data_tools.dedup.index_format``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.config import DeduplicateConfig
from data_tools.dedup.index_format import FILES, FORMAT, Match, Parameters, id_key, index_folder, sha256_of
from data_tools.dedup.index_templates import alike_without_templates
from data_tools.dedup.minhash import band_keys
from data_tools.dedup.shingles import Shingles, jaccard, standing_in
from data_tools.errors import DataError

#: Of one bucket, so many members are looked at for one document (or as many as it may be compared with, if fewer). A
#: bucket as full as that comes from a template, and what is nearly the same text meets in other bands too.
_BUCKET = 256
_PAIRS_AT_A_TIME = 65_536


class IndexFolder:
    """An index folder to look documents up in. Reads only the row groups that a lookup needs.

    Raises:
        DataError: it isn't there, a file is damaged (its digest differs), or its parameters are others.
    """

    def __init__(self, path: str | Path, config: DeduplicateConfig) -> None:
        self.folder, self._config = index_folder(path), config
        self._described = self._read_description()
        Parameters.of(config).refuse_others(self._described["parameters"], str(self.folder))
        for name in FILES:
            file = self.folder / name
            state = (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else (0, 0)
            if _digest(file, *state) != self._described["files"].get(name, {}).get("sha256"):
                raise DataError(
                    "this file of an index is missing, damaged or was changed (its sha256 differs)",
                    where=str(file),
                    fix="Restore it, or deduplicate the earlier corpus again to make a new index.",
                )
        self._members, self._shingles, self._bands = (pq.ParquetFile(self.folder / name) for name in FILES)
        self._groups = list(self._key_ranges())

    def _read_description(self) -> dict[str, Any]:
        path = self.folder / "index.json"
        try:
            described = json.loads(path.read_bytes())
            if described["format"] == FORMAT and described["files"] and described["parameters"]:
                return dict(described)
            problem = f"its format is {described['format']!r}, this code reads {FORMAT}"
        except (ValueError, KeyError, TypeError) as error:
            problem = f"it can't be read ({error})"
        raise DataError(f"this index is of no use: {problem}", where=str(path), fix="Make it again.")

    def _key_ranges(self) -> Iterator[tuple[int, int, int, int]]:
        """(row group, band, least key, greatest key); a row group has keys of one band only."""
        metadata = self._bands.metadata
        for group in range(metadata.num_row_groups):
            band = metadata.row_group(group).column(0).statistics
            key = metadata.row_group(group).column(1).statistics
            yield group, int(band.min), int(key.min), int(key.max)

    def close(self) -> None:
        for file in (self._members, self._shingles, self._bands):
            file.close()

    def match(
        self, doc_ids: Sequence[str], signatures: npt.NDArray[np.uint32], shingles: Sequence[Shingles]
    ) -> list[Match | None]:
        """For each document the one of the index that accounts for it, or None."""
        found: list[Match | None] = [None] * len(doc_ids)
        if self._config.exact:
            for query in self._identical(doc_ids):
                found[query] = Match(doc_ids[query], 1.0, 1.0, "index-exact")
        waiting = np.array([q for q, match in enumerate(found) if match is None and len(shingles[q])], dtype=np.int64)
        queries, members = self._candidates(waiting, signatures)
        queries, members, estimates = self._best_estimates(queries, members, signatures, shingles)
        rank = _rank_within(queries)
        # The best estimate is right nearly always, so the others are only read where it wasn't.
        for turn in (rank == 0, rank > 0):
            turn &= np.array([found[query] is None for query in queries], dtype=bool)
            exact = self._exact(queries[turn], members[turn], shingles)
            hits = np.flatnonzero(exact >= self._config.min_similarity)
            hits = hits[
                self._alike_without_templates(queries[turn][hits], members[turn][hits], (queries, members), shingles)
            ]
            first = hits[np.unique(queries[turn][hits], return_index=True)[1]]
            names = self._names(members[turn][first])
            for query, name, estimate, similarity in zip(
                queries[turn][first].tolist(),
                names,
                estimates[turn][first].tolist(),
                exact[first].tolist(),
                strict=True,
            ):
                found[query] = Match(name, estimate, similarity, "index-near")
        return found

    def _identical(self, doc_ids: Sequence[str]) -> list[int]:
        keys = np.array([id_key(doc_id) for doc_id in doc_ids], dtype=np.uint64)
        queries, members = self._look_up(self._config.bands, keys, limit=_BUCKET)
        names = self._names(members)
        return [query for query, name in zip(queries.tolist(), names, strict=True) if doc_ids[query] == name]

    def _candidates(
        self, waiting: npt.NDArray[np.int64], signatures: npt.NDArray[np.uint32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(queries, members): every pair that shares a band once, by member, then query."""
        keys = band_keys(signatures[waiting], self._config.bands, self._config.rows)
        limit = min(self._config.max_comparisons, _BUCKET)
        codes = np.zeros(0, dtype=np.uint64)
        for band in range(self._config.bands):
            queries, members = self._look_up(band, keys[:, band], limit)
            met = (members.astype(np.uint64) << np.uint64(32)) | waiting[queries].astype(np.uint64)
            codes = np.union1d(codes, met)
        return (codes & np.uint64(0xFFFFFFFF)).astype(np.int64), (codes >> np.uint64(32)).astype(np.int64)

    def _look_up(
        self, band: int, keys: npt.NDArray[np.uint64], limit: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(positions in ``keys``, members) that have a key of this band in common, up to ``limit`` members a key."""
        order = np.argsort(keys, kind="stable")
        asked = keys[order]
        queries, members = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for group, of_band, least, greatest in self._groups:
            if of_band != band:
                continue
            first, last = (
                np.searchsorted(asked, [np.uint64(least)]),
                np.searchsorted(asked, [np.uint64(greatest)], side="right"),
            )
            here = slice(int(first[0]), int(last[0]))
            if here.start == here.stop:
                continue
            table = self._bands.read_row_group(group, columns=["key", "member"])
            stored = table["key"].to_numpy()
            begin = np.searchsorted(stored, asked[here])
            count = np.minimum(np.searchsorted(stored, asked[here], side="right") - begin, limit)
            queries.append(np.repeat(order[here], count))
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            members.append(table["member"].to_numpy()[np.repeat(begin, count) + within].astype(np.int64))
        return np.concatenate(queries), np.concatenate(members)

    def _best_estimates(
        self,
        queries: npt.NDArray[np.int64],
        members: npt.NDArray[np.int64],
        signatures: npt.NDArray[np.uint32],
        shingles: Sequence[Shingles],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The pairs that are worth an exact comparison, with their estimates: by query, best first."""
        estimates = np.zeros(len(members), dtype=np.float64)
        possible = np.zeros(len(members), dtype=bool)
        sizes = np.array([len(one) for one in shingles], dtype=np.int64)
        for pairs, rows, table in _row_groups(self._members, ["shingles", "signature"], members):
            column = table["signature"].combine_chunks()
            matrix = np.frombuffer(column.buffers()[1], dtype="<u4").reshape(-1, signatures.shape[1])
            theirs = table["shingles"].to_numpy()[rows]
            for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
                part = slice(start, start + _PAIRS_AT_A_TIME)
                estimates[pairs[part]] = (matrix[rows[part]] == signatures[queries[pairs[part]]]).mean(axis=1)
            ours = sizes[queries[pairs]]
            # Sets of such different sizes can't be alike enough, whatever is in them.
            possible[pairs] = np.minimum(ours, theirs) >= self._config.min_similarity * np.maximum(ours, theirs)
        order = np.lexsort((members, -estimates, queries))
        order = order[possible[order]]
        order = order[_rank_within(queries[order]) < self._config.max_comparisons]
        return queries[order], members[order], estimates[order]

    def _exact(
        self, queries: npt.NDArray[np.int64], members: npt.NDArray[np.int64], shingles: Sequence[Shingles]
    ) -> npt.NDArray[np.float64]:
        exact = np.zeros(len(members), dtype=np.float64)
        for pairs, rows, table in _row_groups(self._shingles, ["shingles"], members):
            column = table["shingles"].combine_chunks()
            values, offsets = column.values.to_numpy(), column.offsets.to_numpy()
            for pair, row in zip(pairs.tolist(), rows.tolist(), strict=True):
                exact[pair] = jaccard(shingles[queries[pair]], values[offsets[row] : offsets[row + 1]])
        return exact

    def _alike_without_templates(
        self,
        queries: npt.NDArray[np.int64],
        members: npt.NDArray[np.int64],
        met: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        shingles: Sequence[Shingles],
    ) -> npt.NDArray[np.bool_]:
        """Which pairs are alike in what is no template's, too. ``met``: (queries, members), all candidates."""
        least = self._config.template_documents
        alike = np.ones(len(queries), dtype=bool)
        crowded = np.isin(queries, np.flatnonzero(np.bincount(met[0]) >= least)) if least and len(queries) else ~alike
        asked = np.isin(met[0], queries[crowded])
        holders = {query: np.zeros(len(shingles[query]), dtype=np.int64) for query in queries[crowded].tolist()}
        row_of = {pair: row for row, pair in enumerate(zip(queries.tolist(), members.tolist(), strict=True))}
        shared: dict[int, tuple[npt.NDArray[np.bool_], int]] = {}
        of_asked, members_asked = met[0][asked], met[1][asked]
        for pairs, rows, table in _row_groups(self._shingles, ["shingles"], members_asked):
            column = table["shingles"].combine_chunks()
            values, offsets = column.values.to_numpy(), column.offsets.to_numpy()
            for query, member, row in zip(
                of_asked[pairs].tolist(), members_asked[pairs].tolist(), rows.tolist(), strict=True
            ):
                theirs = values[offsets[row] : offsets[row + 1]]
                both = standing_in(shingles[query], theirs)
                holders[query] += both
                if (query, member) in row_of:
                    shared[row_of[query, member]] = both, len(theirs)
        for pair in np.flatnonzero(crowded).tolist():
            both, size = shared[pair]
            alike[pair] = alike_without_templates(
                both, size, holders[int(queries[pair])], least, self._config.min_similarity
            )
        return alike

    def _names(self, members: npt.NDArray[np.int64]) -> list[str]:
        names = [""] * len(members)
        for pairs, rows, table in _row_groups(self._members, ["doc_id"], members):
            for pair, name in zip(pairs.tolist(), table["doc_id"].take(pa.array(rows)).to_pylist(), strict=True):
                names[pair] = name
        return names


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str | None:
    """sha256 of a file, computed once while its size and time stay: an index is opened for every shard."""
    return sha256_of(path) if path.is_file() else None


def _row_groups(
    file: pq.ParquetFile, columns: list[str], members: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], pa.Table]]:
    """The row groups that hold ``members`` (row numbers of the file, in any order): (positions in ``members``, their
    rows in the group, the group)."""
    order = np.argsort(members, kind="stable")
    wanted = members[order]
    first = 0
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        low, high = np.searchsorted(wanted, [first, first + count])
        if low < high:
            yield order[low:high], wanted[low:high] - first, file.read_row_group(group, columns=columns)
        first += count


def _rank_within(queries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1, 2... for each run of equal values."""
    starts = np.flatnonzero(np.concatenate([[True], queries[1:] != queries[:-1]])) if len(queries) else queries
    return np.arange(len(queries)) - np.repeat(starts, np.diff(np.append(starts, len(queries))))
