"""Which candidates are really copies, and which document stays for them.

MinHash candidates joined by transitive closure delete unrelated books: A meets B in one band, B meets C in another,
and A and C go down as one. Here a document is removed only for one named representative that stays itself, that it met
in a band, and whose exact shingle similarity with it was computed.

The keep rule: the longest text (in bytes) stays; among equals the least ``doc_id``, then the first in corpus order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_tools.dedup.minhash import estimated_jaccard
from data_tools.dedup.shingles import Shingles, jaccard

#: Exact comparisons for one document at most, best estimate first. A thousand letters from one template all meet in a
#: band; without a bound each would be compared with each.
MAX_COMPARISONS = 32


@dataclass(frozen=True)
class Removal:
    """``document`` goes, ``representative`` stays for it (both are positions in the corpus)."""

    document: int
    representative: int
    estimated_similarity: float
    exact_similarity: float


def verified_removals(
    group: Sequence[int],
    *,
    shingles: Mapping[int, Shingles],
    signatures: npt.NDArray[np.uint32],
    keys: npt.NDArray[np.uint64],
    lengths: Sequence[int],
    doc_ids: Sequence[str],
    min_similarity: float,
) -> list[Removal]:
    """Go through one candidate group in keep order; a document that no representative so far accounts for becomes one.

    Args:
        group: positions of documents that candidate edges connect.
        shingles: of (at least) the group's documents.
        signatures: (documents, permutations).
        keys: (documents, bands).
    """
    ordered = sorted(group, key=lambda document: (-lengths[document], doc_ids[document], document))
    representatives = np.empty(len(ordered), dtype=np.int64)
    count = 0
    removals: list[Removal] = []
    for document in ordered:
        removal = None
        if count:
            met = representatives[:count][(keys[representatives[:count]] == keys[document]).any(axis=1)]
            estimates = estimated_jaccard(signatures[document], signatures[met])
            # Best estimate first; a stable sort leaves equal ones in keep order.
            for candidate in np.argsort(-estimates, kind="stable")[:MAX_COMPARISONS]:
                exact = jaccard(shingles[document], shingles[int(met[candidate])])
                if exact >= min_similarity:
                    removal = Removal(document, int(met[candidate]), float(estimates[candidate]), exact)
                    break
        if removal is None:
            representatives[count] = document
            count += 1
        else:
            removals.append(removal)
    return removals
