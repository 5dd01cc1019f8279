"""Deduplication removes copies, and never two texts that merely look alike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from data_tools.dedup.shingles import jaccard
from tests.data_tools.dedup.test_minhash import shingles_of

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(seed: int, words: int = 200) -> str:
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words))


def deduplicate(chain: Any, texts: list[str], **config: Any) -> list[str]:
    chain.ingest_texts(texts)
    chain.run("deduplicate", config, documents="ingest")
    return [row["text"] for row in chain.rows("deduplicate", "documents")]


def test_exact_copies_leave_the_first(chain: Any) -> None:
    texts = [prose(1), prose(2), prose(1), prose(1) + "  ", prose(3)]
    assert deduplicate(chain, texts, minhash=False) == [prose(1), prose(2), prose(3)]
    gone = chain.rows("deduplicate", "duplicates")
    assert [(row["source_id"], row["reason"], row["cluster_size"]) for row in gone] == [
        ("texts.jsonl:3", "exact", 3),
        ("texts.jsonl:4", "exact", 3),
    ]
    assert chain.counters["deduplicate"]["duplicates_exact"] == 2


def test_two_renderings_of_one_text_are_found_and_the_longer_stays(chain: Any) -> None:
    words = prose(1).split()
    plain = " ".join(words)
    rendered = "# Title\n\n" + "\n".join("* " + " ".join(words[i : i + 10]).upper() + "." for i in range(0, 200, 10))
    assert deduplicate(chain, [plain, prose(2), rendered]) == [prose(2), rendered]
    (gone,) = chain.rows("deduplicate", "duplicates")
    assert gone["reason"] == "near" and gone["exact_similarity"] > 0.95
    assert gone["representative"] == chain.rows("deduplicate", "documents")[1]["doc_id"] == gone["cluster"]


def test_every_removal_is_verified_against_a_document_that_stays(chain: Any) -> None:
    generator = random.Random(5)
    texts = []
    for family in range(12):
        words = prose(family, 120).split()
        for _ in range(6):
            for _ in range(4):  # each variant drifts further from the first
                words[generator.randrange(len(words))] = generator.choice(WORDS)
            texts.append(" ".join(words))
    texts.append(texts[3])
    kept = deduplicate(chain, texts, min_similarity=0.75)
    assert len(kept) < len(texts) - 12
    survivors = {row["doc_id"]: row["text"] for row in chain.rows("deduplicate", "documents")}
    by_line = {f"texts.jsonl:{i + 1}": text for i, text in enumerate(texts)}
    gone = chain.rows("deduplicate", "duplicates")
    assert len(gone) + len(kept) == len(texts)
    for row in gone:
        removed, stays = by_line[row["source_id"]], survivors[row["representative"]]
        exact = jaccard(shingles_of(removed), shingles_of(stays))
        assert exact == pytest.approx(row["exact_similarity"]) and exact >= 0.75
        assert len(stays) >= len(removed)


def test_a_template_corpus_is_not_merged(chain: Any) -> None:
    # Letters from one template about different things: half of the words are shared, so they meet in bands.
    frame = prose(99, 150).split()
    texts = [" ".join(frame[:75] + prose(1000 + i, 60).split() + frame[75:]) for i in range(150)]
    assert deduplicate(chain, texts, bands=32, rows=3) == texts


def test_long_books_joined_by_a_chain_are_not_merged(chain: Any) -> None:
    # Each shares most of its words with the next, the first and the last share nothing.
    stream = prose(7, 6_000).split()
    books = [" ".join(stream[i * 250 : i * 250 + 2_000]) for i in range(16)]
    kept = deduplicate(chain, books, bands=32, rows=4)
    assert books[0] in kept or books[1] in kept
    for row in chain.rows("deduplicate", "duplicates"):
        survivor = next(
            d["text"] for d in chain.rows("deduplicate", "documents") if d["doc_id"] == row["representative"]
        )
        book = books[int(row["source_id"].split(":")[1]) - 1]
        assert jaccard(shingles_of(book), shingles_of(survivor)) >= 0.75
    # With neighbours at about 0.78, no survivor can stand for more than its own two neighbours.
    assert len(kept) >= 5
    assert chain.counters["deduplicate"]["largest_cluster"] <= 3


def test_short_texts(chain: Any) -> None:
    texts = ["Yes.", "yes!", "No.", "three small words", "Three SMALL words", "...", "!!!"]
    kept = set(deduplicate(chain, texts))
    assert len(kept & {"Yes.", "yes!"}) == 1
    assert len(kept & {"three small words", "Three SMALL words"}) == 1
    assert {"No.", "...", "!!!"} <= kept  # texts without any word have nothing to compare


def test_a_copy_of_a_near_copy_gets_the_document_that_stays(chain: Any) -> None:
    original = prose(1)
    near = " ".join(original.split()[:-2])
    assert deduplicate(chain, [near, original, near]) == [original]
    gone = chain.rows("deduplicate", "duplicates")
    assert {row["representative"] for row in gone} == {chain.rows("deduplicate", "documents")[0]["doc_id"]}
    assert [row["reason"] for row in gone] == ["near", "near"]


def test_among_equals_the_least_id_stays_whatever_the_order(chain: Any) -> None:
    words = prose(4).split()
    variants = [" ".join(words), " ".join([*words[1:], words[0]])]
    first = deduplicate(chain, variants)
    assert first == deduplicate(chain, variants[::-1])
    assert len(first) == 1


def test_switched_off(chain: Any) -> None:
    assert len(deduplicate(chain, [prose(1), prose(1)], exact=False, minhash=False)) == 2
    assert len(deduplicate(chain, [prose(1), prose(1)], exact=False)) == 1
