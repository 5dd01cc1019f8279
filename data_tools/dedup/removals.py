"""All that goes, from its causes: known to an earlier index, an exact copy, a near copy, a part of a longer document.

Every row names a document that stays (here, or in the earlier corpus), and how many it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_tools.dedup.candidates import Positions, Shards
from data_tools.dedup.describe import id_halves, save_array
from data_tools.dedup.keep import Records

#: What a document went for. ``<reason>-duplicate`` is what the counters call it.
REASONS = ("exact", "near", "index-exact", "index-near", "contained")
_EXACT, _NEAR, _CONTAINED = 0, 1, 4

#: A document that goes, by its position, and the id of the one that stays for it.
REMOVAL = np.dtype(
    [
        ("document", "<i8"),
        ("id_high", "<u8"),
        ("id_low", "<u8"),
        ("cluster_size", "<i8"),
        ("estimated", "<f8"),
        ("exact", "<f8"),
        ("reason", "u1"),
    ]
)


@dataclass(frozen=True)
class Removals:
    """Attributes:
    rows: of dtype `REMOVAL`, in corpus order.
    cluster_sizes: (documents,) how many each stands for, itself included; 1 for those without copies. Parts aren't
        copies.
    """

    rows: Records
    cluster_sizes: npt.NDArray[np.int64]


def all_removals(
    documents: Records,
    earlier: tuple[Positions, pa.Table],
    copies: tuple[Positions, Positions],
    near: Records,
    contained: Records,
) -> Removals:
    """Put the causes together.

    Args:
        documents: of dtype `keep.DOCUMENT`, the whole corpus.
        earlier: positions, and the rows of `describe.EARLIER`, of documents that an earlier index knows.
        copies: `exact.exact_copies`.
        near: of dtype `candidates.NEAR`, in any order.
        contained: of the same dtype. What is named here and in ``near`` goes for the document that it stands in.
    """
    near = near[~np.isin(near["document"], contained["document"])]
    found = np.concatenate([near, contained])
    reasons = np.repeat(np.array([_NEAR, _CONTAINED], dtype=np.uint8), [len(near), len(contained)])
    order = np.argsort(found["document"])
    found, reasons = found[order], reasons[order]
    first = len(copies[0])
    local = np.zeros(first + len(found), dtype=REMOVAL)
    representatives = np.concatenate([copies[1], found["representative"]]).astype(np.int64)
    local["document"] = np.concatenate([copies[0], found["document"]])
    local["estimated"][:first] = local["exact"][:first] = 1.0
    local["estimated"][first:], local["exact"][first:] = found["estimated"], found["exact"]
    local["reason"][:first], local["reason"][first:] = _EXACT, reasons
    if len(found):
        # A text whose copy this is may have gone itself, for a document that it was verified against.
        place = np.minimum(np.searchsorted(found["document"], copies[1]), len(found) - 1)
        followed = np.flatnonzero(found["document"][place] == copies[1])
        through = found[place[followed]]
        representatives[followed] = through["representative"]
        local["estimated"][followed], local["exact"][followed] = through["estimated"], through["exact"]
        local["reason"][followed] = reasons[place[followed]]
    counted = representatives[local["reason"] != _CONTAINED]
    cluster_sizes = 1 + np.bincount(counted, minlength=len(documents)).astype(np.int64)
    local["id_high"], local["id_low"] = (documents[half][representatives] for half in ("id_high", "id_low"))
    local["cluster_size"] = cluster_sizes[representatives]
    rows = np.concatenate([_known(*earlier), local])
    return Removals(rows[np.argsort(rows["document"])], cluster_sizes)


def _known(positions: Positions, matches: pa.Table) -> Records:
    rows = np.zeros(len(positions), dtype=REMOVAL)
    if not len(positions):
        return rows
    rows["document"] = positions
    halves = id_halves(matches["representative"])
    rows["id_high"], rows["id_low"] = halves.T
    # The size of the cluster as far as this corpus goes: the earlier document and those that met it here.
    _, cluster, counts = np.unique(halves, axis=0, return_inverse=True, return_counts=True)
    rows["cluster_size"] = 1 + counts[cluster.reshape(-1)]
    rows["estimated"] = matches["estimated_similarity"].to_numpy()
    rows["exact"] = matches["exact_similarity"].to_numpy()
    rows["reason"] = [REASONS.index(reason) for reason in matches["reason"].to_pylist()]
    return rows


def save_by_shard(shards: Shards, removals: Removals) -> None:
    """Write each shard's part: rows to ``removals/``, sizes to ``cluster-sizes/``."""
    bounds = np.searchsorted(removals.rows["document"], shards.starts)
    for shard in range(len(shards.paths)):
        save_array(shards.file("removals", shard), removals.rows[bounds[shard] : bounds[shard + 1]])
        sizes = removals.cluster_sizes[shards.starts[shard] : shards.starts[shard + 1]]
        save_array(shards.file("cluster-sizes", shard), sizes)


def concatenated(parts: Sequence[Records], dtype: np.dtype[Any]) -> Records:
    """Arrays of records one after the other; an empty one for none."""
    return np.concatenate([np.zeros(0, dtype=dtype), *parts])
