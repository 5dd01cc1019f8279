"""Documents in Parquet to the list of those that go, and (ours) to the Parquet of those that stay."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]
PERMUTATIONS, BANDS, ROWS, SHINGLE_WORDS, SIMILARITY = 112, 14, 8, 5, 0.75
WORD = re.compile(r"\w+")


def groundup(spec: dict[str, Any]) -> Contender:
    """The door of deduplicate: reading, signatures, bands, clusters, exact verification, and writing what stays.

    ``decided_cpu_seconds`` is how far it is when it begins to write: what the peers do ends there.
    """
    import time

    from data_tools.config import DataRuntime, DeduplicateConfig
    from data_tools.stages import deduplicate

    # Parts of longer documents are what no peer looks for.
    config = DeduplicateConfig(min_similarity=SIMILARITY, min_containment=None)
    scratch = Path(spec["scratch"])
    decided = 0.0

    def progress(done: float, total: float | None, message: str = "") -> None:
        nonlocal decided
        if message == "writing" and not decided:
            decided = time.process_time()

    def work(folder: str, name: str) -> dict[str, Any]:
        out = scratch / name
        out.mkdir(parents=True, exist_ok=True)
        inputs = {"documents": Path(folder)}
        return dict(deduplicate.run(config, inputs, out, progress, DataRuntime(workers=1)))

    work(spec["warm_up"], "warm-up")
    yield
    start, decided = time.process_time(), 0.0
    counters = work(spec["folder"], f"out-{len(list(scratch.iterdir()))}")
    return {
        "counters": counters,
        "removed": counters["documents_in"] - counters["documents_out"],
        "decided_cpu_seconds": decided - start,
    }


def datasketch_lsh(spec: dict[str, Any]) -> Contender:
    """datasketch's bulk signatures into its MinHashLSH; every document is asked for, clusters by union-find.

    It doesn't verify: whatever shares a band is one cluster."""
    from datasketch import MinHash, MinHashLSH

    MinHash.bulk([[b"warm", b"up"]], num_perm=PERMUTATIONS, scheme="affine32")
    yield
    texts = _texts(spec["files"])
    signatures: list[Any] = []
    for start in range(0, len(texts), 256):
        sets = [[shingle.encode() for shingle in _shingles(text)] for text in texts[start : start + 256]]
        signatures += MinHash.bulk(sets, num_perm=PERMUTATIONS, scheme="affine32")
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
    clusters = _Clusters(len(texts))
    for number, signature in enumerate(signatures):
        for other in index.query(signature):
            clusters.join(other, number)
        index.insert(number, signature)
    return {"documents": len(texts), "removed": clusters.removed}


def gaoya(spec: dict[str, Any]) -> Contender:
    """gaoya's index; it verifies by the share of equal signature values. Clusters by union-find."""
    from gaoya.minhash import MinHashStringIndex

    def index() -> Any:
        return MinHashStringIndex(32, SIMILARITY, BANDS, ROWS, None, "word", True, (SHINGLE_WORDS, SHINGLE_WORDS))

    index().insert_document(0, "a text to warm up with")
    yield
    texts = _texts(spec["files"])
    filled = index()
    filled.par_bulk_insert_docs(list(range(len(texts))), texts)
    clusters = _Clusters(len(texts))
    for number, others in enumerate(filled.par_bulk_query(texts)):
        for other in others:
            clusters.join(other, number)
    return {"documents": len(texts), "removed": clusters.removed}


def _texts(files: list[str]) -> list[str]:
    import pyarrow.parquet as pq

    return [text for path in files for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]


def _shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    if len(words) < SHINGLE_WORDS:
        return [" ".join(words)]
    return [" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)]


class _Clusters:
    def __init__(self, documents: int) -> None:
        self.parents = list(range(documents))
        self.removed = 0

    def root(self, node: int) -> int:
        while self.parents[node] != node:
            self.parents[node] = self.parents[self.parents[node]]
            node = self.parents[node]
        return node

    def join(self, one: int, other: int) -> None:
        a, b = self.root(one), self.root(other)
        if a != b:
            self.parents[max(a, b)] = min(a, b)
            self.removed += 1
