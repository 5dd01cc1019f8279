"""RefinedWeb's line rules (Penedo et al. 2023, arXiv:2306.01116, appendix G), in the form that DCLM-Baseline gave them
(Li et al. 2024, arXiv:2406.11794).

Lines are split at ``\\n``. A line goes, in this order, if

* more than half of its characters are upper case;
* all of its characters are digits;
* it is a counter: a number (``1,234``, ``3.4K``) and one of likes, shares, comments, retweets, reposts, quotes,
  bookmarks, upvotes, downvotes, downloads, views, followers, in any case and with any symbols around them;
* it has fewer than two words (between white space).

Out of lines of ten words or fewer three phrases are cut, with one blank beside them: "items in cart" anywhere, "Read
more..." at the end, "Sign-in" at the beginning; a line of which nothing is left goes. Empty lines stay, as they part
paragraphs. A page goes if the lines and phrases held more than 5 % of its words (by ``annotate.words``; DCLM counts
Unicode's words without punctuation).

Where DCLM's code is not followed: its pattern for "Read more..." takes any three characters for the dots; its
``str.isdigit`` takes superscripts for digits, here they are none; and it strips the page after every rule, here that is
done at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_tools.filters.rules import Threshold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from data_tools.filters.line_edits import LineEdits

#: Raised when a signal or an edit changes its meaning.
VERSION = "refinedweb-1"

THRESHOLDS = (Threshold("refinedweb/removed-words", "max_removed_words", "refinedweb_removed_words", "above"),)

#: What the line rules do, in the order of the kernel's counts.
EDITS = (
    "refinedweb/uppercase",
    "refinedweb/numeric",
    "refinedweb/counter",
    "refinedweb/few-words",
    "refinedweb/phrase",  # places cut out of lines; all others are lines
)


def refinedweb_signals(
    texts: pa.ChunkedArray | pa.Array, words: str = "whitespace"
) -> dict[str, npt.NDArray[np.generic]]:
    """The share of each text's words that the line rules would take away.

    Args:
        texts: strings without nulls.
        words: name of the word definition.

    Returns:
        signal to (texts,) numbers, in the order of ``schema.REFINEDWEB_SIGNALS``; 0 for a text without words.
    """
    import numpy as np

    from data_tools.kernels.word_spans import find_words

    before = find_words(texts, words).counts()
    after = find_words(edit_lines(texts).texts, words).counts()
    return {"refinedweb_removed_words": (before - after) / np.maximum(before, 1)}


def edit_lines(texts: pa.ChunkedArray | pa.Array) -> LineEdits:
    """Apply the line rules to a column of texts (strings without nulls)."""
    import numpy as np

    from data_tools.filters.line_edits import LineEdits, strings
    from data_tools.kernels.blocks import REACH, padded_buffers
    from data_tools.kernels.characters import character_flags
    from data_tools.kernels.refinedweb_lines import apply_line_rules

    data, offsets = padded_buffers(texts)
    kept = np.empty(int(offsets[-1] - offsets[0]) + REACH, dtype=np.uint8)
    kept_offsets = np.zeros(len(offsets), dtype=np.int64)
    counts = np.zeros((len(offsets) - 1, len(EDITS)), dtype=np.int64)
    apply_line_rules(data, offsets, character_flags(), kept, kept_offsets, counts)
    return LineEdits(
        strings(kept[: kept_offsets[-1]], kept_offsets),
        {reason: counts[:, column] for column, reason in enumerate(EDITS)},
    )
