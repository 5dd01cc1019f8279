"""A text as the set of its word n-grams (shingles; Broder 1997), each named by a 64-bit hash.

The definition is our own and has golden vectors in the tests, since libraries change theirs
(`data_tools.kernels.words` says what a word is, `data_tools.kernels.minhash` how words are combined). Two renderings
of a text that differ in punctuation, line breaks or markup have (nearly) the same shingles. A text shorter than one
shingle is one shingle of all its words; a text without words has none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_tools.kernels import minhash as kernels
from data_tools.kernels.buffers import text_buffers
from data_tools.kernels.characters import character_flags, lower_case
from data_tools.kernels.words import BLOCK

#: Raised when the same text would get other shingles.
SHINGLE_VERSION = 2

Shingles: TypeAlias = npt.NDArray[np.uint64]


def shingle_runs(
    column: pa.ChunkedArray | pa.Array, shingle_words: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct shingles of each text of a string column, sorted, all in one array.

    Returns:
        ``(shingles, ends)``: those of text i are ``shingles[ends[i - 1]:ends[i]]``, those of the first begin at 0.
    """
    data, offsets = (read_only(buffer) for buffer in text_buffers(column))
    hashes = np.empty(most_shingles(offsets), dtype=np.uint64)
    ends = np.empty(len(offsets) - 1, dtype=np.int64)
    kernels.shingles(data, offsets, character_flags(), lower_case(), shingle_words, hashes, ends)
    for start, end in pairwise([0, *ends.tolist()]):
        hashes[start:end].sort()  # here, because numpy sorts with vector instructions and numba without
    kernels.drop_repeats(hashes, ends)
    return hashes[: ends[-1] if len(ends) else 0], ends


def most_shingles(offsets: npt.NDArray[np.generic]) -> int:
    """Shingles that texts of these `text_buffers` can have in all, and the room that the kernels ask for."""
    # A word takes two bytes with the character that ends it, but for the last of a text.
    return int(offsets[-1] - offsets[0]) // 2 + len(offsets) + BLOCK


def shingle_sets(column: pa.ChunkedArray | pa.Array, shingle_words: int) -> list[Shingles]:
    """The distinct shingles of each text of a string column, sorted, uint64."""
    shingles, ends = shingle_runs(column, shingle_words)
    return [shingles[start:end] for start, end in pairwise([0, *ends.tolist()])]


def jaccard(a: Shingles, b: Shingles) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted arrays of distinct values; two empty sets are unlike."""
    if not len(a) or not len(b):
        return 0.0
    shared = int(kernels.shared_values(read_only(a), read_only(b)))
    return shared / (len(a) + len(b) - shared)


def standing_in(part: Shingles, whole: Shingles) -> npt.NDArray[np.bool_]:
    """Which of the shingles of ``part`` are in ``whole`` (both sorted). A look-up for each: a book is not read from
    end to end for every chapter."""
    if not len(whole):
        return np.zeros(len(part), dtype=bool)
    places = np.minimum(np.searchsorted(whole, part), len(whole) - 1)
    return np.asarray(whole[places] == part)


def read_only(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A view that can't be written to. Arrow's buffers are such views, and a compiled loop is compiled once for them
    and once more for arrays of the other kind, so it is given no others."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
