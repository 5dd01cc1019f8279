from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.errors import DataError
from data_tools.parquet import ShardFile, ShardWriter, open_shard, read_row_groups, shard_paths
from data_tools.schema import CLASSIFICATION_EXAMPLES, SCHEMA_VERSION


def row(i: int) -> dict[str, str]:
    return {"doc_id": f"{i:032x}", "text": f"text {i}", "label": "a", "split": "train"}


def test_shards_roll_over_and_keep_order(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, CLASSIFICATION_EXAMPLES, shard_bytes=1000) as writer:
        for i in range(25):
            writer.add(row(i), 100)
    assert [path.name for path in shard_paths(tmp_path)] == [f"part-0000{i}.parquet" for i in range(3)]
    rows = [r for path in shard_paths(tmp_path) for table in read_row_groups(path) for r in table.to_pylist()]
    assert rows == [row(i) for i in range(25)]


def test_the_schema_and_its_version_are_in_the_file(tmp_path: Path) -> None:
    with ShardFile(tmp_path / "a.parquet", CLASSIFICATION_EXAMPLES) as file:
        file.write(pa.Table.from_pylist([row(0)], schema=CLASSIFICATION_EXAMPLES))
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.equals(CLASSIFICATION_EXAMPLES)
    assert schema.metadata[b"groundup.schema_version"] == str(SCHEMA_VERSION).encode()


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, CLASSIFICATION_EXAMPLES, shard_bytes=1000) as writer:
        for i in range(15):
            writer.add(row(i), 100)
        raise RuntimeError("the power went out")
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]  # finished before; the rest is gone


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"), ShardFile(tmp_path / "a.parquet", CLASSIFICATION_EXAMPLES) as f:
        f.write(pa.Table.from_pylist([row(0)], schema=CLASSIFICATION_EXAMPLES))
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_artifact_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with ShardFile(path, CLASSIFICATION_EXAMPLES) as file:
        file.write(pa.Table.from_pylist([row(0)], schema=CLASSIFICATION_EXAMPLES))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="Delete the artifact folder"):
        open_shard(path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    schema = CLASSIFICATION_EXAMPLES.with_metadata({"groundup.schema_version": str(SCHEMA_VERSION + 1)})
    pq.write_table(schema.empty_table(), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="schema version"):
        open_shard(tmp_path / "a.parquet")


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Parquet files"):
        shard_paths(tmp_path)
