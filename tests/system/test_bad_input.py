"""What people really do: every mistake ends with what, where and what to do, the documented exit code, no traceback,
and nothing that looks finished and isn't."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.system.conftest import Place
from tests.system.tiny_experiment import artifact, corpus_lines, environment, finished, groundup

# ------------------------------------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pretrain.stepz=5", ["pretrain.stepz: unknown key", "'steps'"]),
        ("pretrain.steps=many", ["pretrain.steps", "'many'", "whole number"]),
        ("pretrain.optimizer.lr=.nan", ["pretrain.optimizer.lr", "more than 0"]),
        ("model.heads=3", ["dim 16 can't be divided among 3 heads"]),
        ("pretrain.batch_tokens=65", ["pretrain.batch_tokens", "whole number of rows", "64 or 96"]),
        ("ingest.sources.0.path=nowhere/x.jsonl", ["no such file", "nowhere/x.jsonl"]),
        ("ingest.sources.9.path=x", ["ingest.sources is a list of 1"]),
        ("pretrain", ["section.key=value"]),
        ("pretrain.steps=[1,", ["can't be read"]),
    ],
)
def test_a_value_that_cannot_be(tmp_path: Path, corpus: Path, override: str, said: list[str]) -> None:
    place = Place(tmp_path, corpus, "")
    groundup("run", place.config(), "--set", override).refused(78, *said)
    assert not place.workspace.exists() or not list(place.workspace.rglob("manifest.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1, 2\nb: }", "broken.yaml:2"),
        (b"\x00\xff\xfe\x80", "not UTF-8"),
        (b"", "mapping of sections"),
        (b"name: !!python/object/apply:os.system ['echo hi']", "broken.yaml:1"),
        (None, "no such file"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "broken.yaml"
    if content is not None:
        path.write_bytes(content)
    groundup("run", path).refused(78, said)


def test_a_folder_as_configuration(tmp_path: Path) -> None:
    groundup("run", tmp_path).refused(78, "Is a directory", str(tmp_path))


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_workspace_that_is_a_file(tmp_path: Path, corpus: Path, command: str) -> None:
    place = Place(tmp_path, corpus, "")
    place.workspace.write_text("precious", encoding="utf-8")
    groundup(command, place.config()).refused(78, "a workspace is a folder", str(place.workspace))
    assert place.workspace.read_text(encoding="utf-8") == "precious"


def test_a_stage_that_is_none(place: Place) -> None:
    place.run("--force", "pretraining").refused(78, "no stage 'pretraining'", "stages: ingest")


# -------------------------------------------------------------------------------------------------- the corpus


def _truncated_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": [json.loads(line)["text"] for line in corpus_lines()]}), path)
    path.write_bytes(path.read_bytes()[:2000])


def _parquet_without_text(path: Path) -> None:
    pq.write_table(pa.table({"body": ["one", "two"]}), path)


@pytest.mark.parametrize(
    ("kind", "make", "said"),
    [
        ("jsonl", lambda path: path.write_bytes(b""), ["the corpus is empty", "1 file"]),
        ("text", lambda path: path.write_bytes(b"Hello \xff\xfe world"), ["1 invalid-utf8", "source.data, "]),
        ("parquet", _truncated_parquet, ["1 unreadable-parquet", "source.data, "]),
        ("parquet", _parquet_without_text, ["1 missing-text", "no column 'text'", "body"]),
    ],
    ids=["empty file", "invalid utf-8", "truncated parquet", "parquet without text"],
)
def test_a_corpus_with_nothing_in_it(place: Place, kind: str, make: Callable[[Path], Any], said: list[str]) -> None:
    path = place.folder / "source.data"
    make(path)
    source = {"kind": kind, "name": "bad", "path": str(path)}
    place.run(sections={"ingest": {"sources": [source]}}).refused(78, *said)
    assert finished(place.workspace) == set()


def test_broken_lines_are_quarantined_counted_and_told(place: Place) -> None:
    path, good = place.folder / "some.jsonl", corpus_lines(60)
    bad = b'\n{broken\n{"text": 5}\n{"title": "no text"}\n"\xff\xfe"\n[1]\n'
    path.write_bytes("\n".join(good[:30]).encode() + bad + "\n".join(good[30:]).encode())
    sections = {"ingest": {"sources": [{"kind": "jsonl", "name": "some", "path": str(path)}]}}
    # Everything is filtered away afterwards: what ingest made stays, and the run needn't go on to training.
    sections["select"] = {"language": None, "gopher_quality": {"min_words": 5000}}
    ended = place.run(sections=sections)
    ended.refused(78, "the filters removed all 60 documents", "select.gopher_quality.min_words")
    assert "documents 60 · quarantined 5" in ended.stdout
    assert finished(place.workspace) == {"ingest", "annotate"}
    rows = pq.read_table(artifact(place.workspace, "ingest") / "quarantine").to_pylist()
    assert [row["position"] for row in rows] == [f"line {n}" for n in range(31, 36)]
    reasons = ["invalid-json", "wrong-type", "missing-text", "invalid-utf8", "not-an-object"]
    assert [row["reason"] for row in rows] == reasons


def test_a_context_longer_than_the_shards(place: Place) -> None:
    model = {"layers": 1, "dim": 16, "heads": 2, "ffn_dim": 32, "context_length": 32768}
    sections = {"model": model, "pretrain": {"steps": 2, "batch_tokens": 32768}}
    ended = place.run(sections=sections)
    ended.refused(78, "the context is longer than the shards", "model.context_length 32768", "fix:")
    assert "pretrain" not in finished(place.workspace)


def _wheelhouse(folder: Path) -> dict[str, str]:
    """Settings of pip that lead to a local folder with one package."""
    folder.mkdir()
    about = "tinycorpus-1.0.dist-info"
    with zipfile.ZipFile(folder / "tinycorpus-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinycorpus/data.jsonl", "\n".join(corpus_lines()))
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tinycorpus\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


@pytest.mark.parametrize("case", ["wrong hash", "offline", "no network"])
def test_a_download_that_cannot_be_had(place: Place, case: str) -> None:
    pip = _wheelhouse(place.folder / "wheelhouse")
    source = {"kind": "wheel", "name": "w", "requirement": "tinycorpus==1.0", "sha256": "0" * 64}
    source |= {"member": "tinycorpus/data.jsonl", "member_format": "jsonl"}
    arguments = ["--offline"] if case == "offline" else []
    if case == "no network":
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place.folder / "nowhere")}
    said = {
        "wrong hash": ["isn't the one that was pinned", "expected 0000", "Nothing was kept"],
        "offline": ["not in the cache", "Run once with offline off"],
        "no network": ["pip could not download it", "Check the network", "by hand"],
    }
    place.run(*arguments, sections={"ingest": {"sources": [source]}}, **pip).refused(78, *said[case])
    assert finished(place.workspace) == set()
    assert not list(place.workspace.rglob("*.whl"))


# ------------------------------------------------------------------------------------------ the finished models


@pytest.mark.parametrize("command", [["generate"], ["chat"], ["classify", "a text"], ["lineage"], ["funnel"]])
def test_an_empty_workspace(tmp_path: Path, command: list[str]) -> None:
    groundup(*command, "--workspace", tmp_path).refused(78, "no finished", str(tmp_path), "groundup run")


def use(workspace: Path, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments), "--workspace", str(workspace)]
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment(), timeout=60, check=False)
    assert b"should not have" not in done.stderr, done.stderr.decode()
    return done


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("", []),
        ("The harbour is long. " * 100, []),
        ("The ", ["--temperature", "0"]),
        ("The ", ["--temperature", "1e-300"]),
        ("Ü 😀 漢字 \x1b[31m\x07 <|endoftext|>", ["--top-p", "0"]),
    ],
    ids=["empty", "longer than the context", "greedy", "nearly greedy", "any character"],
)
def test_any_prompt_is_continued(finished_workspace: Path, prompt: str, options: list[str]) -> None:
    done = use(finished_workspace, "generate", "--prompt", prompt, "--max-tokens", 40, "--seed", 1, *options)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(prompt.encode()) and len(done.stdout) > len(prompt.encode()) + 1


def test_chat_and_classify_read_any_bytes(finished_workspace: Path) -> None:
    said = "What is Number 1?\n😀\x1b[0m\n".encode() + b"\xff\xfe\n" + b"long " * 300 + b"\n/exit\nnever"
    chat = use(finished_workspace, "chat", "--max-tokens", 5, "--seed", 1, stdin=said)
    assert chat.returncode == 0, chat.stderr.decode()
    classify = use(finished_workspace, "classify", "--json", stdin="hello 😀\n".encode() + b"\xff\xfe bad\n")
    assert classify.returncode == 0, classify.stderr.decode()
    assert [json.loads(line)["text"] for line in classify.stdout.decode().splitlines()] == [
        "hello 😀",
        "\ufffd\ufffd bad",
    ]


def test_a_model_that_is_none(finished_workspace: Path) -> None:
    for reference, said in (("nosuch", b"no finished artifact"), ("tokenizer", b"no model in this folder")):
        done = use(finished_workspace, "generate", reference)
        assert done.returncode == 78 and said in done.stderr


def test_a_damaged_model(finished_place: Place) -> None:
    weights = artifact(finished_place.workspace, "pretrain") / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = use(finished_place.workspace, "generate")
    assert done.returncode == 78 and b"were written" in done.stderr and b"fix:" in done.stderr
