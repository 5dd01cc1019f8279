"""The same bytes come out of every stage of the data part for any number of workers and any hash seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.data_chain import STAGES, differences, digests, make_corpus, start_chain


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_and_hash_seeds_change_no_byte(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    make_corpus(raw)
    trees = []
    # Four workers only go as far as the stages that work hardest: starting them is what takes the time here.
    for workers, seed, last in [(1, "0", ""), (2, "1", ""), (4, "random", "deduplicate")]:
        process = start_chain(raw, tmp_path / f"out{workers}", workers, seed, last)
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors
        trees.append(digests(tmp_path / f"out{workers}"))
    one, two, four = trees
    counters = {name: json.loads((tmp_path / "out1" / f"{name}.json").read_text()) for name, *_ in STAGES}
    _it_proves_something(counters, one)
    assert list(differences(one, two)) == []
    assert list(differences({name: one[name] for name in one if name in four}, four)) == []
    assert any(name.startswith("deduplicate/documents") for name in four)
    assert [name for name in one if ".tmp" in name] == [], "what a stage needed on its way is gone"


def _it_proves_something(counters: dict[str, dict[str, int]], tree: dict[str, str]) -> None:
    assert len([name for name in tree if name.startswith("ingest/documents")]) > 5
    assert counters["ingest"]["quarantined"] == 4
    assert counters["select"]["removed"] > 0
    assert counters["deduplicate"]["removed.near-duplicate"] > 20
    assert counters["deduplicate"]["removed.exact-duplicate"] > 10
    assert counters["deduplicate"]["removed.contained-duplicate"] > 20
    for stage in ("clean", "deduplicate", "decontaminate"):
        assert any(name.startswith(f"{stage}/edits/") for name in tree), stage
    assert any(name.startswith("deduplicate/index/") for name in tree)
