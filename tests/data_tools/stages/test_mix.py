from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.config import MixConfig
from data_tools.errors import DataError
from data_tools.stages.mix import _bounds, split_position


def mixed(chain: Any, texts: list[str], **config: Any) -> dict[str, str]:
    chain.ingest_texts(texts)
    chain.run("mix", config, documents="ingest")
    return {row["text"]: row["split"] for row in chain.rows("mix", "documents")}


TEXTS = [f"document number {i}" for i in range(1_000)]


def test_fractions_are_about_right_and_splits_disjoint(chain: Any) -> None:
    splits = mixed(chain, TEXTS)
    counts = {name: list(splits.values()).count(name) for name in ("train", "validation", "test")}
    assert sum(counts.values()) == 1_000
    assert 70 < counts["test"] < 130 and 30 < counts["validation"] < 75
    for name, count in counts.items():
        assert chain.counters["mix"][f"documents_{name}"] == count


def test_a_split_stays_when_other_documents_come_go_or_move(chain: Any) -> None:
    splits = mixed(chain, TEXTS)
    fewer = mixed(chain, TEXTS[700:100:-1])
    assert all(splits[text] == split for text, split in fewer.items())


def test_copies_are_never_on_both_sides(chain: Any) -> None:
    chain.ingest_texts(TEXTS[:50] * 2)
    chain.run("mix", documents="ingest")
    rows = chain.rows("mix", "documents")
    assert len(rows) == 100
    assert len({(row["doc_id"], row["split"]) for row in rows}) == 50


def test_another_salt_is_another_split(chain: Any) -> None:
    assert mixed(chain, TEXTS[:200]) != mixed(chain, TEXTS[:200], split_salt="other")


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_in_a_tiny_corpus_no_wanted_split_is_empty(chain: Any, count: int) -> None:
    for start in range(0, 40, count):
        splits = set(mixed(chain, TEXTS[start : start + count], split_salt="tiny").values())
        assert splits == {"train", "validation", "test"}


def test_too_few_documents_is_an_error(chain: Any) -> None:
    with pytest.raises(DataError, match="none is left for training"):
        mixed(chain, ["only one"])
    assert mixed(chain, ["only one"], validation_fraction=0, test_fraction=0) == {"only one": "train"}


@given(st.sets(st.floats(0, 1, exclude_max=True), min_size=40, max_size=60))
def test_bounds_are_the_fractions_where_every_split_has_documents(positions: set[float]) -> None:
    config = MixConfig()
    bounds = _bounds(config, sorted({*positions, 0.05, 0.12}))
    assert (bounds.test, bounds.validation) == pytest.approx((0.10, 0.15))


def test_positions_are_pinned() -> None:
    # They decide what was held out: another value would leak test documents of old runs into new ones.
    assert split_position("0" * 32, "groundup") == pytest.approx(0.02571809777552059, abs=1e-12)
