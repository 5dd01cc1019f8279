from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.config import BenchmarkConfig
from data_tools.decontamination.benchmarks import read_examples
from data_tools.errors import DataError


def jsonl(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(path: Path | str, *fields: str, **settings: Any) -> list[str]:
    return [one.text for one in read_examples(BenchmarkConfig(name="b", path=str(path), fields=fields, **settings))]


def test_fields_are_strings_lists_and_ways_through_objects(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        {"question": {"stem": "why", "choices": [{"text": "yes"}, {"text": "no"}]}, "facts": ["one", ["two"]], "n": 3},
        {"question": {"stem": "how", "choices": []}, "facts": None, "n": None, "question.stem": "its own"},
    )
    assert texts(path, "question.stem", "question.choices.text", "facts", "n") == ["why yes no one two 3", "its own"]


def test_files_folders_globs_and_packed_files(tmp_path: Path) -> None:
    jsonl(tmp_path / "set" / "a.jsonl", {"question": "a"})
    (tmp_path / "set" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"question": "b"}\n\n{"question": "c"}\n'))
    pq.write_table(pa.table({"question": ["d", None]}), tmp_path / "set" / "deep.parquet")
    (tmp_path / "set" / "notes.txt").write_text("not an example")
    assert texts(tmp_path / "set", "question") == ["a", "b", "c", "d", ""]
    assert texts(str(tmp_path / "set" / "*.jsonl*"), "question") == ["a", "b", "c"]


def test_an_example_is_called_by_its_id_or_its_place(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"question": "a", "id": 7}, {"question": "b", "id": "x"})
    config = BenchmarkConfig(name="b", path=str(path))
    assert [one.name for one in read_examples(config)] == ["a.jsonl:1", "a.jsonl:2"]
    assert [one.name for one in read_examples(config.model_copy(update={"id_field": "id"}))] == ["7", "x"]


def test_half_a_surrogate_pair_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "half \\ud83d of it"}\n')
    assert texts(tmp_path / "a.jsonl", "question") == ["half ? of it"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "meta": {"k": 1}}', r"no example has the field 'question'; there are text, meta, meta.k"),
        ("", "no example in it"),
        ('{"question": "a"}\n{broken', r"a.jsonl:2: this line isn't JSON"),
        ("[1]", r"a.jsonl:1: this line isn't a JSON object"),
        ('{"question": {"stem": "a"}}', r"'question' is an object.*question.stem"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        texts(tmp_path / "a.jsonl", "question")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        texts(tmp_path / "nowhere.jsonl", "question")
    with pytest.raises(DataError, match="no files ending in"):
        texts(tmp_path, "question")
    for name in ("a.parquet", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8bbroken")
        with pytest.raises(DataError, match=name):
            texts(tmp_path / name, "question")
