from __future__ import annotations

from typing import Any

import pytest

from data_tools.errors import DataError

ENGLISH = "The history of the town is long, and it is said that the people who live there have to be proud of it. "
FRENCH = "La ville est connue pour son histoire, et les habitants sont fiers de leurs traditions anciennes. "
RULE = {"language": {"keep": ["en"]}, "gopher_quality": {"min_words": 10}}


def prepare(chain: Any, **annotate: Any) -> None:
    chain.ingest_texts([ENGLISH, FRENCH, "The cat of the house.", "# " * 40, ENGLISH * 2])
    chain.run("annotate", annotate)


def test_every_reason_is_kept(chain: Any) -> None:
    prepare(chain)
    counters = chain.run("select", RULE)
    verdicts = chain.rows("select", "verdicts")
    assert [v["keep"] for v in verdicts] == [True, False, False, False, True]
    assert "language" in verdicts[1]["reasons"] and "few-stop-words" in verdicts[1]["reasons"]
    assert verdicts[2]["reasons"] == ["too-few-words"] or "too-few-words" in verdicts[2]["reasons"]
    assert {"short-words", "hash-symbols", "few-alphabetic-words", "few-stop-words"} <= set(verdicts[3]["reasons"])
    assert [v["doc_id"] for v in verdicts] == [d["doc_id"] for d in chain.rows("ingest", "documents")]
    documents = chain.rows("select", "documents")
    assert [(d["text"], d["language"]) for d in documents] == [
        (ENGLISH.strip(" "), "en"),
        ((ENGLISH * 2).strip(" "), "en"),
    ]
    assert (counters["documents_in"], counters["documents_out"], counters["removed"]) == (5, 2, 3)
    assert counters["removed.too-few-words"] == sum("too-few-words" in v["reasons"] for v in verdicts)


def test_all_filtered_away_names_the_knob_and_leaves_the_verdicts(chain: Any) -> None:
    prepare(chain)
    with pytest.raises(DataError) as caught:
        chain.run("select", {"language": None, "gopher_quality": {"min_words": 10_000}})
    assert "all 5 documents" in str(caught.value)
    assert "5 by too-few-words" in str(caught.value)
    assert "select.gopher_quality.min_words" in caught.value.fix
    assert len(chain.rows("select", "verdicts")) == 5


@pytest.mark.parametrize(
    ("missing", "switch"), [("language", "annotate.language"), ("gopher_quality", "annotate.gopher")]
)
def test_a_rule_without_its_signals(chain: Any, missing: str, switch: str) -> None:
    prepare(chain, **{missing: False})
    with pytest.raises(DataError, match=switch):
        chain.run("select", RULE)


def test_no_rules_keep_all(chain: Any) -> None:
    prepare(chain, language=False, gopher_quality=False)
    assert chain.run("select", {"language": None, "gopher_quality": None})["documents_out"] == 5


def test_signals_of_other_documents_are_refused(chain: Any) -> None:
    prepare(chain)
    chain.ingest_texts([FRENCH, ENGLISH, "a", "b", "c"])
    with pytest.raises(DataError, match="other documents"):
        chain.run("select", RULE)
