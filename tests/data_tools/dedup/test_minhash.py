"""Parity with datasketch, bit for bit, and the estimator against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.dedup.minhash import MinHasher, band_keys, estimated_jaccard, hash32
from data_tools.dedup.shingles import ShingleHasher, jaccard


def datasketch_signature(shingles: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    sketch = MinHash(num_perm=permutations, seed=seed, scheme="affine32", hashfunc=int)
    sketch.update_batch(hash32(shingles).tolist())
    return sketch.hashvalues


@settings(deadline=None, max_examples=50)
@given(
    shingles=st.lists(st.integers(0, 2**64 - 1), max_size=300, unique=True),
    permutations=st.integers(1, 200),
    seed=st.integers(0, 2**31 - 1),
)
def test_signatures_are_those_of_datasketch(shingles: list[int], permutations: int, seed: int) -> None:
    values = np.array(sorted(shingles), dtype=np.uint64)
    ours = MinHasher(permutations, seed).signature(values)
    assert ours.dtype == np.uint32
    np.testing.assert_array_equal(ours, datasketch_signature(values, permutations, seed))


def test_parity_across_the_chunk_boundary() -> None:
    values = np.unique(np.random.default_rng(0).integers(0, 2**64, 5_000, dtype=np.uint64))
    np.testing.assert_array_equal(MinHasher(112, 1).signature(values), datasketch_signature(values, 112, 1))


@pytest.mark.parametrize("similarity", [0.3, 0.6, 0.8, 0.9])
def test_the_estimate_is_unbiased_with_the_expected_spread(similarity: float) -> None:
    generator = np.random.default_rng(7)
    permutations, pairs, union = 112, 300, 400
    hasher = MinHasher(permutations, 3)
    errors = []
    for _ in range(pairs):
        values = generator.integers(0, 2**64, union, dtype=np.uint64)
        shared = round(similarity * union)
        half = (union - shared) // 2
        a, b = np.sort(values[: shared + half]), np.sort(np.concatenate([values[:shared], values[shared + half :]]))
        estimate = estimated_jaccard(hasher.signature(a), hasher.signature(b)[None])[0]
        errors.append(estimate - jaccard(a, b))
    expected = np.sqrt(similarity * (1 - similarity) / permutations)
    assert abs(np.mean(errors)) < 0.01
    assert np.sqrt(np.mean(np.square(errors))) < 1.15 * expected


def test_band_keys_are_equal_exactly_where_bands_are() -> None:
    generator = np.random.default_rng(1)
    signatures = generator.integers(0, 3, (200, 6), dtype=np.uint32)  # few values, so that bands do meet
    keys = band_keys(signatures, bands=3, rows=2)
    banded = signatures.reshape(200, 3, 2)
    same_band = (banded[:, None] == banded[None, :]).all(axis=3)
    np.testing.assert_array_equal(keys[:, None] == keys[None, :], same_band)


def test_shingle_hashes_are_pinned() -> None:
    # Golden vectors: other values mean another SHINGLE_VERSION.
    hasher = ShingleHasher(2)
    assert hasher.shingles("One, two; THREE").tolist() == [10993520877187551212, 13764245666506251179]


def test_shingles_ignore_case_punctuation_and_line_breaks() -> None:
    hasher = ShingleHasher(5)
    a = hasher.shingles("The cat — a tabby — sat on the mat.")
    b = hasher.shingles("the CAT a tabby,\nsat on  the mat")
    np.testing.assert_array_equal(a, b)
    assert len(a) == 4


def test_order_of_words_matters() -> None:
    hasher = ShingleHasher(2)
    assert jaccard(hasher.shingles("a b"), hasher.shingles("b a")) == 0.0


def test_short_and_empty_texts() -> None:
    hasher = ShingleHasher(5)
    assert len(hasher.shingles("just three words")) == 1
    np.testing.assert_array_equal(hasher.shingles("Just three words!"), hasher.shingles("just three words"))
    assert len(hasher.shingles("... !!!")) == 0


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_jaccard(a: set[int], b: set[int]) -> None:
    expected = len(a & b) / len(a | b) if a and b else 0.0
    result = jaccard(np.array(sorted(a), dtype=np.uint64), np.array(sorted(b), dtype=np.uint64))
    assert result == pytest.approx(expected)
