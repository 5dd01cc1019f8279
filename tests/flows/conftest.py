"""A small experiment, and doors that do no work, so that the conductor is tested without the libraries."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from flows.config import PipelineConfig, load_config
from flows.display import Display, use_display

DATA = (
    *("ingest", "train_quality_classifier", "annotate", "select", "clean", "deduplicate", "decontaminate", "mix"),
    *("write_data_card", "build_classification_set", "build_instruction_set"),
)
LLM = ("train_tokenizer", "write_shards")
PAIR = {
    **{"source": "texts", "source_id": "b.txt", "representative_source": "texts/a.txt", "representative": "0" * 32},
    **{"similarity": 0.8125, "beginning": "Some text!", "representative_beginning": "Some text."},
}
TOKENIZER_ROW = {
    **{"tokenizer": "ours", "vocab_size": 300, "language": "all", "bytes": 90, "tokens": 30, "bytes_per_token": 3.0},
    **{"tokens_per_word": 1.5, "unknown_share": 0.125, "megabytes_per_second": 2.5},
}

TRAINER = """
import json, pathlib, sys
request = json.load(open(sys.argv[1]))
out = pathlib.Path(request["out"])
print(json.dumps({"progress": [1, 2, "half"]}))
print(json.dumps({"log": "a line from " + request["stage"]}))
(out / "model").mkdir(exist_ok=True)
(out / "model" / "model.safetensors").write_text(json.dumps(request["config"], sort_keys=True))
(out / "metrics.jsonl").write_text('{"step": 1, "tokens": 8, "val/loss": 2.5, "val/bits_per_byte": 1.9}\\n')
(out / "scorecard.md").write_text("# Scorecard\\n")
print(json.dumps({"counters": {"steps": 2, "loss": 1.5}}))
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The YAML file of a small experiment with every section, over one text file."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Some text.")
    raw = {
        "name": "small",
        "ingest": {"sources": [{"kind": "text", "name": "texts", "path": str(tmp_path / "texts")}]},
        "classification_set": {"label_field": "topic", "exclude": ["None"]},
        "instruction_set": {"templates": [{"user": "What is {title}?", "assistant": "{text}"}]},
        "model": {"layers": 1, "dim": 32, "heads": 2, "ffn_dim": 64, "context_length": 256},
        "pretrain": {"steps": 10, "batch_tokens": 1024},
        "classifier": {"epochs": 1, "max_tokens": 64},
        "compare_from_scratch": True,
        "assistant": {"epochs": 1, "max_tokens": 64},
        "runtime": {"workspace": str(tmp_path / "workspace"), "tracking": {"enabled": False}},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.fixture
def full(small: PipelineConfig) -> PipelineConfig:
    """The same with every stage that a configuration can ask for."""
    raw = small.model_dump()
    raw["quality_classifier"] = {"positive": ["good.jsonl"], "negative": ["bad.jsonl"]}
    raw["clean"] = {"lines": ["refinedweb"]}
    raw["decontaminate"] = {"benchmarks": [{"name": "quiz", "path": "quiz.jsonl"}]}
    raw["deduplicate"] = {"against": ["earlier"]}
    return PipelineConfig.model_validate(raw)


@pytest.fixture
def bare(small: PipelineConfig) -> PipelineConfig:
    """The same with none of the stages that can be left out."""
    left_out = ("classification_set", "instruction_set", "classifier", "assistant", "compare_from_scratch")
    return PipelineConfig.model_validate(small.model_dump(exclude=set(left_out)))


@pytest.fixture
def small(experiment: Path) -> PipelineConfig:
    return load_config(experiment)


class Doors:
    """The fake doors: which were entered, and what each of them shall do instead."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.instead: dict[str, Callable[..., dict[str, int]]] = {}

    def module(self, name: str) -> types.ModuleType:
        door = types.ModuleType(name)

        def run(config, inputs, out, progress, runtime) -> dict[str, int]:  # type: ignore[no-untyped-def]
            stage = name.rpartition(".")[2]
            self.entered.append(stage)
            progress(1, 2, "half")
            if stage in self.instead:
                return self.instead[stage](out)
            if stage == "write_data_card":
                (out / "data_card.md").write_text("# Data card\n")
                (out / "data_card.json").write_text(json.dumps({"duplicates": {"drawn": [PAIR]}}))
            if stage == "train_tokenizer":
                (out / "report.md").write_text("# Tokenizer\n")
                (out / "report.json").write_text(json.dumps({"comparison": {"rows": [TOKENIZER_ROW]}}))
            (out / "documents").mkdir(exist_ok=True)
            (out / "documents" / "part-00000.parquet").write_text(f"{stage}: {config!r}")
            return {"documents_in": 10, "documents_out": 9, "bytes_in": 100, "bytes_out": 90}

        def source_digests(config, runtime) -> dict[str, str]:  # type: ignore[no-untyped-def]
            if not hasattr(config, "sources"):
                return {"a file": "0" * 64}
            return {
                f"{source.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
                for source in config.sources
                for path in sorted(Path(source.path).iterdir())
            }

        door.run, door.source_digests = run, source_digests  # type: ignore[attr-defined]
        return door


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    made = Doors()
    for library, names in (("data_tools", DATA), ("llm_core", LLM)):
        for name in names:
            full = f"{library}.stages.{name}"
            monkeypatch.setitem(sys.modules, full, made.module(full))
    return made


@pytest.fixture
def fake_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A child process that answers at once in the place of `python -m llm_core.train`."""
    import flows.runner

    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    run = functools.partial(flows.runner.run_in_child, command=[sys.executable, str(script)])
    monkeypatch.setattr(flows.runner, "run_in_child", run)
    return script


class Told(Display):
    """Remembers what a person would have seen."""

    def __init__(self) -> None:
        self.finished: dict[str, str] = {}
        self.lines: list[str] = []

    def stage_finished(self, stage, action, counters=None, seconds=0.0) -> None:  # type: ignore[no-untyped-def]
        self.finished[stage.name] = action

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def told() -> Iterator[Told]:
    with use_display(Told()) as display:
        assert isinstance(display, Told)
        yield display
