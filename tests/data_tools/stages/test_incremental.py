"""Tomorrow's documents against an index of today's, through the stage."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_tools.config import DataRuntime, DeduplicateConfig
from data_tools.errors import DataError
from data_tools.progress import no_progress
from data_tools.stages import deduplicate
from tests.data_tools.made_documents import read_rows, write_documents
from tests.data_tools.redis_server import redis_server

GENERATOR = random.Random(11)
WORDS = [f"word{i}" for i in range(2_000)]
TODAY = [" ".join(GENERATOR.choices(WORDS, k=GENERATOR.randint(40, 200))) for _ in range(40)]
COPIES = TODAY[:5]
NEAR = [f"{text} and a few words more" for text in TODAY[5:12]]
NEW = [" ".join(GENERATOR.choices(WORDS, k=100)) for _ in range(9)]
TOMORROW = [*COPIES, *NEAR, *NEW, f"{NEW[0]} again"]


def run(folder: Path, shards: list[list[str]], **settings: Any) -> tuple[list[str], dict[str, str], dict[str, Any]]:
    """``(texts that stay, text that goes: why, counters)``."""
    write_documents(folder / "in" / "documents", shards)
    config = DeduplicateConfig(**settings)
    inputs = {"documents": folder / "in"}
    counters = deduplicate.run(config, inputs, folder, no_progress, DataRuntime(workers=1))
    texts = {row["source_id"]: row["text"] for row in read_rows(folder / "in" / "documents")}
    removed = {texts[row["source_id"]]: row["reason"] for row in read_rows(folder / "duplicates")}
    return [row["text"] for row in read_rows(folder / "documents")], removed, counters


def expect_tomorrow(stays: list[str], removed: dict[str, str]) -> None:
    assert {text for text, reason in removed.items() if reason == "index-exact"} == set(COPIES)
    assert {text for text, reason in removed.items() if reason == "index-near"} == set(NEAR)
    # Copies among the new ones are found as ever.
    assert sum(reason == "near" for reason in removed.values()) == 1
    assert len(stays) == len(NEW) and set(NEW[1:]) < set(stays)


def test_an_index_stands_for_the_earlier_corpus(tmp_path: Path) -> None:
    stays, _, _ = run(tmp_path / "today", [TODAY[:30], TODAY[30:]], index=True)
    assert stays == TODAY
    # Nothing of the earlier texts is read again.
    shutil.rmtree(tmp_path / "today" / "documents")
    shutil.rmtree(tmp_path / "today" / "in")
    against = [str(tmp_path / "today")]
    stays, removed, counters = run(tmp_path / "tomorrow", [TOMORROW[:8], TOMORROW[8:]], against=against, index=True)
    expect_tomorrow(stays, removed)
    assert counters["documents_out"] == len(NEW) and counters["removed"] == len(TOMORROW) - len(NEW)
    # The day after is checked against both.
    after = [*against, str(tmp_path / "tomorrow" / "index")]
    stays, removed, _ = run(tmp_path / "after", [[*NEW[1:4], TODAY[20], "something never seen before"]], against=after)
    assert stays == ["something never seen before"] and set(removed.values()) == {"index-exact"}


def test_an_index_of_other_parameters_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "today", [TODAY[:3]], index=True)
    with pytest.raises(DataError, match="shingle_words is 5 there and 3 here"):
        run(tmp_path / "tomorrow", [TOMORROW], against=[str(tmp_path / "today")], shingle_words=3)


def test_digests_are_of_the_index(tmp_path: Path) -> None:
    run(tmp_path / "today", [TODAY[:3]], index=True)
    config = DeduplicateConfig(against=(str(tmp_path / "today"),))
    shutil.copytree(tmp_path / "today" / "index", tmp_path / "elsewhere")
    moved = DeduplicateConfig(against=(str(tmp_path / "elsewhere"),))
    assert deduplicate.source_digests(config, DataRuntime()) == deduplicate.source_digests(moved, DataRuntime())
    run(tmp_path / "other", [TODAY[:4]], index=True)
    other = DeduplicateConfig(against=(str(tmp_path / "other"),))
    assert deduplicate.source_digests(config, DataRuntime()) != deduplicate.source_digests(other, DataRuntime())


def test_a_shared_index_in_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = {"redis": {"name": "corpus"}}
    with redis_server(tmp_path) as url:
        monkeypatch.setenv("GROUNDUP_REDIS_URL", url)
        stays, _, _ = run(tmp_path / "today", [TODAY], **settings)
        assert stays == TODAY
        for _ in range(2):  # repeated, as after a crash at its very end, it doesn't find itself
            stays, removed, _ = run(tmp_path / "tomorrow", [TOMORROW[:8], TOMORROW[8:]], **settings)
            expect_tomorrow(stays, removed)
        assert run(tmp_path / "after", [[*stays, "something new"]], **settings)[0] == ["something new"]
