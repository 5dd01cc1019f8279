from __future__ import annotations

import pytest

from data_tools.answers.sample import kept, reasons, sample
from data_tools.answers.tables import Tables
from data_tools.errors import DataError
from tests.data_tools.answers.conftest import IDS


def test_every_reason_of_every_stage_can_be_asked_for(tables: Tables) -> None:
    there = reasons(tables)
    assert there == [
        ("ingest", "bad-json", 1),
        ("select", "gopher/short", 1),
        ("select", "gopher/stop-words", 1),
        ("clean", "c4/few-words-in-line", 1),
        ("clean", "clean/empty", 1),
        ("clean", "personal-data/emails", 1),
        ("deduplicate", "exact-duplicate", 1),
        ("deduplicate", "near-duplicate", 1),
        ("decontaminate", "contamination/cut", 1),
        ("decontaminate", "contamination/science-quiz", 1),
        ("mix", "mixture/not-drawn", 1),
    ]
    for stage, reason, _ in there:
        (one,) = sample(tables, reason, stage=stage)[stage, reason]
        assert one.beginning and one.source in ("web", "books")


def test_a_removed_document_comes_with_the_number_that_removed_it(tables: Tables) -> None:
    found = sample(tables, "gopher")
    assert list(found) == [("select", "gopher/short"), ("select", "gopher/stop-words")]
    (one,) = found["select", "gopher/short"]
    assert one.doc_id == IDS["short"] and one.beginning == "too short" and one.signals == {"words": 2}


def test_a_duplicate_comes_with_its_representative_and_an_edit_with_what_it_became(tables: Tables) -> None:
    (near,) = sample(tables, "near-duplicate")["deduplicate", "near-duplicate"]
    assert "similarity 0.800" in near.note and "web/plain.txt" in near.note
    (mail,) = sample(tables, "personal-data/emails")["clean", "personal-data/emails"]
    assert "someone@" in mail.beginning and "email@example.com" in mail.note and mail.note.startswith("1 times; became")
    (broken,) = sample(tables, "bad-json")["ingest", "bad-json"]
    assert broken.source_id == "bad.jsonl, line 12" and broken.note == "no comma"


def test_a_source_can_be_asked_for(tables: Tables) -> None:
    assert sample(tables, "exact-duplicate", source="books")["deduplicate", "exact-duplicate"]
    assert not sample(tables, "exact-duplicate", source="web")["deduplicate", "exact-duplicate"]
    assert not sample(tables, "bad-json", source="books")["ingest", "bad-json"]


def test_the_draw_is_the_same_every_time_and_another_with_another_seed(tables: Tables) -> None:
    first = [one.doc_id for one in kept(tables, stage="ingest", n=3)]
    assert len(first) == 3 and first == [one.doc_id for one in kept(tables, stage="ingest", n=3)]
    draws = {tuple(one.source_id for one in kept(tables, stage="ingest", n=3, seed=seed)) for seed in range(5)}
    assert len(draws) > 1
    assert {one.doc_id for one in kept(tables, n=100)} == {
        IDS[n] for n in ("plain", "mail-cleaned", "cut-after", "twice")
    }


def test_an_unknown_reason_lists_those_there_are(tables: Tables) -> None:
    with pytest.raises(DataError, match="'gopher/shrt'") as told:
        sample(tables, "gopher/shrt")
    assert "gopher/short (select, 1)" in told.value.fix
    with pytest.raises(DataError, match="by mix"):
        sample(tables, "gopher/short", stage="mix")
    with pytest.raises(DataError, match="no documents here") as told:
        kept(tables, stage="annotate")
    assert "ingest, select" in told.value.fix
