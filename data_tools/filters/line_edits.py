"""What line rules do to a column of texts: what is left of each, and how much went for which reason."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class LineEdits(NamedTuple):
    texts: pa.LargeStringArray
    """(texts,) what the rules leave of each; the empty string where nothing is left."""
    counts: dict[str, npt.NDArray[np.int64]]
    """Reason (``c4/few-words``, as in the edits table) to (texts,) how many lines went for it, or how many places in
    lines that stay were cut out."""


def strings(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.LargeStringArray:
    """The texts ``data[offsets[i]:offsets[i + 1]]`` as a column."""
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
