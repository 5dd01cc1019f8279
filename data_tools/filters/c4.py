"""C4 (Raffel et al. 2020): stub, being written."""

from __future__ import annotations
from typing import TYPE_CHECKING
from data_tools.filters.rules import Flag, Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.filters.line_edits import LineEdits

VERSION = "c4-1"

THRESHOLDS = (
    Threshold("c4/few-sentences", "min_sentences", "c4_sentences", "below"),
    Flag("c4/lorem-ipsum", "drop_lorem_ipsum", "c4_lorem_ipsum"),
    Flag("c4/curly-brace", "drop_curly_brace", "c4_curly_brace"),
    Threshold("c4/few-long-paragraphs", "min_long_paragraphs", "c4_long_paragraphs", "below"),
)


def c4_signals(
    texts: pa.ChunkedArray | pa.Array, variant: str = "paper", terminal_punctuation: bool = True
) -> dict[str, npt.NDArray[np.generic]]:
    """Signal to (texts,) numbers, in the order of ``schema.C4_SIGNALS``."""
    raise NotImplementedError


def edit_lines(
    texts: pa.ChunkedArray | pa.Array, variant: str = "paper", terminal_punctuation: bool = True
) -> LineEdits:
    """Apply the line rules of a variant (``paper``, ``code``, ``datatrove``) to a column of texts.

    Args:
        texts: strings without nulls.
        variant: whose rules.
        terminal_punctuation: False leaves out the rule that a line must end in a punctuation mark (FineWeb).
    """
    raise NotImplementedError
