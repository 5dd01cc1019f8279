"""Templates among earlier documents: what a new document shares with many that it met in an index.

An index has no counts of shingles over all of its documents. But those that a document met are no copies of each other,
or not all of them would have been kept. So what many of them have is a template's (a menu, a form), and the document
must be alike without it, too, as `data_tools.dedup.verify` asks for within a corpus.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_tools.dedup.verify import LEAST_OWN


def alike_without_templates(
    shared: npt.NDArray[np.bool_], their_shingles: int, holders: npt.NDArray[np.int64], least: int, similarity: float
) -> bool:
    """Whether a document may go for an earlier one, as far as templates are concerned.

    Args:
        shared: (shingles,) which of the document's the earlier one has, too.
        their_shingles: how many that has. All that aren't shared count as its own, since nobody looked who has them.
        holders: (shingles,) earlier documents that have each.
        least: holders from which on a shingle is a template's.
        similarity: that is asked for.
    """
    own = holders < least
    ours = int(own.sum())
    both = int((own & shared).sum())
    return ours < LEAST_OWN or both / (ours + their_shingles - int(shared.sum())) >= similarity
