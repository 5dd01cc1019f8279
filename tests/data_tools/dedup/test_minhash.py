"""Parity with datasketch, bit for bit; the estimator against the truth; shingles against a plain Python twin."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.dedup.minhash import MinHasher, band_keys, estimated_jaccard
from data_tools.dedup.shingles import Shingles, jaccard, shingle_sets
from tests.data_tools.dedup import shingle_reference


def shingles_of(text: str, size: int = 5) -> Shingles:
    (found,) = shingle_sets(pa.array([text]), size)
    return found


def datasketch_signature(text: str, size: int, permutations: int, seed: int) -> np.ndarray:
    return shingle_reference.signatures_of_sets([shingle_reference.shingles(text, size)], permutations, seed)[0]


TEXTS = st.text(st.sampled_from("ab cd é漢 _\n"), max_size=200)


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=6),
    size=st.integers(1, 9),
    permutations=st.integers(1, 130),
    seed=st.integers(0, 2**31 - 1),
)
def test_signatures_and_shingles_are_those_of_datasketch_and_of_the_reference(
    texts: list[str], size: int, permutations: int, seed: int
) -> None:
    signatures, counts = MinHasher(permutations, seed, size).signatures(pa.array(texts))
    assert signatures.dtype == np.uint32
    for text, signature, count, found in zip(
        texts, signatures, counts, shingle_sets(pa.array(texts), size), strict=True
    ):
        expected = shingle_reference.shingles(text, size)
        assert count == len(expected)
        assert found.tolist() == sorted(set(expected))
        np.testing.assert_array_equal(signature, datasketch_signature(text, size, permutations, seed))


@pytest.mark.parametrize("words", [2_047, 2_048, 2_051, 2_052, 2_053, 5_000])
def test_parity_across_the_chunk_boundary(words: int) -> None:
    generator = random.Random(words)
    text = " ".join(f"{generator.randrange(10**6):x}" for _ in range(words))
    signatures, counts = MinHasher(112, 1, 5).signatures(pa.array(["", text, "one"]))
    assert counts.tolist() == [0, words - 4, 1]
    np.testing.assert_array_equal(signatures[1], datasketch_signature(text, 5, 112, 1))
    assert (signatures[0] == 0xFFFFFFFF).all()


def test_slices_and_chunks_of_a_column() -> None:
    texts = [f"text number {i} of a column of several" for i in range(20)]
    whole = pa.array(texts, pa.large_string())
    hasher = MinHasher(16, 1, 3)
    expected, _ = hasher.signatures(whole)
    np.testing.assert_array_equal(hasher.signatures(whole[5:9])[0], expected[5:9])
    np.testing.assert_array_equal(hasher.signatures(pa.chunked_array([whole[:7], whole[7:]]))[0], expected)
    assert hasher.signatures(whole[:0])[0].shape == (0, 16) and shingle_sets(whole[:0], 3) == []


@pytest.mark.parametrize("similarity", [0.3, 0.6, 0.8, 0.9])
def test_the_estimate_is_unbiased_with_the_expected_spread(similarity: float) -> None:
    # Sets of one-word shingles: their true similarity is known.
    generator = np.random.default_rng(7)
    permutations, pairs, union = 112, 300, 400
    shared = round(similarity * union)
    half = (union - shared) // 2
    left, right, truth = [], [], []
    for _ in range(pairs):
        words = [f"{value:x}" for value in generator.integers(0, 2**40, union)]
        left.append(" ".join(words[: shared + half]))
        right.append(" ".join(words[:shared] + words[shared + half :]))
        truth.append(jaccard(shingles_of(left[-1], 1), shingles_of(right[-1], 1)))
    assert np.mean(truth) == pytest.approx(similarity, abs=0.01)
    hasher = MinHasher(permutations, 3, 1)
    estimates = (hasher.signatures(pa.array(left))[0] == hasher.signatures(pa.array(right))[0]).mean(axis=1)
    errors = estimates - np.array(truth)
    assert abs(errors.mean()) < 0.01
    assert np.sqrt(np.square(errors).mean()) < 1.15 * np.sqrt(similarity * (1 - similarity) / permutations)


def test_band_keys_are_equal_exactly_where_bands_are() -> None:
    generator = np.random.default_rng(1)
    signatures = generator.integers(0, 3, (200, 6), dtype=np.uint32)  # few values, so that bands do meet
    keys = band_keys(signatures, bands=3, rows=2)
    banded = signatures.reshape(200, 3, 2)
    same_band = (banded[:, None] == banded[None, :]).all(axis=3)
    np.testing.assert_array_equal(keys[:, None] == keys[None, :], same_band)
    np.testing.assert_array_equal(estimated_jaccard(signatures[0], signatures), (signatures == signatures[0]).mean(1))


def test_shingles_and_signatures_are_pinned() -> None:
    # Golden vectors: other values mean another SHINGLE_VERSION.
    text = "One, two_three; CAFÉ été 東京 internationalization"
    assert shingles_of(text, 3).tolist() == [
        4220833280351716323,
        4768182741009964904,
        8386709796381610984,
        10230582158685686505,
        12155327009435519234,
    ]
    assert MinHasher(3, 1, 3).signatures(pa.array([text]))[0].tolist() == [[1036633625, 499820717, 524309742]]


def test_shingles_ignore_case_punctuation_and_line_breaks() -> None:
    a = shingles_of("The cat — a tabby — sat on the mat.")
    b = shingles_of("the CAT a tabby,\nsat on  the mat")
    np.testing.assert_array_equal(a, b)
    assert len(a) == 4


def test_order_of_words_matters() -> None:
    assert jaccard(shingles_of("a b", 2), shingles_of("b a", 2)) == 0.0


def test_short_and_empty_texts() -> None:
    assert len(shingles_of("just three words")) == 1
    np.testing.assert_array_equal(shingles_of("Just three words!"), shingles_of("just three words"))
    assert len(shingles_of("... !!!")) == 0


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_jaccard(a: set[int], b: set[int]) -> None:
    expected = len(a & b) / len(a | b) if a and b else 0.0
    result = jaccard(np.array(sorted(a), dtype=np.uint64), np.array(sorted(b), dtype=np.uint64))
    assert result == pytest.approx(expected)
