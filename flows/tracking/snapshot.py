"""What is on disk about one run, as plain values in MLflow's terms (parameters, inputs, small files). Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.lineage.manifest import Manifest, OutputRecord
from flows.run_record import RunRecord, StageRecord

#: Files of an artifact that MLflow gets a copy of, if they are small. Weights and documents never are.
SMALL_FILE_BYTES = 2_000_000
SMALL_FILE_SUFFIXES = frozenset({".md", ".json", ".jinja", ".csv", ".txt", ".yaml", ".html", ".svg", ".png"})
SMALL_FILES_PER_STAGE = 40

#: Inputs that are data sets in MLflow's sense, and so appear in its "Datasets" column.
DATASET_INPUTS = frozenset({"documents", "shards", "examples", "classification_set", "instruction_set"})

#: What a data set was used for, in MLflow's words.
CONTEXT = {
    "tokenizer": "training",
    "pretrain": "training",
    "classifier": "training",
    "classifier_from_scratch": "training",
    "assistant": "training",
    "evaluate": "evaluation",
}

#: MLflow takes 6000 characters; nobody compares runs by values that long.
PARAM_CHARS = 500

RUN_STATUS = {"running": "RUNNING", "completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
STAGE_STATUS = RUN_STATUS | {"reused": "FINISHED"}


@dataclass(frozen=True)
class DatasetInput:
    """Documents, shards or examples that a stage read."""

    name: str
    digest: str
    path: str
    context: str
    counters: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageSnapshot:
    record: StageRecord
    manifest: Manifest | None
    params: dict[str, str]
    datasets: tuple[DatasetInput, ...]

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def folder(self) -> Path:
        return Path(self.record.path)

    @property
    def reused(self) -> bool:
        return self.record.status == "reused"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def counters(self) -> dict[str, int | float | str]:
        return self.record.counters or (self.manifest.counters if self.manifest else {})

    def small_files(self) -> list[OutputRecord]:
        """What is worth looking at in a browser: cards, reports, scorecards, the tokenizer."""
        outputs = self.manifest.outputs if self.manifest else ()
        found = [
            output
            for output in outputs
            if output.bytes <= SMALL_FILE_BYTES
            and (Path(output.path).suffix in SMALL_FILE_SUFFIXES or output.path == "events.jsonl")
            and not output.path.startswith("model/tokenizer")  # the tokenizer stage has it
        ]
        # What lies nearest the top says most; of many pictures below it the last are left out.
        found.sort(key=lambda output: (output.path.count("/"), output.path.endswith(".png")))
        return found[:SMALL_FILES_PER_STAGE]


@dataclass(frozen=True)
class RunSnapshot:
    record: RunRecord
    stages: tuple[StageSnapshot, ...]

    @property
    def folder(self) -> Path:
        return self.record.path.parent

    @property
    def project(self) -> str:
        """The experiment that the run belongs to: what the config says, otherwise the config's own name."""
        tracking = (self.record.config.get("runtime") or {}).get("tracking") or {}
        return str(tracking.get("experiment") or self.record.name)

    @property
    def workspace(self) -> Path:
        return self.folder.parent.parent

    def find(self, name: str) -> StageSnapshot | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def params(self) -> dict[str, str]:
        """The sections that people compare runs by, flattened. What a stage was told in full is on its own run."""
        sections = (
            *("select", "clean", "deduplicate", "decontaminate", "mix"),
            *("model", "tokenizer", "pretrain", "classifier", "assistant"),
        )
        config = self.record.config
        return flatten({name: config[name] for name in sections if config.get(name) is not None})

    def provenance(self) -> dict[str, Any]:
        """Of the newest artifact that this run made (all of a run's are made by the same code)."""
        made = [s.manifest for s in self.stages if s.manifest and s.record.status == "completed"]
        return max(made, key=lambda manifest: manifest.finished).provenance if made else {}


def take(record_path: Path) -> RunSnapshot:
    """Read one run.

    Raises:
        FileNotFoundError, pydantic.ValidationError: there is no such record, or it can't be read.
    """
    record = RunRecord.load(record_path)
    manifests = {
        stage.name: Manifest.load(Path(stage.path)) if stage.status in ("completed", "reused") else None
        for stage in record.stages
    }
    planned = planned_stages(record.config)
    folders = {stage.name: stage.path for stage in record.stages}
    stages = []
    for stage in record.stages:
        manifest = manifests[stage.name]
        config, inputs = planned.get(stage.name, (None, None))
        if config is None:
            config = manifest.config if manifest else {}
        if inputs is None:
            inputs = {i.name: i.stage for i in manifest.inputs} if manifest else {}
        datasets = []
        for name, producer in sorted(inputs.items()):
            made = manifests.get(producer)
            if name in DATASET_INPUTS and made is not None:
                context = CONTEXT.get(stage.name, "preparation")
                datasets.append(
                    DatasetInput(f"{producer}-{name}", made.digest, folders[producer], context, made.counters)
                )
        stages.append(StageSnapshot(stage, manifest, flatten(config), tuple(datasets)))
    return RunSnapshot(record, tuple(stages))


def planned_stages(config: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, str]]]:
    """Identity config and inputs of each stage, known before it has run. Empty for a config of another version (then
    the manifests say the same once the stages are finished)."""
    from pydantic import ValidationError

    from flows.config import PipelineConfig
    from flows.errors import UserError
    from flows.stages import stages_of

    try:
        stages = stages_of(PipelineConfig.model_validate(config))
    except (ValidationError, UserError):
        return {}
    return {stage.name: (stage.identity, dict(stage.inputs)) for stage in stages}


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """`{"optimizer": {"lr": 0.001}}` -> `{"optimizer.lr": "0.001"}`. Lists are written as JSON."""
    return dict(_flat(config, ""))


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, text_of(value)


def text_of(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= PARAM_CHARS else text[: PARAM_CHARS - 1] + "…"


def milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
