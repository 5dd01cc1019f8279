from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.answers.tables import Tables


@pytest.mark.parametrize("name", ["plain", "a [b] c", "what? *", "it's", "a,b", "{x}"])
def test_no_character_of_a_path_is_a_wildcard(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "documents"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"doc_id": ["a", "b"]}), folder / "part-00000.parquet")
    decoy = tmp_path / "a b c" / "documents"  # what the brackets would match
    decoy.mkdir(parents=True)
    pq.write_table(pa.table({"doc_id": ["c"]}), decoy / "part-00000.parquet")
    with Tables({"ingest": tmp_path / name}) as tables:
        found = tables.rows(f"SELECT doc_id, part, file_row_number FROM {tables.scan('ingest', 'documents')}")
    assert [(row["doc_id"], row["file_row_number"]) for row in found] == [("a", 0), ("b", 1)]
    assert {row["part"] for row in found} == {"part-00000.parquet"}


def test_unfinished_files_and_missing_stages_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "part-00000.parquet.tmp").write_text("half")
    with Tables({"ingest": tmp_path}) as tables:
        assert not tables.has("ingest", "documents") and not tables.has("mix", "documents")
        assert tables.last() is None and tables.before("mix") is None
        with pytest.raises(KeyError):
            tables.scan("ingest", "documents")


def test_stages_are_found_in_the_order_of_the_chain(tables: Tables) -> None:
    assert tables.last() == "mix"
    assert tables.before("mix") == "decontaminate" and tables.before("clean") == "select"
    assert tables.before("ingest") is None
