"""Power cuts, full disks, Ctrl-C, damaged files and two runs at once: the same command goes on, nothing is lost,
nothing that isn't finished looks finished, and no process stays behind."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.conftest import LONG, Place, has_checkpoint
from tests.system.tiny_experiment import (
    Ended,
    artifact,
    corpus_lines,
    family,
    fine_tuning,
    finished,
    interrupt,
    sha256,
    start,
    survivors,
    wait_for,
)

DATA = {"ingest", "annotate", "select", "deduplicate", "mix", "data_card", "tokenizer", "shards"}


def begin(place: Place, sections: dict[str, object], **options: str) -> subprocess.Popen[str]:
    config = place.config(**sections)
    return start("run", config, "--plain", **{"PREFECT_API_URL": place.prefect_url, **options})


def weights(workspace: Path) -> str:
    return sha256(artifact(workspace, "pretrain") / "model" / "model.safetensors")


@pytest.mark.slow
def test_killed_in_training_and_run_again_gives_the_same_weights(place: Place, untouched_weights: str) -> None:
    process = begin(place, LONG)
    wait_for(lambda: has_checkpoint(place.workspace), process)
    left = family(process)
    process.kill()
    process.communicate()
    assert survivors(left) == []
    assert finished(place.workspace) == DATA
    again = place.run(sections=LONG)
    assert again.code == 0, str(again)
    assert weights(place.workspace) == untouched_weights
    events = (artifact(place.workspace, "pretrain") / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert "resumed" in [json.loads(line)["event"] for line in events]
    metrics = (artifact(place.workspace, "pretrain") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line["step"] for line in map(json.loads, metrics) if "train/loss" in line]
    assert steps == sorted(set(steps)) and steps[-1] == LONG["pretrain"]["steps"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code", "own_prefect"),
    [(subprocess.Popen.terminate, 75, False), (interrupt, 130, True)],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_stopped_in_training(
    place: Place, stop: Callable[[subprocess.Popen[str]], None], code: int, own_prefect: bool
) -> None:
    process = begin(place, LONG, **({"PREFECT_API_URL": ""} if own_prefect else {}))
    wait_for(lambda: has_checkpoint(place.workspace), process)
    left = family(process)
    if not own_prefect:  # meanwhile somebody starts the same again: refused, and the first goes on
        place.run(sections=LONG).refused(73, f"process {process.pid}", "where: pretrain/", "Wait until it ends")
        assert process.poll() is None
    stop(process)
    ended = Ended(process)
    ended.refused(code, "the same command continues from there")
    assert survivors(left) == []
    assert finished(place.workspace) == DATA
    first = min(place.workspace.glob("runs/*/run.json"))  # its name begins with its time; the refused run came later
    record = json.loads(first.read_text(encoding="utf-8"))
    assert record["status"] == "interrupted"


@pytest.mark.slow
def test_killed_in_a_data_stage(place: Place, tmp_path: Path) -> None:
    place.corpus = tmp_path / "many.jsonl"
    place.corpus.write_text("\n".join(corpus_lines(6000)), encoding="utf-8")
    sections = {"deduplicate": {"minhash": True}, "select": {"language": None, "gopher_quality": None}}
    process = begin(place, sections)
    wait_for(lambda: any(place.workspace.glob("artifacts/deduplicate/*/unfinished.json")), process)
    process.kill()
    process.communicate()
    assert finished(place.workspace) == {"ingest", "annotate", "select"}
    again = place.run(sections=sections)
    assert again.code == 0, str(again)
    assert "select: reused" in again.stdout and "deduplicate: completed" in again.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on file size")
@pytest.mark.parametrize(
    ("limit", "stage"), [(12_000, "ingest"), (20_000, "shards"), (200_000, "pretrain")], ids=lambda value: str(value)
)
def test_a_full_disk(place: Place, limit: int, stage: str) -> None:
    sections = {"model": {"layers": 2, "dim": 64, "heads": 2, "ffn_dim": 128, "context_length": 32}}
    sections["data_card"] = {"examples": 0}  # a small page: the card must not be the first that is too large
    if stage == "shards":  # the tokenizer's picture is larger than they are
        assert place.run("--until", "tokenizer", sections=sections).code == 0
    ended = place.run(sections=sections, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    ended.refused(74, f"where: {stage}", "fix:")
    assert stage not in finished(place.workspace)
    assert not list(place.workspace.glob(f"artifacts/{stage}/**/*.safetensors"))


# --------------------------------------------------------------------------------------------- damaged artifacts


def test_damaged_artifacts_are_made_again(finished_place: Place) -> None:
    workspace, before = finished_place.workspace, weights(finished_place.workspace)
    tokens = artifact(workspace, "shards") / "train-00000.bin"
    whole = tokens.read_bytes()

    def run_again(*arguments: str) -> str:
        ended = finished_place.run(*arguments, sections=fine_tuning())
        assert ended.code == 0, str(ended)
        return ended.stdout

    tokens.write_bytes(whole[:100])
    (artifact(workspace, "mix") / "manifest.json").write_bytes(b'{"stage": "mi\xff')
    said = run_again()
    assert "shards: completed" in said and "mix: completed" in said and "pretrain: reused" in said
    assert tokens.read_bytes() == whole

    flipped = bytearray(whole)
    flipped[50] ^= 1
    tokens.write_bytes(flipped)
    assert "shards: completed" in run_again("--verify")
    assert tokens.read_bytes() == whole
    assert weights(workspace) == before
