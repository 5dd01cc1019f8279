"""How often each source and each document comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_tools.config import DataRuntime, MixConfig
from data_tools.errors import DataError
from data_tools.mixture import copies_of_cluster, plan_epochs, repetitions
from data_tools.progress import no_progress
from data_tools.stages import mix
from tests.data_tools.made_documents import digests, document, read_rows, write_documents

SUPPLY = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 10**12), min_size=1)


@given(SUPPLY, st.data(), st.floats(1, 10))
def test_weights_are_the_shares_and_the_scarcest_source_is_used_up(
    supply: dict[str, int], data: Any, most: float
) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(supply)), min_size=1))
    weights = {name: data.draw(st.floats(0.01, 100)) for name in sorted(names)}
    epochs = plan_epochs(MixConfig(weights=weights, max_epochs=most), supply)
    mixed = {name: epochs[name] * supply[name] for name in supply}
    for name in supply:
        share = weights.get(name, 0) / sum(weights.values())
        assert mixed[name] / sum(mixed.values()) == pytest.approx(share)
    assert max(epochs.values()) == pytest.approx(most)


@given(SUPPLY, st.data())
def test_budgets_and_tokens_are_bytes_and_the_rest_comes_whole(supply: dict[str, int], data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(supply)))
    budget = data.draw(st.integers(1, 4 * supply[name]))
    epochs = plan_epochs(MixConfig(budgets={name: budget}), supply)
    assert epochs == {**dict.fromkeys(supply, 1.0), name: budget / supply[name]}
    assume(budget % 4 == 0)
    assert plan_epochs(MixConfig(tokens={name: budget // 4}), supply) == epochs


def test_total_bytes_are_divided() -> None:
    config = MixConfig(weights={"a": 3, "b": 1}, total_bytes=400)
    assert plan_epochs(config, {"a": 100, "b": 1000, "c": 5}) == pytest.approx({"a": 3.0, "b": 0.1, "c": 0.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weights": {"a": 1, "typo": 1}},
            r"no training documents of source 'typo'; there are of a, b.*mix.weights|typo",
        ),
        (
            {"budgets": {"a": 401}},
            r"'a' has 100 training bytes, 400 within 4 epochs; 401 are asked.*max_epochs to 4.01",
        ),
        ({"tokens": {"b": 10**6}}, "'b' has 1,000 training bytes"),
        ({"weights": {"a": 1, "b": 1}, "total_bytes": 1000}, "'a' has 100"),
    ],
)
def test_what_can_not_be_filled_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        plan_epochs(MixConfig(**settings), {"a": 100, "b": 1000})


@given(st.floats(0, 6))
def test_repetitions_are_the_mean_and_grow_with_it(times: float) -> None:
    drawn = [repetitions(f"{i}", "salt", times) for i in range(2_000)]
    assert sum(drawn) / 2_000 == pytest.approx(times, abs=0.06)
    assert set(drawn) <= {int(times), int(times) + 1}
    # More of a source never takes a document away.
    assert all(a <= repetitions(f"{i}", "salt", times + 0.3) for i, a in enumerate(drawn[:200]))


def test_fineweb_2_rehydration() -> None:
    config = MixConfig(rehydrate=((1, 1), (2, 2), (3, 3), (5, 5), (100, 8), (1000, 1)))
    sizes = {None: 1, 1: 1, 2: 2, 3: 3, 4: 3, 5: 5, 99: 5, 100: 8, 999: 8, 1000: 1, 10**6: 1}
    assert {size: copies_of_cluster(config, size) for size in sizes} == sizes
    assert copies_of_cluster(MixConfig(), 50) == 1


SHARDS = [
    [document(f"{source} number {i} of {shard}", source, f"{shard}-{i}", cluster_size=1 + i % 3) for i in range(60)]
    for shard, source in enumerate(["web", "books", "web", "code"])
]


def mixed(folder: Path, workers: int = 1, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    write_documents(folder / "in" / "documents", SHARDS)
    config = MixConfig(**settings)
    counters = mix.run(config, {"documents": folder / "in"}, folder / "out", no_progress, DataRuntime(workers=workers))
    return read_rows(folder / "out" / "documents"), counters


def test_repetitions_are_passes_and_only_training_is_mixed(tmp_path: Path) -> None:
    rows, counters = mixed(tmp_path, weights={"web": 1, "books": 1}, max_epochs=2.5)
    plain, _ = mixed(tmp_path / "plain")
    splits = {row["doc_id"]: row["split"] for row in plain}
    assert all(splits[row["doc_id"]] == row["split"] for row in rows)
    held_out = [row["doc_id"] for row in plain if row["split"] != "train"]
    assert [row["doc_id"] for row in rows if row["split"] != "train"] == held_out  # of code too
    passes = [row["repetition"] for row in rows]
    assert passes == sorted(passes) and set(passes) == {0, 1, 2}
    numbers: dict[str, list[int]] = {}
    for row in rows:
        numbers.setdefault(row["doc_id"], []).append(row["repetition"])
    assert all(found == list(range(len(found))) for found in numbers.values())
    training = [row for row in rows if row["split"] == "train"]
    n_bytes = {
        source: sum(row["n_bytes"] for row in training if row["source"] == source) for source in ("web", "books")
    }
    assert n_bytes["web"] == pytest.approx(n_bytes["books"], rel=0.1) and "code" not in {
        row["source"] for row in training
    }
    assert counters["documents_in"] == 240 and counters["documents_out"] == len(numbers)
    assert counters["removed"] == counters["removed.mixture/not-drawn"] == 240 - len(numbers)
    assert counters["rows_train"] == len(training)
    assert counters["mixed_bytes"] == sum(n_bytes.values())
    assert counters["source.books.mixed_bytes"] == n_bytes["books"]
    assert counters["source.books.epochs"] == 2.5 and counters["source.code.epochs"] == 0
    assert counters["source.web.share"] == pytest.approx(0.5, abs=0.05)
    assert counters["estimated_tokens"] == sum(n_bytes.values()) // 4


def test_rehydration_repeats_what_stood_often(tmp_path: Path) -> None:
    rows, counters = mixed(tmp_path, rehydrate=[[1, 1], [2, 2], [3, 4]], test_fraction=0.2)
    times: dict[str, int] = {}
    for row in rows:
        times[row["doc_id"]] = times.get(row["doc_id"], 0) + 1
    for row in rows:
        expected = {1: 1, 2: 2, 3: 4}[row["cluster_size"]] if row["split"] == "train" else 1
        assert times[row["doc_id"]] == expected
    assert counters["documents_out"] == 240 and counters["removed"] == 0


def test_a_budget_takes_the_same_documents_whatever_else_there_is(tmp_path: Path) -> None:
    rows, _ = mixed(tmp_path, budgets={"web": 1_000})
    web = {row["doc_id"] for row in rows if row["source"] == "web" and row["split"] == "train"}
    more, _ = mixed(tmp_path / "more", budgets={"web": 1_300, "books": 600})
    assert web < {row["doc_id"] for row in more if row["source"] == "web" and row["split"] == "train"}
    assert sum(row["source"] == "code" for row in rows) == 60


def test_repetitions_are_no_examples_of_their_own(chain: Any) -> None:
    labels = [{"topic": "ab"[i % 2], "title": f"title {i}"} for i in range(40)]
    chain.ingest_texts([f"This is text number {i}." for i in range(40)], labels)
    chain.run("mix", {"budgets": {"texts": 2_000}}, documents="ingest")
    ids = [row["doc_id"] for row in chain.rows("mix", "documents")]
    assert len(ids) > len(set(ids)) == 40
    chain.run("classification_set", {"label_field": "topic"})
    template = {"user": "{title}?", "assistant": "{text}"}
    chain.run("instruction_set", {"templates": [template]})
    for stage in ("classification_set", "instruction_set"):
        assert sorted(row["doc_id"] for row in chain.rows(stage, "examples")) == sorted(set(ids))


@pytest.mark.slow
def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Any = {"weights": {"web": 1, "books": 2}, "max_epochs": 2}
    _, counters = mixed(tmp_path / "one", **settings)
    whole, done = mix._mix_shard, []

    def dies(*arguments: Any) -> Any:
        done.append(arguments)
        if len(done) == 5:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(mix, "_mix_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        mixed(tmp_path / "resumed", **settings)
    monkeypatch.undo()
    assert mixed(tmp_path / "resumed", **settings)[1] == counters
    assert mixed(tmp_path / "two", workers=2, **settings)[1] == counters
    first = digests(tmp_path / "one" / "out", ("documents",))
    assert len(first) > 4
    assert first == digests(tmp_path / "resumed" / "out", ("documents",))
    assert first == digests(tmp_path / "two" / "out", ("documents",))
    assert sorted(path.name for path in (tmp_path / "resumed" / "out").iterdir()) == ["documents"]
