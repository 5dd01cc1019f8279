"""A pipeline run as the files that it leaves on disk, written through the real record and manifest classes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.config import PipelineConfig
from flows.lineage.manifest import InputRecord, Manifest, record_outputs
from flows.run_record import RunRecord, StageRecord
from flows.stages import stages_of

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHORT = ("mix", "pretrain", "evaluate")
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "ingest": {"sources": [{"kind": "text", "name": "notes", "path": "notes/*.txt"}]},
    "classification_set": {"label_field": "topic"},
    "instruction_set": {"templates": [{"user": "What is {title}?", "assistant": "{first_sentence}"}]},
    "classifier": {},
    "assistant": {},
}


class Pipeline:
    """One run, stage by stage. `stages` keeps only some of the chain, to keep tests short."""

    def __init__(self, workspace: Path, stages: tuple[str, ...] | None = None, started: datetime = START) -> None:
        self.workspace = workspace
        config = PipelineConfig.model_validate(CONFIG)
        self.plan = {s.name: s for s in stages_of(config) if stages is None or s.name in stages}
        self.record = RunRecord.create(workspace, config.name, config.model_dump(mode="json"))
        self.record.started = started
        self.record.prefect_flow_run_id = "5f9f9f9f-0000-4000-8000-000000000000"
        self.record.stages = [
            StageRecord(
                name=stage.name,
                title=stage.title,
                fingerprint=self.fingerprint(stage.name),
                path=str(self.folder(stage.name)),
                action="reuse" if Manifest.load(self.folder(stage.name)) else "run",
            )
            for stage in self.plan.values()
        ]
        self.record.save()
        self.clock = started

    @staticmethod
    def fingerprint(name: str) -> str:
        return (name.encode().hex() * 64)[:64]

    def folder(self, name: str) -> Path:
        return self.workspace / "artifacts" / name / self.fingerprint(name)[:12]

    @property
    def path(self) -> Path:
        return self.record.path

    def tick(self, seconds: float = 1.0) -> datetime:
        self.clock += timedelta(seconds=seconds)
        return self.clock

    def begin(self, name: str) -> None:
        stage = self.record.stage(name)
        stage.status, stage.started = "running", self.tick()
        self.folder(name).mkdir(parents=True, exist_ok=True)
        self.record.save()

    def measure(self, name: str, first: int, last: int) -> None:
        """Steps `first` to `last`, a line each, as the trainer appends them; a validation every tenth."""
        with (self.folder(name) / "metrics.jsonl").open("a") as file:
            for step in range(first, last + 1):
                when = self.tick(0.25).timestamp()
                line = {"step": step, "tokens": step * 64, "time": when, "train/loss": 5 / step, "train/lr": 0.001}
                file.write(json.dumps(line) + "\n")
                if step % 10 == 0:
                    validation = {"step": step, "tokens": step * 64, "time": when, "val/bits_per_byte": 3 / step}
                    file.write(json.dumps(validation) + "\n")

    def finish(self, name: str) -> None:
        folder, stage = self.folder(name), self.plan[name]
        for path, text in FILES.get(name, {"documents/part-00000.parquet": "rows"}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        made = {n: Manifest.load(self.folder(n)) for n in self.plan}
        counters: dict[str, int | float | str] = {"documents": 12, "ratio": 0.5, "device": "cpu"}
        Manifest(
            stage=name,
            version=1,
            fingerprint=self.fingerprint(name),
            config=json.loads(json.dumps(stage.identity)),
            inputs=tuple(
                InputRecord(name=i, stage=p, fingerprint=self.fingerprint(p), digest=m.digest)
                for i, p in stage.inputs.items()
                if (m := made.get(p)) is not None
            ),
            outputs=record_outputs(folder),
            counters=counters,
            provenance={"git": {"commit": "c0ffee" + "0" * 34, "dirty": None}},
            started=self.clock,
            finished=self.tick(),
        ).write(folder)
        record = self.record.stage(name)
        record.counters, record.status, record.finished = counters, "completed", self.clock
        self.record.save()

    def reuse(self, name: str) -> None:
        manifest = Manifest.load(self.folder(name))
        assert manifest is not None
        record = self.record.stage(name)
        record.status, record.counters, record.started, record.finished = (
            "reused",
            manifest.counters,
            self.tick(),
            self.clock,
        )
        self.record.save()

    def end(self, status: Any = "completed") -> None:
        self.record.status, self.record.finished = status, self.tick()
        self.record.save()

    def whole(self, steps: int = 20) -> Pipeline:
        """Everything, from the first stage to the last; what is there already is reused."""
        for name in self.plan:
            if self.record.stage(name).action == "reuse":
                self.reuse(name)
                continue
            self.begin(name)
            if name in ("pretrain", "classifier", "assistant"):
                self.measure(name, 1, steps)
            self.finish(name)
        self.end()
        return self


FILES = {
    "tokenizer": {"tokenizer.json": "{}", "report.json": "{}", "chat_template.jinja": "{{ messages }}"},
    "pretrain": {"model/model.safetensors": "weights of base", "model/config.json": "{}", "events.jsonl": "{}\n"},
    "classifier": {"model/model.safetensors": "weights of classifier", "model/labels.json": "[]"},
    "assistant": {"model/model.safetensors": "weights of assistant", "model/config.json": "{}"},
    "evaluate": {
        "scorecard.md": "# Scorecard\n",
        "scorecard.json": "{}",
        "samples.md": "The city of",
        "confusion.csv": "a,b\n",
    },
}
