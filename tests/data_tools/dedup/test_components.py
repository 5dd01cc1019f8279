"""From band keys to components: by sorting in memory, by DuckDB within little memory, and by plain search."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.dedup.bands import connected, grouped_edges, write_band_keys
from data_tools.dedup.components import component_members, join_edges, separate, settle


def reachable(edges: list[tuple[int, int]], documents: int) -> list[int]:
    """The least document that each one can be reached from."""
    root = list(range(documents))
    for _ in range(documents):
        for a, b in edges:
            root[a] = root[b] = min(root[a], root[b])
    return root


def join(edges: list[tuple[int, int]], documents: int) -> np.ndarray:
    parents = separate(documents)
    a, b = np.array(edges, dtype=np.int64).reshape(-1, 2).T.copy()
    join_edges(parents, a, b)
    settle(parents)
    return parents


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=30), st.randoms())
def test_components_are_what_is_connected_whatever_the_order(edges: list[tuple[int, int]], random: object) -> None:
    parents = join(edges, 15)
    assert parents.tolist() == reachable(edges, 15)
    random.shuffle(edges)  # type: ignore[attr-defined]
    assert join([(b, a) for a, b in edges], 15).tolist() == parents.tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15), st.lists(st.booleans(), min_size=10))
def test_members_of_components(edges: list[tuple[int, int]], flags: list[bool]) -> None:
    parents, taking_part = join(edges, 10), np.array(flags[:10])
    members, starts = component_members(parents, taking_part)
    expected: dict[int, list[int]] = {}
    for document in np.flatnonzero(taking_part).tolist():
        expected.setdefault(int(parents[document]), []).append(document)
    groups = [expected[root] for root in sorted(expected) if len(expected[root]) > 1]
    assert [members[a:b].tolist() for a, b in pairwise(starts)] == groups


def write(folder: Path, keys: np.ndarray, documents: np.ndarray, cuts: list[int]) -> list[Path]:
    paths = []
    for number, rows in enumerate(np.split(np.arange(len(keys)), cuts)):
        paths.append(folder / f"{number}.parquet")
        write_band_keys(paths[-1], documents[rows], keys[rows])
    return paths


@pytest.mark.parametrize("memory_bytes", [1_000_000_000, 0])
def test_rows_that_share_a_key_in_a_band_are_connected(tmp_path: Path, memory_bytes: int) -> None:
    generator = np.random.default_rng(1)
    keys = generator.integers(0, 2**64, (300, 3), dtype=np.uint64)
    documents = np.sort(generator.permutation(400)[:300])  # the others have no shingles
    some = generator.random((300, 3)) < 0.25
    keys[some] = generator.integers(0, 2**64, 60, dtype=np.uint64)[generator.integers(0, 60, some.sum())]
    paths = write(tmp_path, keys, documents, [0, 100, 101])
    edges = [(int(documents[i]), int(documents[j])) for i in range(300) for j in range(i) if (keys[i] == keys[j]).any()]
    limit = memory_bytes or 50_000_000
    if memory_bytes:
        found = connected(paths, 400, 3, memory_bytes=limit, threads=1, spill=tmp_path / "spill")
    else:
        found = separate(400)
        for a, b in grouped_edges(paths, 3, memory_bytes=limit, threads=2, spill=tmp_path / "spill"):
            join_edges(found, a, b)
        settle(found)
    assert found.tolist() == reachable(edges, 400)
    assert len(edges) > 100 and len(set(found.tolist())) > 200


def test_duckdb_with_little_memory_spills_and_finds_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    rows = 1_500_000
    keys = generator.integers(0, 2**64, (rows, 1), dtype=np.uint64)
    copied = generator.permutation(rows)[: rows // 5]
    keys[copied, 0] = keys[generator.integers(0, rows, len(copied)), 0]
    keys[:5_000, 0] = 7  # a bucket of five thousand
    paths = write(tmp_path, keys, np.arange(rows), [350_000])
    spill = tmp_path / "spill"
    sorted_in_memory = connected(paths, rows, 1, memory_bytes=10**9, threads=1, spill=spill)
    assert not spill.exists()
    # Sorting takes 60 MB.
    grouped = connected(paths, rows, 1, memory_bytes=58_000_000, threads=1, spill=spill)
    assert spill.exists()
    np.testing.assert_array_equal(grouped, sorted_in_memory)
    assert (grouped[:5_000] == 0).all()


def test_a_bucket_is_a_star(tmp_path: Path) -> None:
    keys = np.full((1_000, 1), 5, dtype=np.uint64)
    paths = write(tmp_path, keys, np.arange(1_000), [])
    edges = list(grouped_edges(paths, 1, memory_bytes=50_000_000, threads=1, spill=tmp_path / "spill"))
    assert sum(len(a) for a, _ in edges) == 999
    assert all((a == 0).all() for a, _ in edges)


def test_no_rows_at_all(tmp_path: Path) -> None:
    paths = write(tmp_path, np.zeros((0, 2), np.uint64), np.zeros(0, np.int64), [])
    assert connected(paths, 3, 2, memory_bytes=10**6, threads=1, spill=tmp_path).tolist() == [0, 1, 2]
