"""Exact copies: documents with the same id, which is the hash of their normalized text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data_tools.dedup.keep import Records, keep_order


def exact_copies(
    documents: Records, taking_part: npt.NDArray[np.bool_], keep: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``(copies, originals)``: positions of documents that go, in corpus order, and of the one that stays for each.

    Args:
        documents: of dtype `keep.DOCUMENT`, the whole corpus in order.
        taking_part: (documents,) false for those that are out already.
        keep: see `keep.keep_order`. Copies are equal but for their source and place.
    """
    # Most ids occur once: only those whose first half occurs again are ordered.
    sorted_ids = np.sort(documents["id_high"][taking_part])
    repeated = sorted_ids[1:][sorted_ids[1:] == sorted_ids[:-1]]
    some = np.flatnonzero(taking_part & np.isin(documents["id_high"], repeated))
    some = some[keep_order(documents[some], keep)]
    some = some[np.lexsort((documents["id_low"][some], documents["id_high"][some]))]
    high, low = documents["id_high"][some], documents["id_low"][some]
    new = np.ones(len(some), dtype=bool)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    originals = some[np.maximum.accumulate(np.where(new, np.arange(len(some)), 0))]
    copies, originals = some[~new], originals[~new]
    order = np.argsort(copies)
    return copies[order], originals[order]
