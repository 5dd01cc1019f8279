"""Verification against a plain search, the keep rule, and bounds on work in components of any size."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.dedup.exact import exact_copies
from data_tools.dedup.keep import DOCUMENT, keep_order, source_priorities
from data_tools.dedup.minhash import band_keys
from data_tools.dedup.shingles import jaccard
from data_tools.dedup.verify import Candidates, number_buckets, verify
from tests.data_tools.dedup.shingle_reference import signatures_of_sets

BANDS, ROWS = 6, 2


def candidates(sets: list[set[int]]) -> tuple[Candidates, np.ndarray]:
    """Documents in keep order, and their band keys."""
    # Spread over the upper halves, which is what signatures are made of.
    shingles = [np.sort(np.array(list(one), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) for one in sets]
    signatures = signatures_of_sets(shingles, BANDS * ROWS, 1)
    keys = band_keys(signatures, BANDS, ROWS)
    ends = np.cumsum([len(one) for one in shingles])
    starts = ends - [len(one) for one in shingles]
    together = np.zeros(len(sets), dtype=np.int64)
    return Candidates(number_buckets(keys.copy()), signatures, np.concatenate(shingles), starts, ends, together), keys


def similarity(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def plain(
    sets: list[set[int]], found: Candidates, keys: np.ndarray, threshold: float, most: int, templates: int
) -> list[int]:
    """The rule as it is written down, for each document against every representative."""
    representatives: list[int] = []
    verdicts = []
    for document in range(len(sets)):
        met = [other for other in representatives if (keys[other] == keys[document]).any()]
        # Those that can't be similar enough aren't compared.
        sizes = {other: sorted((len(sets[document]), len(sets[other]))) for other in met}
        met = [other for other in met if sizes[other][0] / sizes[other][1] >= threshold]
        estimate = {other: int((found.signatures[other] == found.signatures[document]).sum()) for other in met}
        met.sort(key=lambda other: (-estimate[other], other))
        common = Counter(value for other in representatives for value in sets[other])
        template = {value for value, count in common.items() if templates and count >= templates}
        own = sets[document] - template
        similar = [
            other
            for other in met[:most]
            if similarity(sets[document], sets[other]) >= threshold
            and (len(own) < 10 or similarity(own, sets[other] - template) >= threshold)
        ]
        verdicts.append(similar[0] if similar else -1)
        if not similar:
            representatives.append(document)
    return verdicts


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.sets(st.integers(1, 12), min_size=1),
            st.sets(st.integers(1, 40), min_size=15).map(lambda one: one | set(range(30, 60))),
        ),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]),
    st.integers(1, 4),
    st.sampled_from([0, 1, 2, 5]),
)
def test_verdicts_are_those_of_a_plain_search(
    sets: list[set[int]], threshold: float, most: int, templates: int
) -> None:
    found, keys = candidates(sets)
    verdicts = verify(found, min_similarity=threshold, max_comparisons=most, template_documents=templates)
    assert verdicts.representatives.tolist() == plain(sets, found, keys, threshold, most, templates)
    for document in np.flatnonzero(verdicts.representatives >= 0).tolist():
        other = int(verdicts.representatives[document])
        assert verdicts.representatives[other] == -1
        a, b = (found.shingles[found.starts[i] : found.ends[i]] for i in (document, other))
        assert verdicts.exact[document] == pytest.approx(jaccard(a, b)) and verdicts.exact[document] >= threshold
        assert verdicts.estimated[document] == (found.signatures[document] == found.signatures[other]).mean()


def test_two_true_pairs_in_one_component_stay_two_clusters() -> None:
    # text-dedup gives both pairs the id of the component, so that a document of the second pair goes for the first's.
    a, b, bridge = set(range(1, 101)), set(range(201, 301)), set(range(51, 101)) | set(range(201, 251))
    sets = [a, b, bridge, a - {1}, b - {201}]
    found, _ = candidates(sets)
    # All of them meet in one band.
    buckets = found.buckets.copy()
    buckets[:, 0] = buckets[0, 0]
    verdicts = verify(
        replace(found, buckets=buckets),
        min_similarity=0.75,
        max_comparisons=32,
        template_documents=8,
    )
    assert verdicts.representatives.tolist() == [-1, -1, -1, 0, 1]


def test_comparisons_are_bounded_where_thousands_meet() -> None:
    # A frame that all share, and as much again of each one's own; every tenth is a copy of one long before.
    sets = [set(range(1, 31)) | set(range(1_000 * i, 1_000 * i + 30)) for i in range(1, 1_500)]
    sets = [sets[i // 10 * 5] if i % 10 == 9 else one for i, one in enumerate(sets)]
    found, _ = candidates(sets)
    buckets = found.buckets.copy()
    buckets[:, 0] = 0
    found = replace(found, buckets=buckets)
    verdicts = verify(found, min_similarity=0.75, max_comparisons=8, template_documents=8)
    assert verdicts.comparisons <= 8 * len(sets)
    gone = np.flatnonzero(verdicts.representatives >= 0)
    # A copy meets its original in every band, so that it is found whatever the size of the bucket that all share.
    assert set(range(9, 1_499, 10)) <= set(gone.tolist())
    for document in gone.tolist():
        assert sets[document] == sets[int(verdicts.representatives[document])]


def test_nobody() -> None:
    none = np.zeros(0, np.int64)
    nobody = Candidates(
        np.zeros((0, 3), np.int64), np.zeros((0, 6), np.uint32), np.zeros(0, np.uint64), none, none, none
    )
    assert len(verify(nobody, min_similarity=0.5, max_comparisons=3, template_documents=0).representatives) == 0


def described(rows: list[tuple[int, int, int, int]]) -> Any:
    table = np.zeros(len(rows), dtype=DOCUMENT)
    for column, name in enumerate(("id_high", "id_low", "n_bytes", "priority")):
        table[name] = [row[column] for row in rows]
    return table


def test_the_keep_rule_is_the_order_of_its_names() -> None:
    rows = [(5, 1, 10, 1), (2, 9, 30, 1), (2, 3, 30, 0), (1, 1, 20, 1), (1, 1, 20, 1)]
    table = described(rows)
    assert keep_order(table, ("longest", "id")).tolist() == [2, 1, 3, 4, 0]
    assert keep_order(table, ("shortest", "id")).tolist() == [0, 3, 4, 2, 1]
    assert keep_order(table, ("id",)).tolist() == [3, 4, 2, 1, 0]
    assert keep_order(table, ("source", "longest")).tolist() == [2, 1, 3, 4, 0]
    assert keep_order(table, ()).tolist() == [0, 1, 2, 3, 4]
    assert source_priorities(["a", "b", "c", "d"], ("c", "a")).tolist() == [1, 2, 0, 2]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=20))
def test_exact_copies_leave_the_first_of_the_keep_order(rows: list[tuple[int, int, int, bool]]) -> None:
    table = described([(high, low, 1, priority) for high, low, priority, _ in rows])
    taking_part = np.array([flag for *_, flag in rows], dtype=bool)
    copies, originals = exact_copies(table, taking_part, ("source",))
    expected = {}
    for position, (high, low, priority, flag) in enumerate(rows):
        same = [
            (other_priority, other)
            for other, (a, b, other_priority, other_flag) in enumerate(rows)
            if (a, b) == (high, low) and other_flag
        ]
        if flag and min(same) != (priority, position):
            expected[position] = min(same)[1]
    assert dict(zip(copies.tolist(), originals.tolist(), strict=True)) == expected
    assert copies.tolist() == sorted(copies.tolist())
