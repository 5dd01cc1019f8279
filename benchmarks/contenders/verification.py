"""Candidate pairs to exact similarities: both texts to shingles, sorted, intersected."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

Contender = Generator[None, None, dict[str, Any]]
SHINGLE_WORDS = 5


def groundup(spec: dict[str, Any]) -> Contender:
    """From texts: the shingles of both are computed, too."""
    column = _pairs(spec["files"])
    _verify(column.slice(0, 20))
    yield
    return _verify(column)


def groundup_shingles(spec: dict[str, Any]) -> Contender:
    """The comparison alone, between shingles that are there."""
    from data_tools.dedup.shingles import shingle_runs

    column = _pairs(spec["files"])
    _verify(column.slice(0, 20))
    shingles = shingle_runs(column, SHINGLE_WORDS)
    yield
    return _compare(shingles)


def python_sets(spec: dict[str, Any]) -> Contender:
    """What one would write first: sets of strings."""
    import re

    texts = _pairs(spec["files"]).to_pylist()
    word = re.compile(r"\w+")

    def shingles(text: str) -> set[str]:
        words = word.findall(text.lower())
        return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))}

    yield
    similar = 0
    for one, other in zip(texts[::2], texts[1::2], strict=True):
        a, b = shingles(one), shingles(other)
        similar += len(a & b) / len(a | b) >= 0.75
    return {"pairs": len(texts) // 2, "similar": similar}


def _pairs(files: list[str]) -> Any:
    """Each document beside a copy in which every n-th word is another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = []
    for path in files:
        for number, text in enumerate(pq.read_table(path, columns=["text"])["text"].to_pylist()):
            words = text.split(" ")
            step = (10, 20, 40, 80, 160)[number % 5]
            texts += [text, " ".join("other" if i % step == step - 1 else word for i, word in enumerate(words))]
    return pa.array(texts, pa.large_string())


def _verify(column: Any) -> dict[str, Any]:
    from data_tools.dedup.shingles import shingle_runs

    return _compare(shingle_runs(column, SHINGLE_WORDS))


def _compare(runs: tuple[Any, Any]) -> dict[str, Any]:
    import numpy as np

    from data_tools.dedup.verify import Candidates, verify

    shingles, ends = runs
    documents = len(ends)
    candidates = Candidates(
        buckets=(np.arange(documents, dtype=np.int64) // 2)[:, None],
        signatures=np.zeros((documents, 1), dtype=np.uint32),
        shingles=shingles,
        starts=np.concatenate([[0], ends[:-1]]).astype(np.int64),
        ends=ends,
        components=np.arange(documents, dtype=np.int64) // 2,
    )
    # Nothing is passed over by its length, so that every pair is compared; "similar" is counted from 0.75 on.
    verdicts = verify(candidates, min_similarity=0.0, max_comparisons=1, template_documents=0)
    return {"pairs": verdicts.comparisons, "similar": int((verdicts.exact >= 0.75).sum())}
