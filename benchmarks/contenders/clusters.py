"""Band keys on disk to clusters: which documents are connected by a shared band."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]


def groundup(spec: dict[str, Any]) -> Contender:
    """Sorted in memory, a band at a time."""
    return (yield from _groundup(spec, memory_bytes=500_000_000))


def groundup_spilling(spec: dict[str, Any]) -> Contender:
    """Grouped by DuckDB in little memory, spilling to disk: what happens beyond some ten million documents."""
    return (
        yield from _groundup(
            spec, memory_bytes=30_000_000 if spec["documents"] < 1_000_000 else 300_000_000, spill=True
        )
    )


def _groundup(spec: dict[str, Any], memory_bytes: int, spill: bool = False) -> Contender:
    import numpy as np

    from data_tools.dedup import bands
    from data_tools.dedup.components import component_members

    if spill:
        bands._BYTES_A_ROW = 1 << 40  # never in memory
    options: dict[str, Any] = {"memory_bytes": memory_bytes, "threads": 1, "spill": Path(spec["scratch"]) / "spill"}
    bands.connected([Path(path) for path in spec["warm_up"]], spec["warm_up_documents"], spec["bands"], **options)
    component_members(np.zeros(2, np.int64), np.ones(2, bool))
    yield
    parents = bands.connected([Path(path) for path in spec["keys"]], spec["documents"], spec["bands"], **options)
    members, starts = component_members(parents, np.ones(spec["documents"], dtype=bool))
    return {"clusters": len(starts) - 1, "members": len(members)}


def duckdb_window(spec: dict[str, Any]) -> Contender:
    """DuckDB over all bands in one query; components by scipy."""
    import duckdb
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    yield
    selects = " UNION ALL ".join(
        f"SELECT {band} AS band, document, band_{band:03d} AS key FROM keys" for band in range(spec["bands"])
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("CREATE VIEW keys AS SELECT * FROM read_parquet(" + repr(spec["keys"]) + ")")
        edges = connection.sql(
            f"SELECT first, document FROM (SELECT document, min(document) OVER (PARTITION BY band, key) AS first "
            f"FROM ({selects})) WHERE first <> document"
        ).fetchnumpy()
    return _components(np, coo_matrix, connected_components, edges["first"], edges["document"], spec["documents"])


def polars_over(spec: dict[str, Any]) -> Contender:
    """Polars, a band at a time; components by scipy."""
    import numpy as np
    import polars as pl
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    yield
    firsts, seconds = [], []
    for band in range(spec["bands"]):
        name = f"band_{band:03d}"
        edges = (
            pl.scan_parquet(spec["keys"])
            .select("document", first=pl.col("document").min().over(name))
            .filter(pl.col("first") != pl.col("document"))
            .collect()
        )
        firsts.append(edges["first"].to_numpy())
        seconds.append(edges["document"].to_numpy())
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    return _components(np, coo_matrix, connected_components, first, second, spec["documents"])


def _components(np: Any, matrix: Any, components: Any, first: Any, second: Any, documents: int) -> dict[str, Any]:
    _, labels = components(matrix((np.ones(len(first), bool), (first, second)), shape=(documents, documents)))
    sizes = np.bincount(labels)
    return {"clusters": int((sizes > 1).sum()), "members": int(sizes[sizes > 1].sum())}


def datasketch_lsh(spec: dict[str, Any]) -> Contender:
    """datasketch's MinHashLSH: every signature is asked for, then inserted; clusters by union-find."""
    import numpy as np
    from datasketch import MinHash, MinHashLSH

    matrix = np.load(spec["signatures"])
    permutations = matrix.shape[1]
    template = MinHash(num_perm=permutations, scheme="affine32")
    yield
    index = MinHashLSH(num_perm=permutations, params=(spec["bands"], permutations // spec["bands"]))
    parents = list(range(len(matrix)))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for number, values in enumerate(matrix):
        signature = MinHash(
            num_perm=permutations, hashvalues=values, permutations=template.permutations, scheme="affine32"
        )
        for other in index.query(signature):
            a, b = root(other), root(number)
            parents[max(a, b)] = min(a, b)
        index.insert(number, signature)
    sizes = np.bincount([root(node) for node in range(len(matrix))])
    return {"clusters": int((sizes > 1).sum()), "members": int(sizes[sizes > 1].sum())}
