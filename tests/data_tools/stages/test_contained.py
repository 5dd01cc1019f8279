"""Documents that stand in a longer one go; those that only share some text with it stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_tools.config import DataRuntime
from data_tools.dedup import containment
from data_tools.parquet import ShardFile
from data_tools.schema import DOCUMENTS
from tests.data_tools.dedup.test_minhash import shingles_of
from tests.data_tools.stages.test_deduplicate import prose, tree, variant


def deduplicate(chain: Any, texts: list[str], **config: Any) -> list[str]:
    chain.ingest_texts(texts)
    chain.run("deduplicate", {"containment_min_shingles": 128} | config, documents="ingest")
    return [row["text"] for row in chain.rows("deduplicate", "documents")]


def went(chain: Any) -> dict[int, tuple[str, int]]:
    """Line of each removed document to the reason and the line of the document that stays."""
    rows = chain.rows("deduplicate", "documents")
    line_of = {row["doc_id"]: int(row["source_id"].split(":")[1]) for row in rows}
    return {
        int(row["source_id"].split(":")[1]): (row["reason"], line_of[row["representative"]])
        for row in chain.rows("deduplicate", "duplicates")
    }


def containment_of(part: str, whole: str) -> float:
    ours, theirs = set(shingles_of(part).tolist()), set(shingles_of(whole).tolist())
    return len(ours & theirs) / len(ours)


def test_chapters_go_for_their_book(chain: Any) -> None:
    chapters = [prose(i, 300 + 100 * i) for i in range(12)]
    book = "\n\n".join(f"Chapter {i}\n{text}" for i, text in enumerate(chapters))
    # Each chapter by itself comes with a heading that the book doesn't have.
    alone = [f"A Book, read by someone {i}\n{text}" for i, text in enumerate(chapters)]
    other = prose(50, 3_000)
    assert deduplicate(chain, [*alone[:6], book, other, *alone[6:]]) == [book, other]
    by_id = {row["source_id"]: row for row in chain.rows("deduplicate", "duplicates")}
    book_id = chain.rows("deduplicate", "documents")[0]["doc_id"]
    assert len(by_id) == 12
    for i, text in enumerate(alone):
        row = by_id[f"texts.jsonl:{i + 1 if i < 6 else i + 3}"]
        assert (row["reason"], row["representative"], row["cluster"]) == ("contained", book_id, book_id)
        assert row["exact_similarity"] == pytest.approx(containment_of(text, book)) and row["exact_similarity"] < 1
        assert row["estimated_similarity"] == pytest.approx(row["exact_similarity"], abs=0.35)
        # A part isn't a copy.
        assert row["cluster_size"] == 1
    assert [row["cluster_size"] for row in chain.rows("deduplicate", "documents")] == [1, 1]
    counters = chain.counters["deduplicate"]
    assert counters["removed.contained-duplicate"] == counters["source.texts.removed.contained-duplicate"] == 12
    assert counters["removed"] == counters["comparisons"] == 12 and counters["clusters"] == 0


def test_switched_off_everything_is_as_without(chain: Any) -> None:
    texts = [prose(1, 300), prose(1, 300) + " " + prose(2, 300), prose(3, 300), prose(3, 300) + " more"]
    assert deduplicate(chain, texts, min_containment=None) == [texts[0], texts[1], texts[3]]
    assert "removed.contained-duplicate" not in chain.counters["deduplicate"]
    assert deduplicate(chain, texts, minhash=False) == texts
    assert deduplicate(chain, texts) == [texts[1], texts[3]]


def test_what_is_quoted_shared_or_short_stays(chain: Any) -> None:
    chapter, shared = prose(1, 400), prose(2, 300)
    quoting = prose(3, 200) + " " + chapter[: len(chapter) // 2] + " " + prose(4, 1_000)
    books = [prose(5, 2_000) + shared + prose(6, 2_000), prose(7, 1_500) + shared + prose(8, 2_000)]
    short = prose(9, 100)
    texts = [chapter, quoting, *books, short, short + " " + prose(10, 800)]
    assert deduplicate(chain, texts) == texts
    assert deduplicate(chain, texts, containment_min_shingles=64) == [text for text in texts if text != short]


def test_pages_of_one_site_are_not_parts_of_each_other(chain: Any) -> None:
    menu = prose(99, 1_500)
    # A page says something of its own in a tenth of its words; the longest quotes part of what the others say.
    own = [prose(100 + i, 110) for i in range(20)]
    pages = [menu + " " + text for text in own]
    index = menu + " " + " ".join(text[: len(text) // 2] for text in own) + " " + prose(300, 2_000)
    everything = menu + " " + " ".join(own)
    for texts in ([*pages, index], [*pages, index, prose(400, 500)]):
        kept = deduplicate(chain, texts, min_similarity=0.99)
        assert set(kept) == set(texts)
    # What the index lacks is 55 words of 1,610, half of what a page says.
    assert containment_of(pages[0], index) > 0.95
    assert set(deduplicate(chain, [*pages, everything], min_similarity=0.99)) == {everything}


def test_a_part_of_a_part_goes_for_a_document_that_stays(chain: Any) -> None:
    section = prose(1, 300)
    chapter = section + " " + prose(2, 500)
    book = prose(3, 1_000) + " " + chapter + " " + prose(4, 1_000)
    assert deduplicate(chain, [section, chapter, book]) == [book]
    assert went(chain) == {1: ("contained", 3), 2: ("contained", 3)}
    # The chapter stands in the book, but only nine tenths of it, and of the section less.
    edited = variant(section, 10, 1) + " " + prose(2, 500)
    book = prose(3, 1_000) + " " + edited + " " + prose(4, 1_000)
    assert containment_of(chapter, book) > 0.9 > containment_of(section, book)
    assert deduplicate(chain, [section, chapter, book]) == [section, book]


def test_copies_of_a_part_go_with_it_or_it_stays(chain: Any) -> None:
    part = prose(1, 300)
    near, far = part + " one more", " ".join(variant(part, 8, 1).split()[:-1])
    book = prose(2, 600) + " " + part + " " + prose(3, 600)
    # The near copy is the longer one and stays at first, then both stand in the book, and the exact copies with them.
    assert deduplicate(chain, [part, near, book, part, near]) == [book]
    assert set(went(chain).values()) == {("contained", 3)}
    for row in chain.rows("deduplicate", "duplicates"):
        text = part if row["source_id"] in ("texts.jsonl:1", "texts.jsonl:4") else near
        assert row["exact_similarity"] == pytest.approx(containment_of(text, book))
    assert chain.counters["deduplicate"]["removed.contained-duplicate"] == 4
    # What is in the near copy that went would be lost.
    assert containment_of(far, book) < 0.9 and containment_of(part, book) == 1
    kept = deduplicate(chain, [part + " " + "x" * 80, far, book], min_similarity=0.7)
    assert kept == [part + " " + "x" * 80, book] and went(chain) == {2: ("near", 1)}
    # Too many copies to compare.
    assert deduplicate(chain, [part, near, part + " two", book], max_comparisons=1)[-1] == book
    assert len(chain.rows("deduplicate", "documents")) > 1


def test_the_whole_stays_whatever_the_keep_rule_says(chain: Any) -> None:
    texts = [prose(1, 300), prose(1, 300) + " " + prose(2, 400)]
    assert deduplicate(chain, texts, keep=["shortest", "id"]) == texts[1:]


@pytest.mark.slow
def test_workers_shards_and_batches_change_nothing(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [prose(i, 200 + 10 * i) for i in range(30)]
    wholes = [" ".join(parts[i : i + 6]) + " " + prose(200 + i, 100) for i in range(0, 30, 4)]
    chain.ingest_texts([*parts[:15], *wholes, *parts[15:], *[variant(part, 2, i) for i, part in enumerate(parts[::3])]])
    whole = pq.read_table(next((chain.folder / "ingest" / "documents").glob("*.parquet")))
    outcomes: list[tuple[dict[str, str], Any]] = []
    for workers, batch_bytes in ((1, 64_000_000), (1, 3_000), (2, 3_000)):
        monkeypatch.setattr(containment, "BATCH_BYTES", batch_bytes)
        for shard in range(4):
            path = chain.folder / "cut" / "documents" / f"part-{shard:05d}.parquet"
            with ShardFile(path, DOCUMENTS, row_group_bytes=4_000) as file:
                for row in range(shard, len(whole), 4):
                    file.write(whole.slice(row, 1))
        chain.runtime = DataRuntime(workers=workers, executor="processes")
        counters = chain.run("deduplicate", {"containment_min_shingles": 128}, documents="cut")
        outcomes.append((tree(Path(chain.folder / "deduplicate")), counters))
    assert outcomes[0][1]["removed.contained-duplicate"] >= 30
    assert outcomes[0] == outcomes[1] == outcomes[2]
