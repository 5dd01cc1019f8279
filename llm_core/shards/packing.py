"""Documents to rows so that few are cut: best-fit decreasing (Ding et al. 2024, "Fewer Truncations Improve Language
Modeling").

A document that fits into a row stays whole. Of a longer one, full rows are cut off and what is left is packed like any
other, so no token is lost. Which rows come out is a pure function of the documents' lengths and the row's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spans:
    """Runs of tokens, row by row: row i holds those from ``first[i]`` to ``first[i + 1]``."""

    starts: np.ndarray
    """(spans,) int64: where the run begins in all tokens of the split"""
    lengths: np.ndarray
    """(spans,) int64"""
    first: np.ndarray
    """(rows + 1,) int64"""


def pack_documents(offsets: np.ndarray, row_tokens: int) -> Spans:
    """Rows of at most ``row_tokens``.

    Args:
        offsets: (documents + 1,) int64: where each document begins, and the end of the last.
    """
    lengths = np.diff(offsets)
    pieces = -(-lengths // row_tokens)  # of each document; all but the last are full
    document = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # of the piece in its document
    starts = offsets[:-1][document] + number * row_tokens
    lengths = np.minimum(row_tokens, offsets[1:][document] - starts)
    bins, count = best_fit_decreasing(lengths, row_tokens)
    order = np.argsort(bins, kind="stable")
    return Spans(starts[order], lengths[order], np.searchsorted(bins[order], np.arange(count + 1)))


def best_fit_decreasing(sizes: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """Bins for items: the largest item first, each into the bin that it fills best; a new bin where it fits nowhere.

    Bins with the same room left are interchangeable, so they are handled together: the time grows with the number of
    different sizes and not (but for a sort) with the number of items.

    Args:
        sizes: (items,) each from 1 to ``capacity``.

    Returns:
        (items,) int64 the bin of each item; how many bins.
    """
    bin_of = np.empty(len(sizes), dtype=np.int64)
    order = np.argsort(capacity - sizes, kind="stable")
    falling = sizes[order]
    ends = np.append(np.flatnonzero(np.diff(falling)) + 1, len(falling))
    rooms: list[int] = []  # different amounts of room in open bins, rising
    open_bins: dict[int, list[np.ndarray]] = {}

    def put_back(room: int, bins: np.ndarray) -> None:
        if room and len(bins):
            if room not in open_bins:
                insort(rooms, room)
                open_bins[room] = []
            open_bins[room].append(bins)

    at = bins_used = 0
    for end in ends.tolist() if len(sizes) else []:
        size = int(falling[at])
        while at < end:
            left = end - at
            place = bisect_left(rooms, size)
            if place < len(rooms):
                room = rooms.pop(place)
                bins = np.concatenate(open_bins.pop(room))
            else:
                room = capacity
                bins = np.arange(bins_used, bins_used + -(-left // (room // size)))
                bins_used += len(bins)
            # No bin has less room that is enough, so each takes as many of these as it can.
            each = room // size
            count = min(left, each * len(bins))
            bin_of[order[at : at + count]] = np.repeat(bins, each)[:count]
            full, rest = divmod(count, each)
            put_back(room - each * size, bins[:full])
            if rest:
                put_back(room - rest * size, bins[full : full + 1])
            put_back(room, bins[full + (rest > 0) :])
            at += count
    return bin_of, bins_used
