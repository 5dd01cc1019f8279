"""Deduplication removes copies, and never two texts that merely look alike."""

from __future__ import annotations

import hashlib
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_tools.config import DeduplicateConfig
from data_tools.dedup import bands, candidates, containment
from data_tools.dedup.shingles import jaccard
from data_tools.parquet import ShardFile
from data_tools.schema import DOCUMENTS
from data_tools.stages import deduplicate as deduplicate_stage
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
    assert chain.counters["deduplicate"]["removed.exact-duplicate"] == 2


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


def test_pages_that_are_mostly_menu_keep_what_is_their_own(chain: Any) -> None:
    menu = prose(99, 400)
    long_pages = [menu + " " + prose(100 + i, 80 + 5 * i) for i in range(40)]
    short_pages = [menu + " " + prose(500 + i, 50) for i in range(30)]
    copies = [page.removesuffix(page.split()[-1]) + "changed" for page in short_pages[::10]]
    empty_pages = [menu, menu + " nothing here"]
    texts = [*long_pages, *short_pages, *copies, *empty_pages]
    kept = deduplicate(chain, texts)
    assert set(kept) >= set(long_pages)
    assert len(kept) == len(long_pages) + len(short_pages)
    for page, copy in zip(short_pages[::10], copies, strict=True):
        assert (page in kept) != (copy in kept)
    assert not set(empty_pages) & set(kept)  # for a page with the menu: nothing is lost with them
    # As wholes they are alike.
    counters = chain.run("deduplicate", {"template_documents": 0}, documents="ingest")
    assert counters["removed"] >= 25


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


def test_cluster_sizes_are_written_into_what_stays(chain: Any) -> None:
    texts = [prose(1), prose(2), prose(1) + " more", prose(1), prose(3), prose(3)]
    deduplicate(chain, texts)
    sizes = {row["text"]: row["cluster_size"] for row in chain.rows("deduplicate", "documents")}
    assert sizes == {prose(2): 1, prose(1) + " more": 3, prose(3): 2}
    assert [row["cluster_size"] for row in chain.rows("deduplicate", "duplicates")] == [3, 3, 2]


@pytest.mark.parametrize("exact", [True, False])
def test_the_keep_rule_may_name_sources(chain: Any, exact: bool) -> None:
    long, short = prose(1) + " and more", prose(1)
    paths = {name: chain.folder / "raw" / f"{name}.jsonl" for name in ("mirror", "original")}
    paths["mirror"].parent.mkdir()
    paths["mirror"].write_text("".join(json.dumps({"text": text}) + "\n" for text in (long, prose(5))))
    paths["original"].write_text("".join(json.dumps({"text": text}) + "\n" for text in (short, prose(5))))
    chain.run("ingest", {"sources": [{"kind": "jsonl", "name": n, "path": str(p)} for n, p in paths.items()]})
    rule = {"keep": ["source", "longest"], "source_priority": ["original"], "exact": exact}
    counters = chain.run("deduplicate", rule, documents="ingest")
    kept = chain.rows("deduplicate", "documents")
    assert [(row["source"], row["text"]) for row in kept] == [("original", short), ("original", prose(5))]
    assert counters["source.mirror.removed.near-duplicate"] == (1 if exact else 2)
    assert "source.mirror.documents_out" not in counters
    chain.run("deduplicate", {"exact": exact}, documents="ingest")
    assert chain.rows("deduplicate", "documents")[0]["text"] == long


def test_counters_account_for_every_document_and_byte(chain: Any) -> None:
    texts = [prose(1), prose(1), prose(2), prose(2) + " x"]
    deduplicate(chain, texts)
    counters = chain.counters["deduplicate"]
    assert counters["documents_in"] == counters["documents_out"] + counters["removed"] == 4
    assert counters["removed.exact-duplicate"] == counters["removed.near-duplicate"] == 1
    assert counters["source.texts.removed.exact-duplicate"] == 1
    assert counters["bytes_in"] == sum(map(len, texts))
    assert counters["bytes_out"] == counters["source.texts.bytes_out"] == len(texts[0]) + len(texts[3])
    assert not (chain.folder / "deduplicate" / "finished.tmp").exists()


def variant(text: str, changes: int, seed: int) -> str:
    """The text with ``changes`` words replaced by new ones, far enough apart to change five shingles each."""
    words = text.split()
    places = random.Random(seed).sample(range(5, len(words) - 5, 6), changes)
    for place in places:
        words[place] = f"new{seed}x{place}"
    return " ".join(words)


def test_recall_follows_the_s_curve_and_precision_is_one(chain: Any) -> None:
    pairs, words = 150, 204
    vocabulary = [f"{a}{b}" for a in WORDS[::7] for b in WORDS[::11]]
    generator = random.Random(11)
    texts, truth = [], {}
    for changes in (13, 10, 8, 7, 6, 5, 4, 3, 2, 1):
        for number in range(pairs):
            original = " ".join(generator.choice(vocabulary) for _ in range(words))
            copy = variant(original, changes, number * 100 + changes)
            if number == 0:
                truth[changes] = jaccard(shingles_of(original), shingles_of(copy))
                assert truth[changes] == pytest.approx((200 - 5 * changes) / (200 + 5 * changes))
            texts += [original, copy]
    # Whoever meets in a band is removed with a threshold of 0: the recall of the bands alone.
    deduplicate(chain, texts, min_similarity=0.0)
    gone = [int(row["source_id"].split(":")[1]) - 1 for row in chain.rows("deduplicate", "duplicates")]
    print(f"\n{'Jaccard':>8} {'theory':>8} {'found':>8}")
    for level, similarity in enumerate(truth.values()):
        theory = 1 - (1 - similarity**8) ** 14
        found = sum(2 * pairs * level <= position < 2 * pairs * (level + 1) for position in gone) / pairs
        print(f"{similarity:8.3f} {theory:8.3f} {found:8.3f}")
        assert abs(found - theory) <= 4 * math.sqrt(theory * (1 - theory) / pairs) + 0.02
    chain.run("deduplicate", {"min_similarity": 0.75}, documents="ingest")
    verified = [int(row["source_id"].split(":")[1]) - 1 for row in chain.rows("deduplicate", "duplicates")]
    similar_enough = {
        position for position in gone if jaccard(shingles_of(texts[position]), shingles_of(texts[position ^ 1])) >= 0.75
    }
    assert set(verified) == similar_enough and len(verified) > 4 * pairs


def copies_of_copies(families: int = 60) -> list[str]:
    generator = random.Random(3)
    texts = []
    for family in range(families):
        original = prose(family, 100 + family)
        texts += [original, variant(original, 2, family), *([original] if family % 3 == 0 else [])]
    texts += ["Terms of use: all rights reserved by nobody.\n" + prose(900 + i, 60) for i in range(10)]
    texts += [" ".join(prose(family, 100 + family) for family in range(first, first + 5)) for first in (2, 4, 20)]
    generator.shuffle(texts)
    return texts


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_shards_and_row_groups_change_nothing(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    texts = copies_of_copies()
    outcomes = []
    for name, shards, row_group_bytes in (("one", 1, 10**9), ("some", 5, 10**9), ("many", 23, 1)):
        chain = make_chain(tmp_path / name)
        chain.folder.mkdir()
        chain.ingest_texts(texts)
        whole = pq.read_table(next((chain.folder / "ingest" / "documents").glob("*.parquet")))
        step = -(-len(whole) // shards)
        for shard in range(shards):
            path = chain.folder / "cut" / "documents" / f"part-{shard:05d}.parquet"
            with ShardFile(path, DOCUMENTS, row_group_bytes=row_group_bytes) as file:
                for row in range(shard * step, min((shard + 1) * step, len(whole))):
                    file.write(whole.slice(row, 1))
        counters = chain.run("deduplicate", {"containment_min_shingles": 60}, documents="cut")
        outcomes.append((chain.rows("deduplicate", "documents"), chain.rows("deduplicate", "duplicates"), counters))
    assert outcomes[0][2]["removed"] > 50
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_what_large_corpora_take_gives_the_same(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.ingest_texts(copies_of_copies())
    rule = {"containment_min_shingles": 60}
    assert chain.run("deduplicate", rule, documents="ingest")["removed.contained-duplicate"] > 20
    expected = tree(chain.folder / "deduplicate")
    monkeypatch.setattr(bands, "_BYTES_A_ROW", 10**9)  # band keys go through DuckDB
    monkeypatch.setattr(candidates, "_IN_MEMORY_BYTES", 0)  # batches lie in files
    monkeypatch.setattr(candidates, "BATCH_BYTES", 5_000)  # and are many
    monkeypatch.setattr(candidates, "_ROWS_AT_A_TIME", 2)
    monkeypatch.setattr(containment, "BATCH_BYTES", 1_000)
    chain.run("deduplicate", rule, documents="ingest")
    assert tree(chain.folder / "deduplicate") == expected


def test_what_an_earlier_index_knows_goes_first(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    yesterday, today = make_chain(tmp_path / "yesterday"), make_chain(tmp_path / "today")
    for chain in (yesterday, today):
        chain.folder.mkdir()
    yesterday.ingest_texts([prose(1), prose(2), prose(2) + " more"])
    yesterday.run("deduplicate", {"index": True}, documents="ingest")
    # A near copy of what is known is longer than it: it would be a representative if it were not out before.
    texts = [prose(1) + " and more", prose(1) + " and more", prose(3), prose(2) + " more", prose(3) + " too"]
    today.ingest_texts(texts)
    rule = {"against": [str(yesterday.folder / "deduplicate")]}
    counters = today.run("deduplicate", rule, documents="ingest")
    assert [row["text"] for row in today.rows("deduplicate", "documents")] == [prose(3) + " too"]
    known = {row["text"]: row["doc_id"] for row in yesterday.rows("deduplicate", "documents")}
    gone = today.rows("deduplicate", "duplicates")
    assert [(row["reason"], row["cluster_size"]) for row in gone] == [
        ("index-near", 3),
        ("index-near", 3),
        ("near", 2),
        ("index-exact", 2),
    ]
    assert [row["representative"] for row in gone if row["reason"] != "near"] == [
        known[prose(1)],
        known[prose(1)],
        known[prose(2) + " more"],
    ]
    assert counters["removed.index-near-duplicate"] == 2 and counters["removed.index-exact-duplicate"] == 1
    digests = deduplicate_stage.source_digests(DeduplicateConfig.model_validate(rule), today.runtime)
    index = yesterday.folder / "deduplicate" / "index" / "index.json"
    assert list(digests.values()) == [hashlib.sha256(index.read_bytes()).hexdigest()]
    # Where nothing stays the table is one file of no rows.
    nothing = make_chain(tmp_path / "nothing")
    nothing.folder.mkdir()
    nothing.ingest_texts([prose(1)])
    counters = nothing.run("deduplicate", rule, documents="ingest")
    assert nothing.rows("deduplicate", "documents") == [] and counters["documents_out"] == 0
    assert len(list((nothing.folder / "deduplicate" / "documents").iterdir())) == 1


RESUMED = """
import json, os, signal, sys
from pathlib import Path
from data_tools import config as c
from data_tools.progress import no_progress
from data_tools.stages import deduplicate

folder, left = Path(sys.argv[1]), int(sys.argv[2])
sync = os.fsync

def sync_or_die(descriptor):
    # In the middle of writing some file: it is there under its temporary name, or under its own and not noted down.
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

os.fsync = sync_or_die
config = c.DeduplicateConfig(index=True, lines={"min_chars": 20}, containment_min_shingles=60)
inputs = {"documents": folder / "cut"}
(folder / "out").mkdir(exist_ok=True)
counters = deduplicate.run(config, inputs, folder / "out", no_progress, c.DataRuntime(workers=1))
(folder / "out" / "counters.json").write_text(json.dumps(counters))
"""


@pytest.mark.slow
def test_killed_at_any_write_and_run_again_the_bytes_are_the_same(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    chain = make_chain(tmp_path)
    chain.ingest_texts(copies_of_copies(30))
    whole = pq.read_table(next((tmp_path / "ingest" / "documents").glob("*.parquet")))
    script = tmp_path / "resumed.py"
    script.write_text(RESUMED)
    trees = []
    # Two writes a file, a file and a note in the ledger a shard: the later the step, the more were done before.
    for name, kills in (("whole", [0]), ("killed", [9, 57, 21, 22, 47, 42, 0])):
        for shard in range(3):
            with ShardFile(tmp_path / name / "cut" / "documents" / f"part-{shard:05d}.parquet", DOCUMENTS) as file:
                file.write(whole.slice(shard * 30, 30 if shard < 2 else None))
        for number, kill in enumerate(kills):
            command = [sys.executable, str(script), str(tmp_path / name), str(kill)]
            finished = subprocess.run(command, capture_output=True, text=True)
            assert finished.returncode == (0 if number == len(kills) - 1 else -9), finished.stderr
        trees.append(tree(tmp_path / name / "out"))
    assert {"documents", "duplicates", "edits", "index", "counters.json"} == {name.split("/")[0] for name in trees[0]}
    assert trees[1] == trees[0]
