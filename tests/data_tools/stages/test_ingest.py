from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_tools.config import DataRuntime, IngestConfig
from data_tools.errors import DataError
from data_tools.stages.ingest import source_digests
from data_tools.text import document_id


def test_documents_carry_everything(chain: Any) -> None:
    path = chain.folder / "a.jsonl"
    path.write_text('{"text": "Hello  \\r\\nworld", "key": "k1", "link": "http://x", "topic": "greeting"}\n')
    source = {"kind": "jsonl", "name": "s", "path": str(path), "id_field": "key", "url_field": "link"}
    counters = chain.run("ingest", {"sources": [{**source, "metadata_fields": ["topic"], "license": "CC0"}]})
    assert chain.rows("ingest", "documents") == [
        {
            "doc_id": document_id("Hello\nworld"),
            "text": "Hello\nworld",
            "source": "s",
            "source_id": "k1",
            "url": "http://x",
            "language": None,
            "license": "CC0",
            "n_bytes": 11,
            "metadata": [("topic", "greeting")],
            "cluster_size": None,
        }
    ]
    assert counters["documents_in"] == counters["documents_out"] == 1
    assert counters["source.s.bytes_out"] == counters["bytes_out"] == 11
    assert json.loads((chain.folder / "ingest" / "counters.json").read_text()) == counters


def test_what_is_no_text_is_quarantined_and_counted(chain: Any) -> None:
    lines = [
        json.dumps({"text": "good"}),
        json.dumps({"text": "nul\x00byte"}),
        '{"text": "half \\ud800 pair"}',
        '{"text": "fine", "title": "\\udfff"}',
        json.dumps({"text": " \n\t "}),
        json.dumps({"text": "x" * 1_001}),
        "broken",
    ]
    path = chain.folder / "a.jsonl"
    path.write_text("\n".join(lines))
    source = {"kind": "jsonl", "name": "s", "path": str(path), "metadata_fields": ["title"]}
    counters = chain.run("ingest", {"sources": [source], "max_document_bytes": 1_000})
    found = [(row["file"], row["position"], row["reason"]) for row in chain.rows("ingest", "quarantine")]
    assert found == [
        ("a.jsonl", "line 2", "nul-character"),
        ("a.jsonl", "line 3", "lone-surrogate"),
        ("a.jsonl", "line 4", "lone-surrogate"),
        ("a.jsonl", "line 5", "empty-text"),
        ("a.jsonl", "line 6", "too-long"),
        ("a.jsonl", "line 7", "invalid-json"),
    ]
    assert counters["documents_in"] == 7 == counters["documents_out"] + counters["quarantined"]
    assert counters["removed.lone-surrogate"] == 2


def test_many_sources_and_broken_files(chain: Any) -> None:
    raw = chain.folder / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("a text")
    (raw / "b.txt").write_bytes(b"\xff\xfe\x00")
    (raw / "rows.jsonl").write_text('{"text": "a row"}\n')
    (raw / "cut.parquet").write_bytes(b"PAR1 nothing")
    sources = [
        {"kind": "text", "name": "texts", "path": str(raw)},
        {"kind": "parquet", "name": "tables", "path": str(raw / "cut.parquet")},
        {"kind": "jsonl", "name": "rows", "path": str(raw / "*.jsonl")},
    ]
    counters = chain.run("ingest", {"sources": sources})
    assert [row["text"] for row in chain.rows("ingest", "documents")] == ["a text", "a row"]
    assert [(row["source"], row["reason"]) for row in chain.rows("ingest", "quarantine")] == [
        ("texts", "invalid-utf8"),
        ("tables", "unreadable-parquet"),
    ]
    assert counters["files"] == 4
    assert sorted(p.name for p in (chain.folder / "ingest").iterdir()) == ["counters.json", "documents", "quarantine"]


def test_small_files_share_a_part_and_large_ones_are_cut(chain: Any) -> None:
    raw = chain.folder / "raw"
    raw.mkdir()
    for i in range(30):
        (raw / f"{i:02}.txt").write_text(f"{i} " * 5_000)
    chain.run("ingest", {"sources": [{"kind": "text", "name": "t", "path": str(raw)}], "shard_bytes": 100_000})
    parts = sorted((chain.folder / "ingest" / "documents").iterdir())
    assert 3 < len(parts) < 12
    assert [part.name for part in parts] == [f"part-{i:05d}.parquet" for i in range(len(parts))]
    ids = [row["source_id"] for row in chain.rows("ingest", "documents")]
    assert ids == [f"{i:02}.txt" for i in range(30)]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no record in them"), (b"nonsense\n\xff\n", "1 invalid-json"), (b'{"body": "x"}\n', "1 missing-text")],
)
def test_an_empty_corpus_is_an_error_with_reasons(chain: Any, content: bytes, said: str) -> None:
    path = chain.folder / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="the corpus is empty") as caught:
        chain.run("ingest", {"sources": [{"kind": "jsonl", "name": "s", "path": str(path)}]})
    assert said in str(caught.value)
    assert (chain.folder / "ingest" / "quarantine" / "part-00000.parquet").exists()


def test_digests_follow_content_and_ignore_place(tmp_path: Path) -> None:
    def digests(folder: Path, content: str) -> dict[str, str]:
        folder.mkdir()
        (folder / "a.txt").write_text(content)
        config = IngestConfig.model_validate({"sources": [{"kind": "text", "name": "s", "path": str(folder)}]})
        return source_digests(config, DataRuntime())

    first = digests(tmp_path / "one", "same")
    assert list(first) == ["s/a.txt"]
    assert digests(tmp_path / "two", "same") == first
    assert digests(tmp_path / "three", "other") != first


def test_a_wheel_s_digest_is_its_pin_and_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("pip was called"))
    wheel = {"kind": "wheel", "name": "w", "requirement": "x==1", "sha256": "a" * 64, "member": "x/data.json"}
    config = IngestConfig.model_validate({"sources": [wheel]})
    assert source_digests(config, DataRuntime()) == {"w/x/data.json": "a" * 64}


def test_two_sources_of_one_name_are_refused() -> None:
    source = {"kind": "text", "name": "s", "path": "x"}
    with pytest.raises(ValidationError, match="two sources are called 's'"):
        IngestConfig.model_validate({"sources": [source, source]})


def test_the_door_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, data_tools.stages.ingest; print([m for m in ('pyarrow', 'numpy', 'fasttext') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_parquet_files_hold_no_time_and_no_path(chain: Any, make_chain: Callable[..., Any], tmp_path: Path) -> None:
    chain.ingest_texts(["some text"])
    other = make_chain(tmp_path / "elsewhere")
    other.ingest_texts(["some text"])
    path = Path("ingest/documents/part-00000.parquet")
    assert (chain.folder / path).read_bytes() == (other.folder / path).read_bytes()
    assert str(chain.folder) not in str(pq.ParquetFile(chain.folder / path).metadata.metadata)
