"""Repeated lines and paragraphs, against a plain walk through the corpus."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_tools.config import DataRuntime, LineDedupConfig
from data_tools.dedup.passages import remove_passages
from data_tools.progress import no_progress
from data_tools.text import document_id
from tests.data_tools.made_documents import digests, read_rows, write_documents

BLANKS = " \t\r\n"


def walked(shards: list[list[str]], config: LineDedupConfig) -> list[list[str]]:
    """What is left of each document of each shard ("" where it goes)."""
    seen: Counter[str] = Counter()
    left: list[list[str]] = []
    for shard in shards:
        left.append([])
        for text in shard:
            pieces = re.split("(\n)" if config.unit == "line" else "(\n(?:[ \t\r]*\n)+)", text)
            kept = ""
            for passage, behind in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
                key = passage.strip(BLANKS)
                if len(key) >= config.min_chars:
                    seen[key] += 1
                    if seen[key] > config.max_occurrences:
                        continue
                kept += passage + behind
            if kept != text:
                kept = kept.strip("\n") if kept.strip() else ""
            left[-1].append(kept)
    return left


def cut(folder: Path, shards: list[list[str]], config: LineDedupConfig, workers: int = 1) -> dict[str, Any]:
    paths = write_documents(folder / "in", shards)
    return remove_passages(config, paths, folder / "out", no_progress, DataRuntime(workers=workers))


LINES = st.sampled_from(
    ["menu | home", "all rights reserved ©", "日本語の行", "a", "", " ", "one more line", "\tmenu | home "]
)
TEXTS = st.lists(LINES, min_size=1, max_size=9).map("\n".join).filter(str.strip).map(lambda text: text.strip("\n"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["line", "paragraph"]),
    st.integers(1, 3),
    st.sampled_from([1, 4, 12]),
)
def test_it_is_a_walk_through_the_corpus(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[str]], unit: Any, most: int, min_chars: int
) -> None:
    folder = tmp_path_factory.mktemp("passages")
    config = LineDedupConfig(unit=unit, max_occurrences=most, min_chars=min_chars)
    counters = cut(folder, shards, config)
    expected = [text for shard in walked(shards, config) for text in shard]
    rows = read_rows(folder / "out" / "documents")
    assert [row["text"] for row in rows] == [text for text in expected if text]
    assert all(row["doc_id"] == document_id(row["text"]) for row in rows)
    assert all(row["n_bytes"] == len(row["text"].encode()) for row in rows)
    originals = [text for shard in shards for text in shard]
    edits = read_rows(folder / "out" / "edits")
    assert [(row["doc_id"], row["new_doc_id"]) for row in edits] == [
        (document_id(old), document_id(new) if new else None)
        for old, new in zip(originals, expected, strict=True)
        if old != new
    ]
    assert counters["documents_in"] == len(originals) and counters["documents_out"] == len(rows)
    assert counters["bytes_out"] == sum(row["n_bytes"] for row in rows)
    assert counters.get("removed.passage/empty", 0) == expected.count("")


FOOTER = "Copyright 2024 Example Foundation. All rights reserved."
CORPUS = [
    [f"Menu: home, about us, contact, news\nText {i} of the corpus stands here.\n{FOOTER}" for i in range(40)],
    [f"{FOOTER}\n{FOOTER}", *(f"Other text {i} of the second file.\n\n{FOOTER}\nshort" for i in range(40))],
]


def test_a_menu_and_a_footer_stay_in_the_first_document_only(tmp_path: Path) -> None:
    counters = cut(tmp_path, CORPUS, LineDedupConfig())
    texts = [row["text"] for row in read_rows(tmp_path / "out" / "documents")]
    assert texts[0] == CORPUS[0][0]
    assert texts[1] == "Text 1 of the corpus stands here."
    assert texts[40] == "Other text 0 of the second file.\n\nshort"
    assert counters["lines_cut"] == 39 + 39 + 2 + 40
    assert counters["removed"] == counters["source.made.removed.passage/empty"] == 1
    edits = read_rows(tmp_path / "out" / "edits")
    assert edits[0]["changes"] == [("passage/line", 2)]
    assert [row["cluster_size"] for row in read_rows(tmp_path / "out" / "documents")][:3] == [1, 2, 3]


@pytest.mark.slow
def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(tmp_path: Path) -> None:
    one = cut(tmp_path / "one", CORPUS, LineDedupConfig())
    two = cut(tmp_path / "two", CORPUS, LineDedupConfig(), workers=2)
    assert one == two
    first = digests(tmp_path / "one" / "out", ("documents", "edits"))
    assert first == digests(tmp_path / "two" / "out", ("documents", "edits"))
    # As after a kill: one file of the second pass is finished, another was begun.
    out = tmp_path / "one" / "out"
    (out / "finished.tmp" / "passages-cut" / "000001.json").unlink()
    (out / "documents" / "part-00001.parquet").rename(out / "documents" / "part-00001.parquet.tmp")
    assert cut(tmp_path / "one", CORPUS, LineDedupConfig()) == two
    assert first == digests(tmp_path / "one" / "out", ("documents", "edits"))
