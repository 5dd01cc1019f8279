from __future__ import annotations

import json
from typing import Any

import pytest

from data_tools.config import InstructionSetConfig
from data_tools.errors import DataError
from data_tools.stages.build_instruction_set import conversations, fill

TEMPLATES = [
    {"user": "What is {title}?", "assistant": "{first_sentence}"},
    {"user": "Tell me about {title}.", "assistant": "{text}"},
    {"user": "Who wrote {title}?", "assistant": "{author}"},
]


def prepare(chain: Any) -> None:
    texts = [f"Thing {i} is a thing. It was made in 19{i:02}. It is kept in a museum." for i in range(60)]
    chain.ingest_texts(texts, [{"title": f"Thing {i}", **({"author": "Ann"} if i < 5 else {})} for i in range(60)])
    chain.run("mix", documents="ingest")


def test_conversations_follow_the_documents(chain: Any) -> None:
    prepare(chain)
    counters = chain.run("instruction_set", {"templates": TEMPLATES, "per_document": 2, "max_answer_chars": 45})
    documents = {row["doc_id"]: row for row in chain.rows("mix", "documents")}
    rows = chain.rows("instruction_set", "examples")
    assert len(rows) == 120 == counters["examples"]
    for row in rows:
        user, assistant = json.loads(row["messages"])
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        document = documents[row["doc_id"]]
        assert row["split"] == document["split"]
        assert dict(document["metadata"])["title"] in user["content"]
        assert len(assistant["content"]) <= 45
        # cut after the last sentence that fits: the first two do, the third doesn't
        if user["content"].startswith("Tell"):
            assert assistant["content"] == " ".join(document["text"].split(". ")[0:1]) + ". " + (
                document["text"].split(". ")[1] + "."
            )
    assert 0 < counters["template.2"] <= 5, "a template is passed over where its field is missing"


def test_the_choice_hangs_on_the_document_alone(chain: Any) -> None:
    config = InstructionSetConfig.model_validate({"templates": TEMPLATES, "per_document": 1})
    chosen = [
        next(iter(conversations(config, f"{i:032x}", "A text. More.", {"title": "T", "author": "A"})))[0]
        for i in range(300)
    ]
    again = [
        next(iter(conversations(config, f"{i:032x}", "Other.", {"title": "X", "author": "Y"})))[0] for i in range(300)
    ]
    assert chosen == again
    assert all(60 < chosen.count(index) < 140 for index in range(3))


def test_an_answer_without_a_sentence_that_fits_is_passed_over() -> None:
    config = InstructionSetConfig.model_validate({"templates": TEMPLATES[:2], "max_answer_chars": 10})
    assert list(conversations(config, "0" * 32, "This first sentence is far too long.", {"title": "T"})) == []


def test_an_answer_that_says_nothing_gives_way_to_another_template() -> None:
    topic = {"user": "Topic of {title}?", "assistant": "{topic}", "exclude": ["Uncategorized"]}
    config = InstructionSetConfig.model_validate(
        {"templates": [topic, {"user": "What is {title}?", "assistant": "{text}"}], "per_document": 2}
    )
    for name, expected in (("Uncategorized", {1}), ("Music", {0, 1})):
        made = conversations(config, "id", "A short text.", {"title": "It", "topic": name})
        assert {index for index, _ in made} == expected


def test_fill_knows_only_names() -> None:
    assert fill("{a} and {b c}", {"a": "{b c}", "b c": "2"}) == "{b c} and 2"
    assert fill("{a.__class__}", {"a": "x"}) is None
    assert fill("{a}", {"a": "  "}) is None
    assert fill("no fields {}", {}) == "no fields {}"


def test_no_template_fits_names_the_fields(chain: Any) -> None:
    prepare(chain)
    with pytest.raises(DataError, match="author, title"):
        chain.run("instruction_set", {"templates": [{"user": "{titel}?", "assistant": "{text}"}]})
