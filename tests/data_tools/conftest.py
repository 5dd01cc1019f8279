"""A small workspace: write raw files, run stages by name, read what they wrote."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_tools import config as configs
from data_tools.progress import no_progress

STAGES: dict[str, tuple[str, type[configs.Strict], dict[str, str]]] = {
    "ingest": ("ingest", configs.IngestConfig, {}),
    "annotate": ("annotate", configs.AnnotateConfig, {"documents": "ingest"}),
    "select": ("select", configs.SelectConfig, {"documents": "ingest", "signals": "annotate"}),
    "clean": ("clean", configs.CleanConfig, {"documents": "select"}),
    "quality_classifier": ("train_quality_classifier", configs.QualityClassifierConfig, {"documents": "ingest"}),
    "deduplicate": ("deduplicate", configs.DeduplicateConfig, {"documents": "select"}),
    "decontaminate": ("decontaminate", configs.DecontaminateConfig, {"documents": "deduplicate"}),
    "mix": ("mix", configs.MixConfig, {"documents": "deduplicate"}),
    "data_card": (
        "write_data_card",
        configs.DataCardStage,
        {"documents": "mix"} | {name: name for name in ("ingest", "annotate", "select", "deduplicate")},
    ),
    "classification_set": ("build_classification_set", configs.ClassificationSetConfig, {"documents": "mix"}),
    "instruction_set": ("build_instruction_set", configs.InstructionSetConfig, {"documents": "mix"}),
}


class Chain:
    """Runs stages into ``folder/<stage>`` and remembers their counters."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self.runtime = configs.DataRuntime(workers=workers, cache=str(folder / "cache"))
        self.counters: dict[str, dict[str, Any]] = {}

    def run(self, stage: str, config: dict[str, Any] | None = None, **inputs: str) -> dict[str, Any]:
        door, model, default_inputs = STAGES[stage]
        out = self.folder / stage
        out.mkdir(parents=True, exist_ok=True)
        paths = {name: self.folder / source for name, source in {**default_inputs, **inputs}.items()}
        module = importlib.import_module(f"data_tools.stages.{door}")
        counters = module.run(model.model_validate(config or {}), paths, out, no_progress, self.runtime)
        self.counters[stage] = counters
        return counters

    def ingest_texts(self, texts: list[str], metadata: list[dict[str, str]] | None = None) -> dict[str, Any]:
        """Put texts through ingest by way of a JSONL file."""
        path = self.folder / "raw" / "texts.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": text, **(metadata[i] if metadata else {})} for i, text in enumerate(texts)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        names = sorted({name for row in metadata or [] for name in row})
        source = {"kind": "jsonl", "name": "texts", "path": str(path), "metadata_fields": names}
        return self.run("ingest", {"sources": [source]})

    def rows(self, stage: str, table: str) -> list[dict[str, Any]]:
        paths = sorted((self.folder / stage / table).glob("*.parquet"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


@pytest.fixture
def make_chain() -> Callable[..., Chain]:
    return Chain
