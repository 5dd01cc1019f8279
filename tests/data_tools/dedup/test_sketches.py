"""Sketches and the candidates that they lead to, against plain Python."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_tools.config import DeduplicateConfig
from data_tools.dedup.minhash import MinHasher
from data_tools.dedup.shingles import shingle_sets
from data_tools.dedup.sketches import candidate_pairs, in_sketch, sketch_bound, sketch_scale, write_sketches
from tests.data_tools.dedup import shingle_reference

MASK = 0xFFFFFFFF


def murmur3_finalizer(h: int) -> int:
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def sketch(text: str, size: int, scale: int) -> list[int]:
    found = set(shingle_reference.shingles(text, size))
    return sorted(shingle for shingle in found if murmur3_finalizer(shingle >> 32) < 2**32 // scale)


def sketches_of(texts: list[str], size: int, scale: int) -> list[list[int]]:
    hasher = MinHasher(16, 1, size)
    signatures, counts, sketches, ends = hasher.signatures_and_sketches(pa.array(texts), sketch_bound(scale))
    expected, expected_counts = hasher.signatures(pa.array(texts))
    np.testing.assert_array_equal(signatures, expected)
    np.testing.assert_array_equal(counts, expected_counts)
    return [sketches[start:end].tolist() for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(st.sampled_from("ab cd é漢 _\n"), max_size=200), min_size=1, max_size=6),
    st.integers(1, 9),
    st.sampled_from([1, 2, 3, 8, 64]),
)
def test_a_sketch_is_that_of_the_reference(texts: list[str], size: int, scale: int) -> None:
    assert sketches_of(texts, size, scale) == [sketch(text, size, scale) for text in texts]
    for shingles, expected in zip(shingle_sets(pa.array(texts), size), sketches_of(texts, size, scale), strict=True):
        assert shingles[in_sketch(shingles, scale)].tolist() == expected


@pytest.mark.parametrize("words", [2_048, 2_052, 5_000])
def test_sketches_across_the_chunk_boundary_and_of_repeated_texts(words: int) -> None:
    generator = random.Random(words)
    text = " ".join(f"{generator.randrange(10**6):x}" for _ in range(words))
    texts = ["", text, "a " * 5_000, text + " " + text]
    (nothing, once, same, twice) = sketches_of(texts, 5, 16)
    assert (nothing, once) == ([], sketch(text, 5, 16)) and len(same) <= 1
    assert set(once) <= set(twice) and len(twice) <= len(once) + 4
    # One shingle of 16 is in a sketch: within four standard errors.
    assert abs(len(once) - words / 16) < 4 * math.sqrt(words / 16)


def plain_pairs(
    sketches: list[set[int]], n_bytes: list[int], gone: set[int], containment: float, most: int
) -> dict[tuple[int, int], float]:
    there = [document for document in range(len(sketches)) if document not in gone]
    holders = Counter(shingle for document in there for shingle in sketches[document])
    own = {document: {one for one in sketches[document] if holders[one] <= most} for document in there}
    found = {}
    for part in there:
        n = len(own[part])
        needed = containment * n - 2 * math.sqrt(containment * (1 - containment) * n)
        for whole in there:
            shared = len(own[part] & own[whole])
            if n >= 4 and shared and shared >= needed and n_bytes[part] < n_bytes[whole]:
                found[part, whole] = n / len(sketches[part])
    return found


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.one_of(st.sets(st.integers(1, 15)), st.sets(st.integers(1, 60), min_size=10)), st.integers(1, 9)),
        min_size=1,
        max_size=20,
    ),
    st.sets(st.integers(0, 19), max_size=4),
    st.sampled_from([0.5, 0.9, 1.0]),
    st.sampled_from([0, 2, 8]),
)
def test_candidates_are_those_of_a_plain_search(
    tmp_path: Path, documents: list[tuple[set[int], int]], gone: set[int], containment: float, most: int
) -> None:
    sketches, n_bytes = [one for one, _ in documents], [size for _, size in documents]
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for path, part in zip(paths, (range(0, len(sketches), 2), range(1, len(sketches), 2)), strict=True):
        of = np.array([document for document in part for _ in sketches[document]], dtype=np.int64)
        hashes = np.array([one for document in part for one in sorted(sketches[document])], dtype=np.uint64)
        write_sketches(path, of, np.array(n_bytes, dtype=np.int64)[of], hashes)
    config = DeduplicateConfig(min_containment=containment, template_documents=most, max_comparisons=100)
    nowhere = np.array(sorted(gone), dtype=np.int64)
    pairs = candidate_pairs(paths, nowhere, config, memory_bytes=10**8, threads=1, spill=tmp_path / "spill")
    found = {(part, whole): own for part, whole, own in pairs.tolist()}
    assert found == pytest.approx(plain_pairs(sketches, n_bytes, gone, containment, most or 255))
    assert list(found) == sorted(found)


def test_the_best_candidates_of_each_part(tmp_path: Path) -> None:
    # Documents 1, 2, ... have more and more of document 0.
    sketches = [set(range(100)), *(set(range(93 + i)) | set(range(1_000 * i, 1_000 * i + 50)) for i in range(1, 7))]
    of = np.repeat(np.arange(7), [len(one) for one in sketches])
    hashes = np.array([one for sketch in sketches for one in sorted(sketch)], dtype=np.uint64)
    write_sketches(tmp_path / "0.parquet", of, np.where(of, 500, 300), hashes)
    nobody = np.zeros(0, dtype=np.int64)
    for most, expected in ((2, [5, 6]), (1, [6])):
        config = DeduplicateConfig(max_comparisons=most, template_documents=0)
        pairs = candidate_pairs(
            [tmp_path / "0.parquet"], nobody, config, memory_bytes=10**8, threads=1, spill=tmp_path / "spill"
        )
        assert pairs["part"].tolist() == [0] * most and pairs["whole"].tolist() == expected


def test_the_shortest_documents_have_a_few_in_their_sketches() -> None:
    assert [sketch_scale(DeduplicateConfig(containment_min_shingles=n)) for n in (1, 15, 16, 256)] == [1, 1, 2, 32]
