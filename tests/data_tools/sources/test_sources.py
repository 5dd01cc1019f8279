"""What stands in broken files is quarantined with file, position and reason; what stands around it comes through."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.config import DataRuntime, SourceConfig
from data_tools.errors import DataError
from data_tools.sources import open_source
from data_tools.sources.protocol import Quarantined, Record


def read(path: Path, kind: str, max_bytes: int = 1_000_000, **options: Any) -> list[Record | Quarantined]:
    config = SourceConfig.model_validate({"kind": kind, "name": "s", "path": str(path), **options})
    source = open_source(config, DataRuntime(), max_bytes)
    return [item for file in source.files() for item in source.read(file)]


def reasons(items: list[Record | Quarantined]) -> list[tuple[str, str]]:
    return [(item.position, item.reason) for item in items if isinstance(item, Quarantined)]


def texts(items: list[Record | Quarantined]) -> list[str]:
    return [item.text for item in items if isinstance(item, Record)]


def test_jsonl_with_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b'\xef\xbb\xbf{"text": "first", "id": 7, "tags": ["x"], "none": null}',
        b'{"text": "cut off',
        b"[1, 2]",
        b'"a string"',
        b'{"body": "no text"}',
        b'{"text": null}',
        b'{"text": 12}',
        b'{"text": "caf\xe9"}',
        b"",
        b"   ",
        b'{"n": ' + b"9" * 5000 + b', "text": "digits"}',
        b"[" * 100_000,
        b'{"text": "last"}',
    ]
    path.write_bytes(b"\n".join(lines))  # and no newline at the end
    items = read(path, "jsonl", id_field="id", metadata_fields=("tags", "none", "gone"))
    assert reasons(items) == [
        ("line 2", "invalid-json"),
        ("line 3", "not-an-object"),
        ("line 4", "not-an-object"),
        ("line 5", "missing-text"),
        ("line 6", "missing-text"),
        ("line 7", "wrong-type"),
        ("line 8", "invalid-utf8"),
        ("line 11", "invalid-json"),
        ("line 12", "invalid-json"),
    ]
    first, last = (item for item in items if isinstance(item, Record))
    assert (first.text, first.source_id, first.metadata) == ("first", "7", {"tags": '["x"]'})
    assert (last.text, last.source_id) == ("last", "a.jsonl:13")
    assert (
        next(i for i in items if isinstance(i, Quarantined) and i.position == "line 8").excerpt
        == '{"text": "caf\\xe9"}'
    )


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "ok"}\n{"text": "' + b"x" * 3_000_000 + b'"}\n{"text": "after"}\n')
    items = read(path, "jsonl", max_bytes=1_000)
    assert reasons(items) == [("line 2", "too-long")]
    assert texts(items) == ["ok", "after"]


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=20))
def test_no_line_is_lost_and_none_crashes(lines: list[bytes]) -> None:
    import io

    from data_tools.sources.jsonl import read_lines

    config = SourceConfig(kind="jsonl", name="s", path="x")
    items = list(read_lines(io.BytesIO(b"\n".join(lines)), config, "x", 1_000))
    kept = lines if not lines else [lines[0].removeprefix(b"\xef\xbb\xbf"), *lines[1:]]
    assert len(items) == sum(bool(line.strip()) for line in kept)


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst", ".jsonl"])
def test_packed_by_extension(tmp_path: Path, ending: str) -> None:
    raw = b'{"text": "one"}\n{"text": "two"}\n'
    path = tmp_path / f"a{ending}"
    with path.open("wb") as handle:
        if ending.endswith(".gz"):
            handle.write(gzip.compress(raw))
        else:
            handle.write(pa.compress(raw, codec="zstd", asbytes=True) if ending.endswith(".zst") else raw)
    assert texts(read(tmp_path, "jsonl")) == ["one", "two"]


def test_a_truncated_gzip_gives_what_stood_before(tmp_path: Path) -> None:
    import random

    generator = random.Random(0)
    lines = [json.dumps({"text": f"{i} {generator.random()}"}) for i in range(20_000)]
    packed = gzip.compress("\n".join(lines).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    items = read(tmp_path, "jsonl")
    assert len(texts(items)) > 1000
    assert isinstance(items[-1], Quarantined)


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("Grüße", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    (tmp_path / "bad.txt").write_bytes(b"abc\xff\xfe")
    (tmp_path / "long.txt").write_bytes(b"x" * 2000)
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    items = read(tmp_path, "text", max_bytes=1000)
    assert [(item.source_id, item.text) for item in items if isinstance(item, Record)] == [
        ("a.txt", "hello"),
        ("sub/b.md", "Grüße"),
    ]
    assert [reason for _, reason in reasons(items)] == ["invalid-utf8", "too-long"]
    assert texts(read(tmp_path / "**" / "*.md", "text")) == ["Grüße"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {"body": ["one", None, "three"], "n": [1, 2, 3], "kind": pa.array(["x", "x", "y"]).dictionary_encode()}
    )
    pq.write_table(table, path, row_group_size=2)
    items = read(path, "parquet", text_field="body", metadata_fields=("n", "kind", "gone"))
    assert texts(items) == ["one", "three"]
    assert reasons(items) == [("row 1", "missing-text")]
    last = items[-1]
    assert isinstance(last, Record)
    assert (last.source_id, last.metadata) == ("a.parquet:2", {"n": "3", "kind": "y"})


def test_parquet_with_invalid_utf8_in_a_row(tmp_path: Path) -> None:
    values = pa.array([b"good", b"bad\xff", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
    items = read(tmp_path, "parquet")
    assert texts(items) == ["good", "fine"]
    assert reasons(items) == [("row 1", "invalid-utf8")]


@pytest.mark.parametrize("cut", [3, 40, 400])
def test_a_truncated_parquet_does_not_stop_the_others(tmp_path: Path, cut: int) -> None:
    pq.write_table(pa.table({"text": [f"row {i}" for i in range(100)]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["other"]}), tmp_path / "b.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:-cut])
    items = read(tmp_path, "parquet")
    assert texts(items) == ["other"]
    assert reasons(items) == [("file", "unreadable-parquet")]


def test_a_damaged_row_group_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [f"row {i} " + "x" * (i % 50) for i in range(300)]
    pq.write_table(pa.table({"text": rows}), path, row_group_size=100, compression="zstd", use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 30 : start + 200] = b"\x00" * 170
    path.write_bytes(bytes(data))
    items = read(path, "parquet")
    assert texts(items) == rows[:100] + rows[200:]
    assert reasons(items) == [("row group 1", "unreadable-parquet")]


@pytest.mark.parametrize(("column", "reason"), [("body", "missing-text"), ("text", "wrong-type")])
def test_parquet_without_the_text_column(tmp_path: Path, column: str, reason: str) -> None:
    pq.write_table(pa.table({column: [1, 2]}), tmp_path / "a.parquet")
    assert reasons(read(tmp_path, "parquet")) == [("file", reason)]


@pytest.mark.parametrize("path", ["gone.txt", "gone/*.txt", "."])
def test_nothing_there(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="source 's'"):
        read(tmp_path / path, "text")


def test_digests_name_files_relative_to_their_root(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("hello")
    config = SourceConfig(kind="text", name="s", path=str(tmp_path))
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert open_source(config, DataRuntime(), 100).digests() == {"sub/a.txt": digest}
