from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_tools.config import AnnotateConfig
from data_tools.progress import no_progress
from data_tools.schema import SIGNAL_GROUPS, signals_schema
from data_tools.stages import annotate

ALL = {
    "language": True, "gopher_quality": True, "gopher_repetition": True, "fineweb": True, "c4": True,
    "refinedweb": True, "code": True, "personal_data": True,
}  # fmt: skip
TEXTS = [
    "The river of time and the house of cards. It stood with the others.\nSo it was, and so it goes on.",
    "x = 1  # a comment of some length\ny = 2\n",
    "短い文章です。とても短い。",
]


def test_every_group_has_its_columns(chain) -> None:  # type: ignore[no-untyped-def]
    chain.ingest_texts(TEXTS, [{}, {"programming_language": "Python"}, {}])
    counters = chain.run("annotate", ALL)
    assert counters["documents_in"] == counters["documents_out"] == 3
    assert counters["bytes_in"] == sum(len(text.encode()) for text in TEXTS) - 1  # ingest strips the last line break
    (path,) = (chain.folder / "annotate" / "signals").glob("*.parquet")
    assert pq.read_schema(path).names == signals_schema([group for group in SIGNAL_GROUPS if group != "quality"]).names
    texts = {row["doc_id"]: row["text"] for row in chain.rows("ingest", "documents")}
    rows = {texts[row["doc_id"]]: row for row in chain.rows("annotate", "signals")}
    assert rows[TEXTS[0]]["language"] == "en"
    assert rows[TEXTS[0]]["words"] == 22 and rows[TEXTS[0]]["c4_sentences"] == 3
    assert rows[TEXTS[1].rstrip()]["comments"] == pytest.approx(26 / 39)
    assert rows[TEXTS[0]]["comments"] == 0
    assert not (chain.folder / "annotate" / "finished.tmp").exists()


def test_definitions_reach_the_signals(chain) -> None:  # type: ignore[no-untyped-def]
    chain.ingest_texts(["one - two -- three\none - two -- three\nIt ends with a 'quote'"])
    found = {}
    for definitions in ("paper", "datatrove", "dclm"):
        config = ALL | {"definitions": definitions, "c4_variant": "paper" if definitions == "dclm" else definitions}
        chain.run("annotate", config)
        (found[definitions],) = chain.rows("annotate", "signals")
    assert [found[name]["words"] for name in found] == [15, 11, 11]
    assert [found[name]["duplicate_lines"] for name in found] == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert [found[name]["c4_lines"] for name in found] == [0, 1, 0]
    chain.run("annotate", ALL | {"c4_terminal_punctuation": False})
    assert chain.rows("annotate", "signals")[0]["c4_lines"] == 3


def test_only_what_is_asked_for(chain) -> None:  # type: ignore[no-untyped-def]
    chain.ingest_texts(TEXTS)
    chain.run("annotate", dict.fromkeys(ALL, False))
    assert set(chain.rows("annotate", "signals")[0]) == {"doc_id"}


def test_goes_on_where_it_was_stopped(chain, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    path = chain.folder / "raw" / "texts.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(
        "".join(f'{{"text": "document {n} of many with the words {"and so on, " * 8}"}}\n' for n in range(3000))
    )
    source = {"kind": "jsonl", "name": "texts", "path": str(path)}
    chain.run("ingest", {"sources": [source], "shard_bytes": 100_000})
    inputs, whole, stopped = {"documents": chain.folder / "ingest"}, chain.folder / "whole", chain.folder / "stopped"
    config = AnnotateConfig(gopher_repetition=True)
    expected = annotate.run(config, inputs, whole, no_progress, chain.runtime)
    assert len(list((whole / "signals").iterdir())) > 2

    real: Callable[..., list[int]] = annotate._annotate_shard
    seen: list[Path] = []

    def counted(*arguments: object) -> list[int]:
        seen.append(arguments[-1])  # type: ignore[arg-type]
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(annotate, "_annotate_shard", counted)
    with pytest.raises(KeyboardInterrupt):
        annotate.run(config, inputs, stopped, no_progress, chain.runtime)
    assert annotate.run(config, inputs, stopped, no_progress, chain.runtime) == expected
    assert seen.count(seen[0]) == 1, "what was finished isn't done again"

    def digests(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(stopped) == digests(whole)
