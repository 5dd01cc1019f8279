"""A column of texts as the two arrays that a compiled loop reads: the UTF-8 bytes, and where each text begins."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]


def text_buffers(column: pa.ChunkedArray | pa.Array) -> tuple[Bytes, Offsets]:
    """``(data, offsets)`` of a string column without nulls: text ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    Nothing is copied for one chunk of ``large_string``, which is what a row group of our own tables is.

    Returns:
        data: (bytes,) uint8. offsets: (texts + 1,) int64, the first of which need not be 0.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], "str")])
    if not pa.types.is_large_string(column.type):
        column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    if offsets is None or len(column) == 0:
        return np.zeros(0, dtype=np.uint8), np.zeros(len(column) + 1, dtype=np.int64)
    starts = np.frombuffer(offsets, dtype=np.int64, count=len(column) + 1, offset=8 * column.offset)
    return (np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)), starts
