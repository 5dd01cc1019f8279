"""Clean rows of Parquet go through ingest as columns. Whatever they stand among, the outcome is that of single records,
to the byte."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.config import DataRuntime, IngestConfig
from data_tools.kernels.normal_form import steps_needed
from data_tools.parquet import ShardFile
from data_tools.progress import no_progress
from data_tools.schema import DOCUMENTS
from data_tools.sources.parquet import _Rows
from data_tools.sources.protocol import Record
from data_tools.stages import ingest

steps_needed(b"a")


def outcome(raw: Path, by_record: bool, **options: Any) -> tuple[dict[str, Any], dict[str, bytes], list[int]]:
    """Counters, files, and the sizes of the tables that were handed over to the documents' files."""
    config: dict[str, Any] = {
        name: options.pop(name) for name in ("normalization", "max_document_bytes", "shard_bytes") if name in options
    }
    config["sources"] = [{"kind": "parquet", "name": "s", "path": str(raw), **options}]
    sizes: list[int] = []
    write = ShardFile.write

    def noted(file: ShardFile, table: pa.Table) -> None:
        if file.schema == DOCUMENTS:
            sizes.append(table.nbytes)
        write(file, table)

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(ShardFile, "write", noted)
        if by_record:
            patch.setattr(_Rows, "in_runs", lambda self, find_clean: self.one_by_one())
        counters = ingest.run(
            IngestConfig.model_validate(config), {}, Path(folder), no_progress, DataRuntime(workers=1)
        )
        files = {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    return counters, files, sizes


def assert_same(raw: Path, **options: Any) -> dict[str, Any]:
    counters, files, sizes = outcome(raw, by_record=False, **options)
    expected = outcome(raw, by_record=True, **options)
    assert counters == expected[0]
    assert sorted(files) == sorted(expected[1])
    assert [name for name in files if files[name] != expected[1][name]] == []
    assert sizes == expected[2]
    return counters


_WORDS = ["plain words", "naïve “café”", "한글", "हिन्दी", "বাংলা", "か\u3099", "e\u0301", "😀", "x" * 1_200]
_MARKS = [" ", "\n", "\r\n", "\t\n", "\x00", "\x07", "\ufeff", "\u3000", "\u2028"]
_PIECES = st.sampled_from([*_WORDS, *_MARKS])
_BODIES = st.one_of(
    st.none(),
    st.just(b"plain"),
    st.just(b"bad \xff\xc0\x80 \xed\xa0\x80"),
    st.lists(_PIECES, max_size=6).map(lambda pieces: "".join(pieces).encode()),
)
_IDS = st.sampled_from([None, b"id", "ключ".encode(), b"", b"bad \xff"])
_ROWS = st.lists(
    st.tuples(_BODIES, _IDS, st.sampled_from([None, b"http://x", b"\xfe"]), st.none() | st.integers(-5, 5)), min_size=1
)


@settings(max_examples=25, deadline=None)
@given(_ROWS, st.booleans(), st.sampled_from(["none", "nfc", "nfc-clean"]), st.integers(1, 40))
def test_hostile_rows_come_out_as_record_by_record(
    rows: list[tuple[Any, ...]], others: bool, normalization: str, row_group: int
) -> None:
    bodies, ids, links, numbers = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "text": pa.array([b"so that something comes out", *bodies], pa.binary()).view(pa.string()),
            "key": pa.array([None, *ids], pa.binary()).view(pa.string()),
            "link": pa.array([None, *links], pa.binary()),
            "n": [None, *numbers],
            "kind": pa.array(["x" if number else None for number in [1, *numbers]]).dictionary_encode(),
            "deep": [{"a": number, "b.c": "d"} for number in [0, *numbers]],
        }
    )
    options: dict[str, Any] = {"normalization": normalization, "max_document_bytes": 1_000}
    if others:
        options |= {"id_field": "key", "url_field": "link", "metadata_fields": ["n", "kind", "gone", "deep.a", "deep"]}
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "a.parquet", row_group_size=row_group)
        assert_same(Path(folder), **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"id_field": "key", "url_field": "key", "metadata_fields": ["key", "text"]},
        {"metadata_fields": ["deep", "deep.b.c"]},  # a name with a dot in it, which only a row's own fields show
        {"metadata_fields": ["when"]},  # has a value that Python can't hold: the rest of the file is lost
        {"metadata_fields": ["key", "key"], "license": "CC0", "shard_bytes": 100_000},
        {"id_field": "key", "metadata_fields": ["key"], "shard_bytes": 100_000},
        {"normalization": "ftfy"},
    ],
)
def test_files_and_row_groups_are_cut_at_the_same_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    made = random.Random(5)
    texts: list[str | None] = [
        "word " * made.randrange(60) + made.choice(["", ".", "é", "e\u0301"]) for _ in range(6_500)
    ]
    texts[::97] = [None] * len(texts[::97])
    table = pa.table(
        {
            "text": texts,
            "key": [None if made.random() < 0.1 else "ключ"[: made.randrange(5)] for _ in texts],
            "deep": [{"b.c": i} for i in range(len(texts))],
            "when": pa.array([2**60 if i == 700 else i for i in range(len(texts))], pa.timestamp("ms")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2_000)
    assert_same(tmp_path, **options)


def test_thousands_of_short_texts_share_a_table(tmp_path: Path) -> None:
    texts = [f"{i}" if i % 300 else None for i in range(9_000)]
    pq.write_table(pa.table({"text": texts, "n": texts}), tmp_path / "a.parquet")
    counters = assert_same(tmp_path, metadata_fields=["n"])
    assert counters["quarantined"] == 30


def test_clean_rows_are_read_as_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(
        pa.table({"text": ["fine", "also fine", "trailing ", "fine"], "n": [1, 2, 3, 4]}), tmp_path / "a.parquet"
    )
    looked_at: list[str] = []
    accept: Callable[..., Any] = ingest._accepted

    def noted(record: Record, *rest: Any) -> Any:
        looked_at.append(record.text)
        return accept(record, *rest)

    monkeypatch.setattr(ingest, "_accepted", noted)
    outcome(tmp_path, by_record=False, id_field="n")
    assert looked_at == ["trailing "]
