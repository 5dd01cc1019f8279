"""Datasets in the Hub's layout, from a folder. Nothing here asks the network."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources import open_source
from data_tools.sources.protocol import Record
from tests.data_tools.sources.reading import read_all, records, told


def _parquet(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for part in range(2):
        rows = {"text": [f"text {part}{row}" for row in range(3)], "id": [10 * part + row for row in range(3)]}
        table = pa.table({**rows, "score": [0.5, None, 1.0]})
        pq.write_table(table, folder / "data" / f"train-{part:05d}-of-00002.parquet")
    pq.write_table(pa.table({"text": ["held out"]}), folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_a_folder_of_parquet_by_shards(tmp_path: Path) -> None:
    items = read_all("huggingface", _parquet(tmp_path / "set"), metadata_fields=("score",), id_field="id")
    assert [(record.source_id, record.text) for record in records(items)] == [
        (str(10 * part + row), f"text {part}{row}") for part in range(2) for row in range(3)
    ]
    assert [record.metadata for record in records(items)][:2] == [{"score": "0.5"}, {}]
    assert told(read_all("huggingface", tmp_path / "set", dataset_split="test")) == ["test-00000:0"]


def test_a_folder_of_json_lines(tmp_path: Path) -> None:
    rows = [{"text": "a", "n": 1}, {"text": None, "n": 2}, {"text": "c", "n": 3}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert told(read_all("huggingface", tmp_path)) == ["train-00000:0", "missing-text", "train-00000:2"]


def test_broken_rows_end_their_shard_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "train-0.jsonl").write_text('{"text": "a"}\n{broken\n')
    (tmp_path / "train-1.jsonl").write_text('{"text": "b"}\n')
    items = read_all("huggingface", tmp_path)
    assert told(items)[-1] == "train-00001:0" and "unreadable-rows" in told(items)
    assert isinstance(items[-1], Record)


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    source = open_source(
        SourceConfig(kind="huggingface", name="x", path=str(_parquet(tmp_path / "set"))), DataRuntime(), 1000
    )
    digests = source.digests()
    assert sorted(digests) == [
        f"data/{name}" for name in sorted(path.name for path in (tmp_path / "set/data").iterdir())
    ]
    assert all(len(digest) == 64 for digest in digests.values())


def test_what_would_run_code_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.mkdir()
    (script / "script.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "train.pkl").write_bytes(pickle.dumps({"text": ["a"]}))
    for folder in (script, pickled):
        with pytest.raises(DataError):
            read_all("huggingface", folder)
    assert not (tmp_path / "ran").exists()


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'dev'.*train"):
        read_all("huggingface", _parquet(tmp_path / "set"), dataset_split="dev")


def test_offline_is_honoured_before_anything_is_asked() -> None:
    config = SourceConfig(kind="huggingface", name="x", dataset="somebody/something")
    with pytest.raises(DataError, match="offline"):
        open_source(config, DataRuntime(offline=True), 1000)


def test_a_pinned_commit_is_its_own_digest_and_asks_nobody() -> None:
    first, second = (
        open_source(
            SourceConfig(kind="huggingface", name="x", dataset="somebody/something", revision=letter * 40),
            DataRuntime(),
            1000,
        ).digests()
        for letter in "ab"
    )
    assert list(first) == list(second) == ["somebody/something@train"] and first != second


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_tools.sources.huggingface.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"groundup\[huggingface\]"):
        read_all("huggingface", tmp_path)


def test_a_dataset_or_a_path() -> None:
    for options in ({}, {"dataset": "a/b", "path": "c"}):
        with pytest.raises(ValidationError, match="one of the two"):
            SourceConfig.model_validate({"kind": "huggingface", "name": "x", **options})
