"""The tokenizer's report: right numbers, by language, with what is missing named; and the stage that writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.config import LlmRuntime, TokenizerConfig
from llm_core.errors import LlmCoreError
from llm_core.progress import no_progress
from llm_core.stages import train_tokenizer
from llm_core.tokenizer import peers
from llm_core.tokenizer.encode import Tokenizer
from llm_core.tokenizer.report import HeldOut, comparison

ENGLISH = "The river rises in the hills and runs past the old town. "
GERMAN = "Der Fluss entspringt in den Bergen und fließt an der Altstadt vorbei.\n"


def documents(folder: Path, languages: list[str | None] | None = None) -> Path:
    """200 documents, every tenth held out; English, German, English ..."""
    rows = range(200)
    texts = [(ENGLISH, GERMAN)[n % 2] * (1 + n % 5) + f"Naßnummer{n}" for n in rows]
    splits = ["validation" if n % 10 < 2 else "train" for n in rows]
    table = pa.table({"text": texts, "split": splits})
    if languages:
        table = table.append_column("language", pa.array([languages[n % 2] for n in rows], pa.string()))
    (folder / "documents").mkdir(parents=True)
    pq.write_table(table, folder / "documents" / "part-00000.parquet", row_group_size=60)
    return folder


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    counters = train_tokenizer.run(
        TokenizerConfig(vocab_size=340),
        {"documents": documents(folder / "mix", ["en", "de"])},
        folder,
        no_progress,
        LlmRuntime(),
    )
    assert counters["vocab_size"] == 340 and counters["distinct_pieces_let_go"] == 0
    return folder


def test_the_stage_writes_numbers_a_page_and_a_picture(reported: Path) -> None:
    report = json.loads((reported / "report.json").read_text(encoding="utf-8"))
    rows = {(row["tokenizer"], row["language"]): row for row in report["comparison"]["rows"]}
    assert {language for _, language in rows} == {"all", "en", "de"}
    ours, words = rows["ours", "all"], rows["whole words, from the sample", "all"]
    assert ours["bytes_per_token"] == report["bytes_per_token"] and ours["unknown_share"] == 0
    assert rows["ours", "en"]["bytes"] + rows["ours", "de"]["bytes"] == ours["bytes"] == report["bytes"]
    assert rows["ours", "en"]["tokens"] + rows["ours", "de"]["tokens"] == ours["tokens"] == report["tokens"]
    # Each of the 40 held-out texts ends in a number that no other has, and no other word is new.
    assert words["tokens_per_word"] == 1 and words["unknown_share"] == pytest.approx(40 / words["tokens"], abs=1e-6)
    assert rows["byte-level BPE, from the sample", "all"]["bytes_per_token"] == ours["bytes_per_token"]  # the same text
    page = (reported / "report.md").read_text(encoding="utf-8")
    for name, _ in rows:
        assert f"| {name} |" in page
    assert "## Unknown tokens by language" in page and "| tokenizer | de | en |" in page
    assert (reported / "report.png").read_bytes().startswith(b"\x89PNG")


def test_sentencepiece_keeps_the_text_and_says_what_it_does_not_know() -> None:
    pytest.importorskip("sentencepiece")
    contender = peers.sentencepiece([ENGLISH * 20], TokenizerConfig(vocab_size=300), "bpe")
    (tokens, unknown), (_, unknown_here), (lines, _) = contender.count([ENGLISH, ENGLISH + "東京", "\n\n\n"])
    assert tokens < len(ENGLISH) and (unknown, unknown_here) == (0, 1)  # a run of unknown characters is one
    assert lines >= 3  # every line end is kept


def test_what_is_not_there_is_named_and_never_fetched(monkeypatch: pytest.MonkeyPatch, reported: Path) -> None:
    tiktoken_load = pytest.importorskip("tiktoken.load")
    fetched: list[str] = []
    monkeypatch.setattr(tiktoken_load, "read_file", fetched.append)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(reported / "empty"))
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    tokenizer = Tokenizer.load(reported)
    found = comparison(tokenizer, TokenizerConfig(vocab_size=340), [ENGLISH * 30], HeldOut([ENGLISH], [None]))
    assert found["absent"][0] == "`sentencepiece` is not installed" and "tiktoken's cache" in found["absent"][1]
    assert len(found["absent"]) == 2 and not fetched and tiktoken_load.read_file == fetched.append
    assert {row["language"] for row in found["rows"]} == {"all"}


def test_a_peer_that_fails_costs_its_row_only(monkeypatch: pytest.MonkeyPatch, reported: Path) -> None:
    def broken(*_: object) -> peers.Contender:
        raise ValueError("changed its mind")

    monkeypatch.setattr(peers, "sentencepiece", broken)
    tokenizer = Tokenizer.load(reported)
    found = comparison(tokenizer, TokenizerConfig(vocab_size=340), [ENGLISH * 30], HeldOut([ENGLISH], [None]))
    assert "changed its mind" in found["absent"][0] and found["rows"][0]["tokenizer"] == "ours"


def test_without_held_out_text_and_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "documents").mkdir()
    table = pa.table({"text": [ENGLISH] * 9, "split": ["train"] * 9})
    pq.write_table(table, tmp_path / "documents" / "part-00000.parquet")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    train_tokenizer.run(TokenizerConfig(vocab_size=300), {"documents": tmp_path}, tmp_path, no_progress, LlmRuntime())
    assert "No text is held out" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "report.png").exists()


def test_a_sample_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    table = pa.table({"text": [ENGLISH * 10_000], "split": ["train"]})
    pq.write_table(table, tmp_path / "documents" / "part-00000.parquet")
    config = TokenizerConfig(vocab_size=300, sample_bytes=1000)
    with pytest.raises(LlmCoreError, match="sample_bytes"):
        train_tokenizer.run(config, {"documents": tmp_path}, tmp_path / "out", no_progress, LlmRuntime())


def test_the_order_of_the_documents_does_not_matter(tmp_path: Path, reported: Path) -> None:
    turned = pq.read_table(reported / "mix" / "documents" / "part-00000.parquet")
    (tmp_path / "documents").mkdir()
    pq.write_table(turned.take(list(range(len(turned)))[::-1]), tmp_path / "documents" / "part-00000.parquet")
    out = tmp_path / "out"
    train_tokenizer.run(TokenizerConfig(vocab_size=340), {"documents": tmp_path}, out, no_progress, LlmRuntime())
    assert (out / "tokenizer.json").read_bytes() == (reported / "tokenizer.json").read_bytes()
