"""Parquet text to MinHash signatures: 5-word shingles, 112 permutations.

Peers that take tokens get their shingles from Python's ``re``, as their users would write it, and that counts: it is
part of the way from text to signature. So does reading the Parquet file, for all but ``groundup_kernel``.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

Contender = Generator[None, None, dict[str, Any]]
PERMUTATIONS, SHINGLE_WORDS = 112, 5
WORD = re.compile(r"\w+")


def texts_of(files: list[str]) -> Iterator[str]:
    import pyarrow.parquet as pq

    for path in files:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=["text"], use_threads=False)["text"].to_pylist()


def word_shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    if len(words) < SHINGLE_WORDS:
        return [" ".join(words)]
    return [" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)]


def groundup(spec: dict[str, Any]) -> Contender:
    hasher = _hasher()
    for column in _row_groups(spec["warm_up"]):
        hasher.signatures(column)
    yield
    documents = sum(len(hasher.signatures(column)[0]) for column in _row_groups(spec["files"]))
    return {"documents": documents}


def groundup_kernel(spec: dict[str, Any]) -> Contender:
    """The same with the texts in memory as Arrow's buffers: what the compiled loop does by itself."""
    hasher = _hasher()
    for column in _row_groups(spec["warm_up"]):
        hasher.signatures(column)
    columns = list(_row_groups(spec["files"]))
    yield
    return {"documents": sum(len(hasher.signatures(column)[0]) for column in columns)}


def _hasher() -> Any:
    from data_tools.dedup.minhash import MinHasher

    return MinHasher(PERMUTATIONS, 1, SHINGLE_WORDS)


def _row_groups(files: list[str]) -> Iterator[Any]:
    from data_tools.parquet import read_row_groups

    for path in files:
        for table in read_row_groups(Path(path), ["text"]):
            yield table["text"]


def datasketch_bulk(spec: dict[str, Any]) -> Contender:
    return (yield from _datasketch(spec, {}))


def datasketch_bulk_xxh32(spec: dict[str, Any]) -> Contender:
    import xxhash

    return (yield from _datasketch(spec, {"hashfunc": xxhash.xxh32_intdigest}))


def _datasketch(spec: dict[str, Any], options: dict[str, Any]) -> Contender:
    from datasketch import MinHash

    def signatures(texts: list[str]) -> int:
        sets = [[shingle.encode() for shingle in word_shingles(text)] for text in texts]
        return len(MinHash.bulk(sets, num_perm=PERMUTATIONS, scheme="affine32", **options))

    signatures(["a text to warm up with"] * 10)
    yield
    documents, batch = 0, []
    for text in texts_of(spec["files"]):
        batch.append(text)
        if len(batch) == 256:
            documents += signatures(batch)
            batch = []
    return {"documents": documents + (signatures(batch) if batch else 0)}


def rensa_r(spec: dict[str, Any]) -> Contender:
    from rensa import RMinHash

    RMinHash(num_perm=PERMUTATIONS, seed=1).update(["warm", "up"])
    yield
    documents = 0
    for text in texts_of(spec["files"]):
        signature = RMinHash(num_perm=PERMUTATIONS, seed=1)
        signature.update(word_shingles(text))
        documents += len(signature.digest()) > 0
    return {"documents": documents}


def gaoya(spec: dict[str, Any]) -> Contender:
    """Includes putting them into its index, which can't be left out."""
    from gaoya.minhash import MinHashStringIndex

    def index() -> Any:
        return MinHashStringIndex(32, 0.75, 14, 8, None, "word", True, (SHINGLE_WORDS, SHINGLE_WORDS))

    index().insert_document(0, "a text to warm up with")
    yield
    filled = index()
    documents = 0
    for documents, text in enumerate(texts_of(spec["files"]), 1):
        filled.insert_document(documents, text)
    return {"documents": documents}


def datatrove(spec: dict[str, Any]) -> Contender:
    """Its own words (spaCy's English tokenizer) and its own hash (xxh64)."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature(
        spec["scratch"], config=MinhashConfig(n_grams=SHINGLE_WORDS, num_buckets=14, hashes_per_bucket=8)
    )
    step.get_signature(step.get_shingles("a text to warm up with, a few words long"))
    yield
    documents = 0
    for text in texts_of(spec["files"]):
        shingles = step.get_shingles(text)
        if shingles.size:
            step.get_signature(shingles)
        documents += 1
    return {"documents": documents}
