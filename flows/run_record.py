"""What one run of the pipeline did, kept as a small file: ``WORKSPACE/runs/<run_id>/run.json``.

It is rewritten in one step at every change, so that anybody (the tracking mirror, the command line, a person with an
editor) can read it at any time, while the run goes on and long after.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from flows.lineage.atomic import write_bytes
from flows.lineage.lock import is_locked

RunStatus = Literal["running", "completed", "failed", "interrupted"]
StageStatus = Literal["pending", "running", "completed", "reused", "failed", "interrupted"]


class StageRecord(BaseModel):
    """One stage of the run. ``path`` is the artifact's folder, absolute."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    name: str
    title: str
    fingerprint: str
    path: str
    action: Literal["reuse", "resume", "run"]
    status: StageStatus = "pending"
    started: datetime | None = None
    finished: datetime | None = None
    counters: dict[str, int | float | str] = Field(default_factory=dict)
    error: str | None = None


class RunRecord(BaseModel):
    """One run: its configuration, and how each of its stages went."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    run_id: str
    name: str
    config: dict[str, Any]
    started: datetime
    finished: datetime | None = None
    status: RunStatus = "running"
    error: str | None = None
    prefect_flow_run_id: str | None = None
    stages: list[StageRecord] = Field(default_factory=list)

    _path: Path | None = PrivateAttr(default=None)

    @classmethod
    def create(
        cls,
        workspace: Path,
        name: str,
        config: dict[str, Any],
        run_id: str | None = None,
        stages: Sequence[StageRecord] = (),
    ) -> RunRecord:
        """A new record in its own folder, saved. Run ids sort by time."""
        now = datetime.now(UTC)
        run_id = run_id or f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        folder = workspace / "runs" / run_id
        folder.mkdir(parents=True)
        record = cls(run_id=run_id, name=name, config=config, started=now, stages=list(stages))
        record._path = folder / "run.json"
        record.save()
        return record

    @classmethod
    def load(cls, path: str | Path) -> RunRecord:
        """Read ``run.json`` (or the folder that holds it).

        Raises:
            FileNotFoundError: there is no such run.
            pydantic.ValidationError: the file isn't a run record.
        """
        path = Path(path)
        path = path / "run.json" if path.is_dir() else path
        record = cls.model_validate_json(path.read_bytes())
        record._path = path
        return record

    @property
    def path(self) -> Path:
        if self._path is None:
            raise ValueError("this record belongs to no file; use RunRecord.create or RunRecord.load")
        return self._path

    def save(self) -> None:
        write_bytes(self.path, (self.model_dump_json(indent=2) + "\n").encode())

    def is_alive(self) -> bool:
        """A living process writes one of its artifacts. (The record alone says "running" after a ``kill -9`` too.)"""
        return self.status == "running" and any(is_locked(Path(stage.path)) for stage in self.stages)

    def stage(self, name: str) -> StageRecord:
        """The record of stage ``name``; KeyError if the run has none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)


def all_runs(workspace: str | Path) -> list[RunRecord]:
    """Every readable run of the workspace, oldest first."""
    found = []
    for path in (Path(workspace) / "runs").glob("*/run.json"):
        try:
            found.append(RunRecord.load(path))
        except (ValidationError, FileNotFoundError):
            continue  # of another version, or being removed: it isn't ours to judge
    return sorted(found, key=lambda record: (record.started, record.run_id))


def newest(workspace: str | Path) -> RunRecord | None:
    """The run that began last; None if there was none."""
    runs = all_runs(workspace)
    return runs[-1] if runs else None
