"""Candidate edges and the groups they connect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class UnionFind:
    """Disjoint sets over 0..n-1, with path halving. A set's root is its least member, whatever the order of unions."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def groups(self) -> list[list[int]]:
        """Sets of at least two members, each sorted, in the order of their roots."""
        members: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            members.setdefault(self.find(item), []).append(item)
        return [group for group in members.values() if len(group) > 1]


def candidate_groups(keys: npt.NDArray[np.uint64], taking_part: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Groups of rows that are connected by shared band keys.

    Edges are stars (every member of a bucket to its first), so a bucket of k costs k - 1 edges and not k². A group only
    says who may be compared with whom: what is removed is decided pair by pair (`data_tools.dedup.verify`).

    Args:
        keys: (documents, bands).
        taking_part: (documents,) rows that have shingles at all.
    """
    rows = np.flatnonzero(taking_part)
    sets = UnionFind(len(keys))
    for band in range(keys.shape[1]):
        column = keys[rows, band]
        order = np.argsort(column, kind="stable")  # equal keys stay in row order
        ordered, ranked = column[order], rows[order]
        same = ordered[1:] == ordered[:-1]
        if not same.any():
            continue
        bucket = np.concatenate([[0], np.cumsum(~same)])
        firsts = ranked[np.concatenate([[0], np.flatnonzero(~same) + 1])]
        followers = np.flatnonzero(same) + 1
        for first, member in zip(firsts[bucket[followers]].tolist(), ranked[followers].tolist(), strict=True):
            sets.union(first, member)
    return sets.groups()
