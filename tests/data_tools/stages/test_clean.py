from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_tools.errors import DataError
from data_tools.stages import clean
from data_tools.text import document_id
from tests.data_tools.stages.judged_corpus import write_corpus

SENTENCE = "This line has enough words and ends well."
MENU = "Home | About | Contact"


def edits(chain: Any) -> list[dict[str, Any]]:
    return [{**row, "changes": dict(row["changes"])} for row in chain.rows("clean", "edits")]


def run(chain: Any, texts: list[Any], config: dict[str, Any], **sizes: int) -> dict[str, Any]:
    rows = [text if isinstance(text, dict) else {"text": text} for text in texts]
    write_corpus(chain.folder, rows, **sizes)
    found: dict[str, Any] = chain.run("clean", config, documents="ingest")
    return found


def test_what_is_not_edited_stays_as_it_is(chain: Any) -> None:
    counters = run(chain, [SENTENCE, f"{MENU}\n{SENTENCE}"], {})
    assert chain.rows("clean", "documents") == chain.rows("ingest", "documents")
    assert edits(chain) == []
    assert (counters["documents_out"], counters["edited"], counters["removed"]) == (2, 0, 0)
    assert not (chain.folder / "clean" / "finished.tmp").exists()


def test_lines_go_and_the_id_follows_the_text(chain: Any) -> None:
    python = {"text": f"{MENU}\nx = 1", "metadata": {"programming_language": "python"}}
    texts = [SENTENCE, f"{MENU}\n{SENTENCE}\nshort", MENU, python, {"text": MENU * 2, "source": "other"}]
    counters = run(chain, texts, {"lines": ["c4-paper"]})
    documents = chain.rows("clean", "documents")
    assert [row["text"] for row in documents] == [SENTENCE, SENTENCE, f"{MENU}\nx = 1"]
    for row in documents:
        assert row["doc_id"] == document_id(row["text"]) and row["n_bytes"] == len(row["text"].encode())
    before = [row["doc_id"] for row in chain.rows("ingest", "documents")]
    found = edits(chain)
    assert [(row["doc_id"], row["new_doc_id"], row["source_id"]) for row in found] == [
        (before[1], before[0], "row 1"),
        (before[2], None, "row 2"),
        (before[4], None, "row 4"),
    ]
    assert found[0]["changes"] == {"c4/no-terminal-punctuation": 2}
    assert (found[0]["bytes_before"], found[0]["bytes_after"]) == (len(texts[1]), len(SENTENCE))
    assert found[1]["bytes_after"] == 0
    assert (counters["documents_in"], counters["documents_out"], counters["edited"]) == (5, 3, 1)
    assert (counters["removed"], counters["removed.clean/empty"]) == (2, 2)
    assert counters["source.other.removed.clean/empty"] == 1
    assert counters["changes.c4/no-terminal-punctuation"] == 4
    assert counters["bytes_out"] == counters["source.made.bytes_out"] == sum(row["n_bytes"] for row in documents)


def test_a_blank_line_that_goes_is_an_edit_too(chain: Any) -> None:
    run(chain, [f"{SENTENCE}\n\n{SENTENCE}"], {"lines": ["c4-paper"]})
    assert [row["text"] for row in chain.rows("clean", "documents")] == [f"{SENTENCE}\n{SENTENCE}"]
    assert edits(chain)[0]["changes"] == {"clean/white-space": 1}


def test_rules_apply_in_their_order(chain: Any) -> None:
    text = f"{SENTENCE}\n12345\nSIGN UP FOR NEWS TODAY.\n{MENU}"
    run(chain, [text], {"lines": ["refinedweb", "c4-datatrove"], "c4_terminal_punctuation": True})
    assert [row["text"] for row in chain.rows("clean", "documents")] == [SENTENCE]
    changes = edits(chain)[0]["changes"]
    assert changes["c4/no-terminal-punctuation"] == 1
    assert sum(times for name, times in changes.items() if name.startswith("refinedweb/")) == 2


def test_personal_data_is_replaced(chain: Any) -> None:
    texts = [f"Mail a@b.de or c@d.de, ring +49 30 1234567. {SENTENCE}", SENTENCE, "host 93.184.216.34"]
    counters = run(chain, texts, {"personal_data": {}})
    assert [row["text"] for row in chain.rows("clean", "documents")] == [
        f"Mail email@example.com or email@example.com, ring +49 30 1234567. {SENTENCE}",
        SENTENCE,
        "host 192.0.2.1",
    ]
    assert [row["changes"] for row in edits(chain)] == [{"personal-data/emails": 2}, {"personal-data/ip-addresses": 1}]
    assert counters["changes.personal-data/emails"] == 2


def test_nothing_left_at_all(chain: Any) -> None:
    with pytest.raises(DataError, match=r"any of 2 documents.*clean.c4_terminal_punctuation"):
        run(chain, [MENU, "short"], {"lines": ["c4-paper"]})


CORPUS = [f"{MENU}\n{SENTENCE} Number {n}." if n % 3 else MENU * n + f" {n}@b.de" for n in range(40)]
CONFIG = {"lines": ["c4-paper"], "personal_data": {}}
SIZES = {"part_rows": 10, "row_group_rows": 4}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_bytes_after_a_kill_and_for_two_workers(
    make_chain: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = make_chain(tmp_path / "one")
    counters = run(chain, CORPUS, CONFIG, **SIZES)
    expected = contents(tmp_path / "one" / "clean")
    two = make_chain(tmp_path / "two", 2)
    assert run(two, CORPUS, CONFIG, **SIZES) == counters
    assert contents(tmp_path / "two" / "clean") == expected

    killed = make_chain(tmp_path / "killed")
    whole, done = clean._clean_shard, []

    def dies_after(*arguments: Any) -> dict[str, int]:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments[-1].name)
        return whole(*arguments)

    monkeypatch.setattr(clean, "_clean_shard", dies_after)
    with pytest.raises(KeyboardInterrupt):
        run(killed, CORPUS, CONFIG, **SIZES)
    monkeypatch.setattr(clean, "_clean_shard", lambda *arguments: done.append(arguments[-1].name) or whole(*arguments))
    assert killed.run("clean", CONFIG, documents="ingest") == counters
    assert done == [f"part-0000{n}.parquet" for n in range(4)]
    assert contents(tmp_path / "killed" / "clean") == expected


def test_a_part_without_documents(chain: Any) -> None:
    write_corpus(chain.folder, [{"text": SENTENCE}, {"text": "a@b.de"}], part_rows=1)
    path = chain.folder / "ingest" / "documents" / "part-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    counters = chain.run("clean", {"lines": ["c4-paper", "refinedweb"], "personal_data": {}}, documents="ingest")
    assert (counters["documents_in"], counters["documents_out"], counters["edited"]) == (1, 1, 0)
