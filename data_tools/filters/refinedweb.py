"""RefinedWeb's line rules: stub, being written."""

from __future__ import annotations
from typing import TYPE_CHECKING
from data_tools.filters.rules import Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.filters.line_edits import LineEdits

VERSION = "refinedweb-1"

THRESHOLDS = (Threshold("refinedweb/removed-words", "max_removed_words", "refinedweb_removed_words", "above"),)


def refinedweb_signals(
    texts: pa.ChunkedArray | pa.Array, words: str = "whitespace"
) -> dict[str, npt.NDArray[np.generic]]:
    """Signal to (texts,) numbers, in the order of ``schema.REFINEDWEB_SIGNALS``."""
    raise NotImplementedError


def edit_lines(texts: pa.ChunkedArray | pa.Array) -> LineEdits:
    """Apply the line rules to a column of texts."""
    raise NotImplementedError
