from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_tools.dedup.components import UnionFind, candidate_groups


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=30))
def test_groups_are_the_connected_components(edges: list[tuple[int, int]]) -> None:
    sets = UnionFind(15)
    for a, b in edges:
        sets.union(a, b)
    reach = [{i} for i in range(15)]
    for _ in range(15):
        for a, b in edges:
            reach[a] |= reach[b]
            reach[b] |= reach[a]
    for _ in range(15):
        for i in range(15):
            for j in list(reach[i]):
                reach[i] |= reach[j]
    assert sets.groups() == [list(group) for group in sorted({tuple(sorted(r)) for r in reach if len(r) > 1})]


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=20))
def test_rows_that_share_a_key_are_in_one_group(rows: list[list[int]]) -> None:
    keys = np.array(rows, dtype=np.uint64)
    groups = candidate_groups(keys, np.ones(len(rows), dtype=bool))
    of = {row: number for number, group in enumerate(groups) for row in group}
    for i in range(len(rows)):
        for j in range(i):
            if (keys[i] == keys[j]).any():
                assert of[i] == of[j]


def test_rows_without_shingles_take_no_part() -> None:
    keys = np.zeros((3, 2), dtype=np.uint64)
    assert candidate_groups(keys, np.array([True, False, True])) == [[0, 2]]
