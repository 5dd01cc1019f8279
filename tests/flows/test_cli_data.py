"""`groundup why`, `funnel`, `data`: questions about documents, through the command line, on a small corpus."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from data_tools.progress import no_progress
from flows.cli import app
from flows.config import load_config
from flows.lineage.plan import source_records
from flows.lineage.store import Store

TEXT = "The history of the town is long, and it is said that the people who live there have to be proud of it."


def groundup(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def check_clear(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ") and "Traceback" not in result.output, result.output
    for word in words:
        assert word in result.stderr, result.stderr


def run_data_stages(config: Path, until: str = "data_card") -> None:
    """What `prepare_data` does, without Prefect."""
    loaded = load_config(config)
    store = Store(loaded.workspace)
    fingerprints: dict[str, str] = {}
    for planned in store.plan(loaded):
        stage = planned.stage
        records = store.input_records(stage, fingerprints) + source_records(planned.files)
        fingerprints[stage.name] = planned.fingerprint
        with store.writer(stage, planned.fingerprint, records) as writer:
            if writer.manifest is None:
                folders = {name: store.artifact_dir(made, fingerprints[made]) for name, made in stage.inputs.items()}
                door = importlib.import_module(stage.door)
                writer.publish(door.run(stage.config, folders, writer.out, no_progress, loaded.data_runtime()))
            else:
                store.point_latest(stage.name, planned.fingerprint)
        if stage.name == until:
            return


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, and its workspace beside it."""
    place = tmp_path_factory.mktemp("corpus")
    texts = [f"{TEXT} Number {i} of many that have been written, and so on, {i * 11}." for i in range(20)]
    rows = [{"id": f"t{i}", "text": text} for i, text in enumerate([*texts, texts[3], "\x1b[31mtoo short"])]
    (place / "town.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    (place / "notes").mkdir()
    (place / "notes" / "a.txt").write_text(f"{TEXT} Write to someone@smalltown.net if you have seen it.")
    raw = {
        "ingest": {
            "sources": [
                {
                    "kind": "jsonl",
                    "name": "town",
                    "path": str(place / "town.jsonl"),
                    "id_field": "id",
                    "license": "CC0",
                },
                {"kind": "text", "name": "notes", "path": str(place / "notes")},
            ]
        },
        "select": {"gopher_quality": {"min_words": 10}},
        "clean": {"personal_data": {}},
        "deduplicate": {"min_similarity": 0.97},
        "runtime": {"workspace": str(place / "workspace"), "data": {"workers": 1}},
    }
    (place / "town.yaml").write_text(yaml.safe_dump(raw))
    run_data_stages(place / "town.yaml")
    return place


@pytest.fixture(autouse=True)
def here(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("GROUNDUP_WORKSPACE", None)
    monkeypatch.chdir(corpus)
    yield


def test_the_funnel_tells_stages_reasons_and_sources(corpus: Path) -> None:
    shown = groundup("funnel").output
    assert "invalid-json" in shown and "gopher/short 1" in shown and "exact-duplicate 1" in shown
    lines = groundup("funnel", "--by-source").output.splitlines()
    assert lines[1].split()[:3] == ["notes", "ingest", "1"]
    assert any("town" in line and " 22 " in line for line in lines)


def test_why_tells_the_story_of_one_document(corpus: Path) -> None:
    kept = groundup("why", "town/t5")
    assert kept.exit_code == 0 and "license: CC0" in kept.output and "in the corpus, split" in kept.output
    assert "tests passed" in kept.output and "alpha_words" not in kept.output
    assert "alpha_words" in groundup("why", "town/t5", "--all").output
    short = groundup("why", "town/t21").output
    assert "removed: " in short and "wanted at least 10" in short and "\x1b" not in short
    assert "the same text as" in groundup("why", "town/t20").output
    edited = json.loads(groundup("why", "notes/a.txt", "--json").output)["stories"][0]
    step = next(step for step in edited["steps"] if step["stage"] == "clean")
    assert step["details"] == ["personal-data/emails: 1"]
    new = step["outcome"].rpartition(" ")[2]
    assert edited["copy"][0][:12] in groundup("why", new[:12]).output and new != edited["copy"][0]
    assert "quarantined by ingest, invalid-json" in groundup("why", "town/town.jsonl").output


def test_why_nothing_is_found_is_said_clearly(corpus: Path) -> None:
    check_clear(groundup("why", "ffffffffffff"), 78, "no document is, or was", "town/t0", "notes, town")


def test_samples_by_reason(corpus: Path) -> None:
    reasons = groundup("data", "sample").output
    assert "gopher/short" in reasons and "personal-data/emails" in reasons and "invalid-json" in reasons
    shown = groundup("data", "sample", "--reason", "gopher/short").output
    assert "town/t21" in shown and "words 2" in shown and "\x1b" not in shown
    assert groundup("data", "sample", "-r", "gopher/short").output == shown
    found = json.loads(groundup("data", "sample", "--kept", "--source", "notes", "--json").output)
    assert [one["source_id"] for one in found[0]["examples"]] == ["a.txt"]
    check_clear(groundup("data", "sample", "-r", "gopher/shrt"), 78, "gopher/short (select, 1)")
    check_clear(groundup("data", "sample", "-r", "x", "--kept"), 78, "exclude each other")


def test_retune_shows_what_a_threshold_would_change_and_writes_nothing(corpus: Path) -> None:
    before = sorted(path for path in (corpus / "workspace").rglob("*"))
    shown = groundup("data", "retune", "town.yaml", "--set", "select.gopher_quality.min_words=34").output
    assert (
        "select.gopher_quality.min_words  10 -> 34" in shown and "Would be dropped" in shown and "notes/a.txt" in shown
    )
    same = groundup("data", "retune", "town.yaml").output
    assert "judges as the artifact was judged" in same
    found = json.loads(groundup("data", "retune", "town.yaml", "-s", "select.gopher_quality=null", "--json").output)
    assert found["rescued"]["documents"] == 0 or found["rescued_from"]
    assert sorted(path for path in (corpus / "workspace").rglob("*")) == before


def test_the_card_is_where_it_is_said_to_be(corpus: Path) -> None:
    page, text, facts = groundup("data", "card").output.split()
    assert (corpus / page).read_text().startswith("<!doctype html>")
    assert (corpus / text).read_text() == groundup("data", "card", "--print").output
    assert json.loads((corpus / facts).read_text())["documents"] == 21


def test_questions_are_about_one_chain_however_many_there_are(corpus: Path, tmp_path: Path) -> None:
    """A second run without `clean`: its documents have no edits, though an artifact of clean is there."""
    raw = yaml.safe_load((corpus / "town.yaml").read_text())
    del raw["clean"]
    raw["runtime"]["workspace"] = str(tmp_path / "workspace")
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(raw | {"clean": {"personal_data": {}}}))
    run_data_stages(tmp_path / "first.yaml")
    first = Store(tmp_path / "workspace").latest("mix")
    run_data_stages(tmp_path / "second.yaml")
    workspace = ("--workspace", str(tmp_path / "workspace"))
    assert "clean" not in groundup("funnel", *workspace).output
    assert first is not None and "clean" in groundup("funnel", "--from", str(first[0]), *workspace).output
    assert "no data card" in groundup("data", "card", "--from", "mix", *workspace).stderr


def test_a_workspace_that_ended_early_answers_as_far_as_it_goes(corpus: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load((corpus / "town.yaml").read_text())
    raw["runtime"]["workspace"] = str(tmp_path / "workspace")
    (tmp_path / "town.yaml").write_text(yaml.safe_dump(raw))
    run_data_stages(tmp_path / "town.yaml", until="ingest")
    workspace = ("--workspace", str(tmp_path / "workspace"))
    assert groundup("why", "town/t5", *workspace).exit_code == 0
    check_clear(groundup("data", "retune", str(tmp_path / "town.yaml"), *workspace), 78, "no finished annotate stage")
