"""Sketches of texts, and who may stand in whom: candidates for `data_tools.dedup.containment`.

A text's sketch (FracMinHash: Irber et al. 2022, "Lightweight compositional analysis of metagenomes with FracMinHash
and minimum metagenome covers") are those of its shingles whose hash, mixed, is below 2^32 / scale. Unlike a signature
it grows with the text, and whether a shingle is in it doesn't hang on the others. So the share of a part's sketch that
is in the whole's estimates the share of its shingles that are, however long the whole is.

Shingles that many documents have (menus, licences) find nobody. How many of a document's are its own, as far as its
sketch tells, goes with its pairs: pages that are mostly menu aren't parts of each other for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.atomic_file import atomic_writer
from data_tools.config import DeduplicateConfig
from data_tools.dedup.bands import grouping_within
from data_tools.dedup.keep import Records
from data_tools.dedup.minhash import hash32
from data_tools.dedup.shingles import Shingles

#: Shingles of the shortest documents that are looked at, in their sketches on average.
_IN_SHORTEST_SKETCH = 8
# An estimate from fewer says nothing.
_LEAST_IN_SKETCH = 4
# Holders of a shingle that are paired where templates aren't told apart, lest a million documents make 10^12 pairs.
_MOST_HOLDERS = 255

#: A document and one that it may stand in: positions, and the share of the part's shingles that few documents have.
PAIR = np.dtype([("part", "<i8"), ("whole", "<i8"), ("own", "<f8")])


def sketch_scale(config: DeduplicateConfig) -> int:
    """One shingle of how many is in a sketch."""
    return max(1, config.containment_min_shingles // _IN_SHORTEST_SKETCH)


def sketch_bound(scale: int) -> int:
    """The mixed hashes below it are in a sketch."""
    return (1 << 32) // scale


def in_sketch(shingles: Shingles, scale: int) -> npt.NDArray[np.bool_]:
    """Which of ``shingles`` are in a sketch. The mixing is that of the signatures (MurmurHash3's finalizer)."""
    h = hash32(shingles)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return np.asarray(h < np.uint64(sketch_bound(scale)))


def write_sketches(
    path: Path, documents: npt.NDArray[np.int64], n_bytes: npt.NDArray[np.int64], hashes: Shingles
) -> None:
    """Write one shard's sketches: a row for each shingle, (rows,) all three. ``n_bytes`` are those of the document."""
    table = pa.table({"document": documents, "n_bytes": n_bytes, "hash": hashes})
    with atomic_writer(path) as handle:
        # Hashes don't compress, and the other columns are long runs of one value.
        pq.write_table(
            table, handle, compression="none", use_dictionary=["document", "n_bytes"], write_statistics=False
        )


def candidate_pairs(
    paths: Sequence[Path],
    gone: npt.NDArray[np.int64],
    config: DeduplicateConfig,
    *,
    memory_bytes: int,
    threads: int,
    spill: Path,
) -> Records:
    """Which documents may stand in which, as far as the sketches tell, grouped by DuckDB.

    A shingle's holders are paired only where there are few, so that a document has few candidates.

    Args:
        paths: what `write_sketches` wrote.
        gone: documents that don't take part.

    Returns:
        Of dtype `PAIR`, sorted by part and whole, the best ``max_comparisons`` for each part at most.
    """
    assert config.min_containment is not None
    query = """
        WITH held AS (
            SELECT hash, document, n_bytes, count(*) OVER (PARTITION BY hash) AS holders
            FROM read_parquet($files) ANTI JOIN gone USING (document)
        ),
        sketches AS (
            SELECT document, count(*) FILTER (holders <= $most) AS own, count(*) AS n
            FROM held GROUP BY document HAVING own >= $least
        ),
        shared AS (SELECT hash, document, n_bytes FROM held WHERE holders BETWEEN 2 AND $most),
        met AS (
            SELECT part.document AS part, whole.document AS whole, count(*) AS n
            FROM shared AS part JOIN shared AS whole ON part.hash = whole.hash AND part.n_bytes < whole.n_bytes
            GROUP BY ALL
        )
        SELECT part, whole, met.n / own AS estimate, own / sketches.n AS own_share
        FROM met JOIN sketches ON part = document
        -- Within two standard errors: a sketch is a sample.
        WHERE met.n >= $containment * own - 2 * sqrt($containment * (1 - $containment) * own)
    """
    parameters = {
        "files": [str(path) for path in paths],
        "most": config.template_documents or _MOST_HOLDERS,
        "least": _LEAST_IN_SKETCH,
        "containment": config.min_containment,
    }
    with grouping_within(memory_bytes, threads, spill) as connection:
        connection.register("gone", pa.table({"document": gone}))
        found = connection.sql(query, params=parameters).to_arrow_table()
    part, whole, estimate, own = (found[name].to_numpy() for name in ("part", "whole", "estimate", "own_share"))
    order = np.lexsort([whole, -estimate, part])
    rank = np.arange(len(part)) - np.searchsorted(part[order], part[order])
    best = order[rank < config.max_comparisons]
    pairs = np.zeros(len(best), dtype=PAIR)
    pairs["part"], pairs["whole"], pairs["own"] = part[best], whole[best], own[best]
    return pairs[np.lexsort([pairs["whole"], pairs["part"]])]
