from __future__ import annotations

from pathlib import Path

import pytest

from data_tools.answers import card_facts
from data_tools.answers.tables import Tables
from data_tools.answers.why import Story, why
from data_tools.config import DataCardConfig, SelectConfig
from data_tools.errors import DataError
from tests.data_tools.answers.conftest import BODY, IDS


def the_story(tables: Tables, query: str) -> Story:
    (story,) = why(tables, query, SelectConfig()).stories
    return story


def outcomes(story: Story) -> dict[str, str]:
    return {step.stage: step.outcome for step in story.steps}


def test_what_nothing_happened_to_is_followed_to_its_split(tables: Tables) -> None:
    answer = why(tables, IDS["plain"], SelectConfig())
    assert answer.copies == 2  # the same text stands in two sources
    story = next(story for story in answer.stories if story.copy.source == "web")
    assert story.stays and [step.stage for step in story.steps] == [
        *("ingest", "select", "clean", "deduplicate", "decontaminate", "mix")
    ]
    told = outcomes(story)
    assert told["select"] == told["decontaminate"] == "kept" and told["clean"] == "unchanged"
    assert told["deduplicate"] == "kept, in the place of 2 more"
    assert told["mix"] == "in the corpus, split test"
    assert story.url == "https://www.example.org/plain" and story.license == "CC0"
    assert story.metadata == {"title": "plain"} and story.beginning.startswith("the harbour master")


def test_a_copy_has_an_end_of_its_own(tables: Tables) -> None:
    story = the_story(tables, "books/copy-1")
    assert not story.stays and story.steps[-1].stage == "deduplicate"
    assert f"the same text as {IDS['plain']} (web/plain.txt)" in story.steps[-1].outcome


def test_signals_stand_beside_their_thresholds(tables: Tables) -> None:
    story = the_story(tables, IDS["short"][:8])
    assert story.steps[-1].outcome == "removed: gopher/short, gopher/stop-words"
    failed = {check.signal: (check.value, check.wanted) for check in story.steps[-1].checks if check.failed}
    # The verdict names stop words too, but 4 of them pass: a reason is never pinned on a number that it isn't due to.
    assert failed == {"words": (2, "at least 50")}
    passed = {check.signal: check.wanted for check in story.steps[-1].checks if not check.failed}
    assert passed["language"] == "one of en" and passed["alpha_words"] == "at least 0.8"


@pytest.mark.parametrize("name", ["mail", "mail-cleaned"])
def test_the_ids_before_and_after_an_edit_lead_to_the_same_story(tables: Tables, name: str) -> None:
    story = the_story(tables, IDS[name])
    assert story.copy.doc_id == IDS["mail"]
    clean = next(step for step in story.steps if step.stage == "clean")
    assert IDS["mail-cleaned"] in clean.outcome and clean.details == ("personal-data/emails: 1",)
    assert story.steps[-1].outcome == "in the corpus, split train"


def test_a_text_that_was_cut_is_followed_too(tables: Tables) -> None:
    story = the_story(tables, IDS["cut-after"][:10])
    assert [step.outcome for step in story.steps if step.stage == "decontaminate"] == [
        "shares text with 1 examples of science-quiz",
        f"edited, {len(BODY) + 28} to {len(BODY) + 7} bytes; its id became {IDS['cut-after']}",
    ]
    assert story.stays


def test_what_an_edit_left_nothing_of(tables: Tables) -> None:
    story = the_story(tables, "web/menu.txt")
    assert story.steps[-1].stage == "clean" and story.steps[-1].outcome.startswith("removed: clean/empty")


def test_a_near_duplicate_is_shown_beside_what_stays(tables: Tables) -> None:
    step = the_story(tables, IDS["near"]).steps[-1]
    assert step.pair is not None and step.outcome.startswith("removed: near-duplicate, similarity 0.800")
    assert step.pair.representative_source == "web/plain.txt"
    at = step.pair.parts_at
    assert at is not None and at == len(BODY) * 3 + len("nothing ever happened to th")
    assert "that one" in step.pair.difference and "this one" in step.pair.representative_difference


def test_contamination_names_the_example(tables: Tables) -> None:
    step = the_story(tables, IDS["quiz"]).steps[-1]
    assert step.outcome == "removed: shares text with 1 examples of science-quiz" and not step.stays
    assert step.details == (
        'science-quiz quiz.jsonl:4: 2 n-grams, 75% of the example, such as "the boiling point of water"',
    )


def test_repetitions_and_what_is_left_out_of_the_mixture(tables: Tables) -> None:
    assert the_story(tables, IDS["twice"]).steps[-1].outcome == "in the corpus, split train, 2 times"
    assert "mixture/not-drawn" in the_story(tables, "books/left-out").steps[-1].outcome


@pytest.mark.parametrize("query", ["web/bad.jsonl", "web/bad.jsonl:12"])
def test_a_quarantined_record_is_found_by_its_place(tables: Tables, query: str) -> None:
    answer = why(tables, query)
    assert not answer.stories and answer.quarantined[0]["reason"] == "bad-json"


@pytest.mark.parametrize("query", ["ffffffff", "web/nothing.txt", "no such thing", "", "web/bad.jsonl:13", "abc"])
def test_what_is_in_no_table_gets_a_clear_answer(tables: Tables, query: str) -> None:
    with pytest.raises(DataError, match=r"no document is, or was, called.*none of the 10") as told:
        why(tables, query)
    assert "web/plain.txt" in told.value.fix and "Sources: books, web" in told.value.fix


def test_an_id_that_begins_like_several_asks_for_more_digits(folders: dict[str, Path], tmp_path: Path) -> None:
    from data_tools import schema
    from tests.data_tools.answers.conftest import document, write

    rows = [document("plain") | {"doc_id": f"abcd{n}".ljust(32, "0"), "source_id": str(n)} for n in range(3)]
    write(tmp_path, "documents", schema.DOCUMENTS, [rows])
    with Tables({"ingest": tmp_path}) as tables, pytest.raises(DataError, match="3 documents' ids begin with 'abcd'"):
        why(tables, "abcd")
    with Tables({"ingest": tmp_path}) as tables:
        assert the_story(tables, "abcd1").copy.source_id == "1"


def test_a_chain_that_stopped_early_is_told_as_far_as_it_went(folders: dict[str, Path]) -> None:
    with Tables({"ingest": folders["ingest"]}) as tables:
        assert [step.stage for step in the_story(tables, IDS["mail"]).steps] == ["ingest"]


def test_a_duplicate_of_an_earlier_corpus_says_so(tmp_path: Path) -> None:
    from data_tools import schema
    from tests.data_tools.answers.conftest import document, duplicate, write

    write(tmp_path / "ingest", "documents", schema.DOCUMENTS, [[document("near"), document("twice")]])
    gone = duplicate("near", "web", "near.txt", "index-near", 0.9) | {"representative": "f" * 32}
    write(tmp_path / "deduplicate", "duplicates", schema.DUPLICATES, [[gone]])
    write(tmp_path / "deduplicate", "documents", schema.DOCUMENTS, [[document("twice")]])
    with Tables({stage: tmp_path / stage for stage in ("ingest", "deduplicate")}) as tables:
        step = the_story(tables, IDS["near"]).steps[-1]
        assert the_story(tables, IDS["twice"]).stays
    assert step.outcome == (
        f"removed: index-near-duplicate, similarity 0.900 to {'f' * 32} (an index of earlier documents)"
    )
    assert step.pair is not None and step.pair.parts_at is None and step.pair.representative_source == ""


def test_a_part_of_a_longer_document_says_so(tmp_path: Path) -> None:
    from data_tools import schema
    from tests.data_tools.answers.conftest import document, duplicate, write

    write(tmp_path / "ingest", "documents", schema.DOCUMENTS, [[document("near"), document("plain")]])
    gone = duplicate("near", "web", "near.txt", "contained", 0.966) | {"cluster_size": 1}
    write(tmp_path / "deduplicate", "duplicates", schema.DUPLICATES, [[gone]])
    write(tmp_path / "deduplicate", "documents", schema.DOCUMENTS, [[document("plain")]])
    with Tables({stage: tmp_path / stage for stage in ("ingest", "deduplicate")}) as tables:
        part, whole = the_story(tables, IDS["near"]).steps[-1], the_story(tables, IDS["plain"]).steps[-1]
        # A part isn't a copy of the whole.
        found = card_facts._duplicates(tables, DataCardConfig())
    told = f"removed: contained-duplicate, 0.966 of it stands in {IDS['plain']} (web/plain.txt)"
    assert (part.outcome, part.details) == (told, ())
    assert whole.details == (f"{IDS['near']} web/near.txt, 0.966 of it stands in this",)
    assert (found.contained, found.near, found.clusters, found.largest) == (1, 0, 0, ())
