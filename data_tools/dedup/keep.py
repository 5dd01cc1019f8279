"""Which of several copies stays: an order over documents, explicit and total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

#: An array of records (a structured dtype).
Records: TypeAlias = npt.NDArray[Any]

#: What is known of each document: its id in two halves (16 hex digits each), the bytes of its text, its source's place
#: in ``source_priority``, whether it has shingles at all, and whether an index of earlier documents knows it.
DOCUMENT = np.dtype(
    [
        ("id_high", "<u8"),
        ("id_low", "<u8"),
        ("n_bytes", "<i8"),
        ("priority", "<i4"),
        ("comparable", "?"),
        ("known", "?"),
    ]
)


def keep_order(documents: Records, keep: Sequence[str]) -> npt.NDArray[np.int64]:
    """Row numbers of ``documents`` (of dtype `DOCUMENT`, in corpus order), the one that stays first.

    ``keep`` names what tells two documents apart: ``source``, ``longest``, ``shortest``, ``id``. The last resort is
    corpus order.
    """
    columns: list[npt.NDArray[np.generic]] = []
    for name in keep:
        if name == "source":
            columns.append(documents["priority"])
        elif name == "longest":
            columns.append(-documents["n_bytes"])
        elif name == "shortest":
            columns.append(documents["n_bytes"])
        elif name == "id":
            columns += [documents["id_high"], documents["id_low"]]
        else:
            raise ValueError(f"nothing to order documents by: {name}")
    if not columns:
        return np.arange(len(documents))
    # A stable sort by the last column first; what ties in all stays in corpus order.
    return np.lexsort(columns[::-1])


def source_priorities(sources: Sequence[str], source_priority: Sequence[str]) -> npt.NDArray[np.int32]:
    """(documents,) each source's place in ``source_priority``; those that it doesn't name come last, alike."""
    places = {name: place for place, name in enumerate(source_priority)}
    return np.array([places.get(source, len(places)) for source in sources], dtype=np.int32)
