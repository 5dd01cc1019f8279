"""Documents whose texts a stage changed: the new texts put in their places, with all that hangs on a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_tools.text import document_id


def replace_texts(table: pa.Table, new_texts: Mapping[int, str]) -> pa.Table:
    """``table`` (of documents) with new texts in some rows, and with their ids and lengths; rows with an empty one go.

    Args:
        new_texts: row to text.
    """
    if not new_texts:
        return table
    rows = sorted(new_texts)
    texts = [new_texts[row] for row in rows]
    replaced, gone = (np.zeros(table.num_rows, dtype=bool) for _ in range(2))
    replaced[rows] = True
    gone[rows] = [not text for text in texts]
    for name, values in {
        "text": pa.array(texts, pa.large_string()),
        "doc_id": pa.array([document_id(text) for text in texts], pa.string()),
        "n_bytes": pa.array([len(text.encode()) for text in texts], pa.int64()),
    }.items():
        column = pc.replace_with_mask(table[name].combine_chunks(), pa.array(replaced), values)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table.filter(pa.array(~gone))


def count_documents(before: pa.Table, after: pa.Table) -> Counter[str]:
    """Documents and bytes in and out, and those that came out by source."""
    counts: Counter[str] = Counter()
    for name, table in (("in", before), ("out", after)):
        counts[f"documents_{name}"] = table.num_rows
        counts[f"bytes_{name}"] = pc.sum(table["n_bytes"]).as_py() or 0
    for group in after.group_by("source").aggregate([("n_bytes", "sum"), ("n_bytes", "count")]).to_pylist():
        counts[f"source.{group['source']}.documents_out"] = group["n_bytes_count"]
        counts[f"source.{group['source']}.bytes_out"] = group["n_bytes_sum"]
    return counts
