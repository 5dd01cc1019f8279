"""Band keys of a million documents to clusters. Every fifth document is a copy of an earlier one, of random likeness.

What everybody starts from lies on disk: ours, DuckDB and Polars read band keys from Parquet; datasketch takes the
signatures themselves, of fewer documents (its time per document grows with their number, so that favours it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, as_json, ceiling, contest

DOCUMENTS, FOR_DATASKETCH, BANDS, ROWS = 1_000_000, 40_000, 14, 8
BAR_SECONDS, BAR_MEMORY_GB = 10.0, 1.0


def run(scratch: Path) -> dict[str, Any]:
    keys = _write_keys(scratch / "keys", DOCUMENTS)
    little = _write_keys(scratch / "little", FOR_DATASKETCH, scratch / "signatures.npy")
    common: dict[str, Any] = {
        "bands": BANDS,
        "warm_up": little,
        "warm_up_documents": FOR_DATASKETCH,
        "signatures": str(scratch / "signatures.npy"),
    }
    large, small = {"keys": keys, "documents": DOCUMENTS}, {"keys": little, "documents": FOR_DATASKETCH}
    entries = contest(
        "clusters",
        [
            (Contender("groundup", "groundup", ("data_tools", "duckdb")), {**common, **large}, DOCUMENTS),
            (
                Contender("groundup_spilling", "groundup, grouped by DuckDB in 300 MB", ("data_tools", "duckdb")),
                {**common, **large},
                DOCUMENTS,
            ),
            (Contender("polars_over", "Polars, scipy", ("polars", "scipy")), {**common, **large}, DOCUMENTS),
            (Contender("duckdb_window", "DuckDB, scipy", ("duckdb", "scipy")), {**common, **large}, DOCUMENTS),
            (
                Contender("datasketch_lsh", "datasketch MinHashLSH", ("datasketch",)),
                {**common, **small},
                FOR_DATASKETCH,
            ),
            (
                Contender("groundup", "groundup, datasketch's part", ("data_tools",)),
                {**common, **small},
                FOR_DATASKETCH,
            ),
        ],
        unit="documents",
    )
    for entry in entries:
        if not entry.failed:
            found, memory = entry.result, entry.result["peak_memory_bytes"] / 1e6
            print(
                f"  {entry.contender.title}: {found['clusters']:,} clusters of {found['members']:,} documents, "
                f"peak memory {memory:,.0f} MB (imports included)"
            )
    ours = None if entries[0].failed else entries[0].result
    bars = [
        ceiling("a million documents", ours and ours["cpu_seconds"], BAR_SECONDS, " s"),
        ceiling("peak memory", ours and ours["peak_memory_bytes"] / 1e9, BAR_MEMORY_GB, " GB"),
    ]
    return {"entries": as_json(entries, "documents"), "bars": bars}


def _write_keys(folder: Path, documents: int, signatures_path: Path | None = None) -> list[str]:
    """Made signatures to band keys in files of 100,000 documents."""
    import numpy as np

    from data_tools.dedup.bands import write_band_keys
    from data_tools.dedup.minhash import band_keys

    generator = np.random.default_rng(documents)
    folder.mkdir(parents=True)
    paths, parts = [], []
    for start in range(0, documents, 100_000):
        size = min(100_000, documents - start)
        signatures = generator.integers(0, 2**32, (size, BANDS * ROWS), dtype=np.uint32)
        copies = np.flatnonzero(generator.random(size) < 0.2)
        copies = copies[copies > 0]
        originals = (generator.random(len(copies)) * copies).astype(np.int64)
        likeness = generator.uniform(0.4, 1.0, len(copies))
        for copy, original, same in zip(copies, originals, likeness, strict=True):
            agreeing = generator.random(BANDS * ROWS) < same
            signatures[copy, agreeing] = signatures[original, agreeing]
        path = folder / f"part-{start // 100_000:05d}.parquet"
        write_band_keys(path, np.arange(start, start + size), band_keys(signatures, BANDS, ROWS))
        paths.append(str(path))
        parts.append(signatures)
    if signatures_path is not None:
        np.save(signatures_path, np.concatenate(parts))
    return paths
