"""However a file is cut, its parts give the same records with the same ids, and a pass over it is not repeated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_tools.config import DataRuntime, SourceConfig
from data_tools.sources import open_source
from data_tools.sources.protocol import Source


def opened(path: Path, kind: str) -> Source:
    return open_source(SourceConfig.model_validate({"kind": kind, "name": "s", "path": str(path)}), DataRuntime(), 50)


_LINE = st.one_of(
    st.text(alphabet="ab ", max_size=12).map(lambda text: json.dumps({"text": text}).encode()),
    st.sampled_from([b"", b"broken", b" ", b'{"text": "\xff"}', b"\xef\xbb\xbf"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(_LINE, min_size=1, max_size=30), st.booleans(), st.integers(1, 200))
def test_jsonl(tmp_path: Path, lines: list[bytes], ends: bool, target: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ends else b""))
    source = opened(path, "jsonl")
    (file,) = source.files()
    parts = source.parts(file, target)
    assert [item for part in parts for item in source.read(part)] == list(source.read(file))
    assert sum(part.size for part in parts) == file.size
    # None but the last is shorter than it should be.
    assert all(part.size >= target for part in parts[:-1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(_LINE, min_size=1, max_size=30), st.integers(1, 100))
def test_jsonl_behind_a_url(tmp_path: Path, lines: list[bytes], target: int) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/parts/a.jsonl", b"\n".join(lines))
    config = SourceConfig(kind="jsonl", name="s", path="memory://parts/a.jsonl")
    source = open_source(config, DataRuntime(), 50)
    (file,) = source.files()
    parts = source.parts(file, target)
    assert [item for part in parts for item in source.read(part)] == list(source.read(file))


def test_a_line_longer_than_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + b"x" * 10_000 + b'\n{"text": "two"}\n{"text": "three"}')
    source = opened(path, "jsonl")
    (file,) = source.files()
    parts = source.parts(file, 20)
    assert len(parts) == 2, "a part has the lines that begin in it"
    assert [item for part in parts for item in source.read(part)] == list(source.read(file))


@pytest.mark.parametrize(("target", "fewest", "most"), [(1, 10, 10), (5_000, 3, 9), (10**9, 1, 1)])
def test_parquet(tmp_path: Path, target: int, fewest: int, most: int) -> None:
    path = tmp_path / "a.parquet"
    rows = [f"row {i} " + "x" * (i % 40) for i in range(1_000)]
    pq.write_table(pa.table({"text": rows}), path, row_group_size=100)
    source = opened(path, "parquet")
    (file,) = source.files()
    parts = source.parts(file, target)
    assert fewest <= len(parts) <= most
    assert sum(part.size for part in parts) == file.size
    assert [item for part in parts for item in source.read(part)] == list(source.read(file))


def test_what_cannot_be_cut(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(500)).encode()
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(rows))  # whatever its name says
    (tmp_path / "a.csv").write_bytes(b"text\n" + b"x\n" * 500)
    (tmp_path / "a.parquet").write_bytes(b"broken" * 100)
    for kind, name in [("jsonl", "a.jsonl"), ("csv", "a.csv"), ("parquet", "a.parquet")]:
        source = opened(tmp_path / name, kind)
        (file,) = source.files()
        assert source.parts(file, 10) == [file]


def test_pieces_of_text(tmp_path: Path) -> None:
    cases: dict[str, tuple[str, list[tuple[str, str]]]] = {
        "headings": (
            "before\n# one\ntext\n### deeper\n```\n# a comment\n```\n## two\n",
            [
                ("line 1", "before\n"),
                ("line 2", "# one\ntext\n### deeper\n```\n# a comment\n```\n"),
                ("line 8", "## two\n"),
            ],
        ),
        "form-feeds": ("one\n\ftwo\fthree\n", [("line 1", "one\n"), ("line 2", "two"), ("line 2", "three\n")]),
        "rules": (
            "one\n\n---\n\ntwo\n***\nstill two\n\n======\n\nthree\n\n---",
            [("line 1", "one\n\n"), ("line 3", "\ntwo\n***\nstill two\n\n"), ("line 9", "\nthree\n\n")],
        ),
    }
    for split, (content, expected) in cases.items():
        path = tmp_path / f"{split}.md"
        path.write_text(content)
        for encoding in ("utf-8", "utf-16", "detect"):
            path.write_bytes(content.encode("utf-8" if encoding == "detect" else encoding))
            config = {"kind": "text", "name": "s", "path": str(path), "split": split, "encoding": encoding}
            source = open_source(SourceConfig.model_validate(config), DataRuntime(), 100)
            items: list[Any] = [item for file in source.files() for item in source.read(file)]
            assert [(item.position, item.text) for item in items] == expected
            assert [item.source_id for item in items] == [f"{split}.md#{n}" for n in range(1, len(items) + 1)]
