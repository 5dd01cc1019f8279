"""Which documents are connected by candidate edges: union-find over all of a corpus, 8 bytes a document.

A component only says who may be compared with whom: what is removed is decided pair by pair
(`data_tools.dedup.verify`). So edges too many do no harm, and the order in which they come changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, uint64

Parents = npt.NDArray[np.int64]


def separate(documents: int) -> Parents:
    """Every document by itself: (documents,) int64."""
    return np.arange(documents, dtype=np.int64)


@njit(cache=True, nogil=True)
def _find(parents, item):  # type: ignore[no-untyped-def]
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


@njit(cache=True, nogil=True)
def _union(parents, a, b):  # type: ignore[no-untyped-def]
    a, b = _find(parents, a), _find(parents, b)
    if a < b:
        parents[b] = a
    elif b < a:
        parents[a] = b


@njit(cache=True, nogil=True)
def join_edges(parents, a, b):  # type: ignore[no-untyped-def]
    """Connect document ``a[i]`` with ``b[i]`` (both int64), for every i."""
    for i in range(len(a)):
        _union(parents, a[i], b[i])


@njit(cache=True, nogil=True)
def join_buckets(parents, packed, row_bits, documents):  # type: ignore[no-untyped-def]
    """Connect the documents of each bucket with the bucket's first.

    Args:
        packed: (rows,) uint64, sorted: a band key's upper bits over a row's number in ``row_bits`` bits.
        documents: (rows,) int64: the document of each row.
    """
    shift = uint64(row_bits)
    low = (uint64(1) << shift) - uint64(1)
    first = 0
    for i in range(1, len(packed)):
        if packed[i] >> shift == packed[first] >> shift:
            _union(parents, documents[packed[first] & low], documents[packed[i] & low])
        else:
            first = i


@njit(cache=True, nogil=True)
def settle(parents):  # type: ignore[no-untyped-def]
    """Point every document at the first of its component."""
    for item in range(len(parents)):
        parents[item] = parents[parents[item]]  # a parent comes before its child, so it is settled already


def component_members(parents: Parents, taking_part: npt.NDArray[np.bool_]) -> tuple[Parents, npt.NDArray[np.int64]]:
    """Components with at least two members that take part, one after the other.

    Args:
        parents: settled.
        taking_part: (documents,) false for those that are out already.

    Returns:
        ``(members, starts)``: documents, component by component in the order of their first members, each in corpus
        order; where each component begins, and at the end how many members there are.
    """
    roots = np.where(taking_part, parents, len(parents))
    sizes = np.bincount(roots, minlength=len(parents) + 1)
    sizes[-1] = 0
    members = np.flatnonzero(sizes[roots] > 1)
    members = members[np.argsort(parents[members], kind="stable")]
    firsts = np.flatnonzero(np.diff(parents[members], prepend=-1))
    return members, np.append(firsts, len(members)).astype(np.int64)
