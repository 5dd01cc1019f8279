"""What an artifact is, and the proof that it is finished: ``manifest.json``, written last.

No manifest, no artifact. A folder without one is unfinished work.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.lineage.atomic import sync_folder, write_bytes
from flows.lineage.fingerprint import canonical_json

MANIFEST = "manifest.json"
LOCK = "lock.json"
UNFINISHED = "unfinished.json"

#: The `stage` of an input that no stage made: a file from outside.
SOURCE = "source"

#: Not part of what the artifact is: our own notes, and what only a resume needs.
_LEFT_OUT_FILES = frozenset({MANIFEST, LOCK, UNFINISHED})
_LEFT_OUT_FOLDERS = frozenset({"checkpoints"})
#: Outputs that tell how the others were made, with times: no next stage reads them, so they don't count as content.
_TOLD = frozenset({"events.jsonl", "metrics.jsonl", "report.json", "report.md", "report.png"})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputRecord(_Record):
    """What a stage read: by which name, made by which stage, and the digest of its bytes at that time."""

    name: str
    stage: str
    fingerprint: str
    digest: str


class OutputRecord(_Record):
    """One file: its path inside the artifact (with ``/``), size and sha256."""

    path: str
    bytes: int
    sha256: str


class Manifest(_Record):
    """The passport of one artifact."""

    stage: str
    version: int
    fingerprint: str
    config: dict[str, Any]
    inputs: tuple[InputRecord, ...]
    outputs: tuple[OutputRecord, ...]
    counters: dict[str, int | float | str]
    provenance: dict[str, Any]
    prefect_run_id: str | None = None
    mlflow_run_id: str | None = None
    started: datetime
    finished: datetime

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of all that a next stage may read: equal digests are equal bytes."""
        content = [[output.path, output.sha256] for output in self.outputs if output.path not in _TOLD]
        return hashlib.sha256(canonical_json(content)).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(output.bytes for output in self.outputs)

    def write(self, folder: Path) -> None:
        """Make ``folder`` an artifact."""
        write_bytes(folder / MANIFEST, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The manifest of ``folder``; None where there is none or it can't be read (then the work isn't finished)."""
        try:
            return cls.model_validate_json((folder / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None


def output_files(folder: Path) -> list[Path]:
    """The files that make up the artifact, sorted by their path inside it."""
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if any(part.endswith(".tmp") for part in inside.parts) or inside.parts[0] in _LEFT_OUT_FOLDERS:
            continue
        if len(inside.parts) == 1 and path.name in _LEFT_OUT_FILES:
            continue
        if path.is_file():
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def sha256_of(path: Path, *, sync: bool = False) -> str:
    """sha256 of a file, read as a stream. ``sync`` also makes sure that its bytes are on disk."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_outputs(folder: Path) -> tuple[OutputRecord, ...]:
    """Hash every output and put it on disk for good, so that a manifest never outlives what it vouches for."""
    files = output_files(folder)
    records = tuple(
        OutputRecord(path=f.relative_to(folder).as_posix(), bytes=f.stat().st_size, sha256=sha256_of(f, sync=True))
        for f in files
    )
    for parent in {f.parent for f in files}:
        sync_folder(parent)
    return records


def damage(folder: Path, manifest: Manifest, *, verify: bool = False) -> str | None:
    """What is wrong with the artifact's files, in words; None if they are as the manifest says.

    Looks at sizes only, which costs nothing; ``verify`` reads and hashes every byte.
    """
    for output in manifest.outputs:
        path = folder / output.path
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{output.path} is missing"
        if size != output.bytes:
            return f"{output.path} has {size:,} bytes instead of {output.bytes:,}"
        if verify and sha256_of(path) != output.sha256:
            return f"the content of {output.path} has changed"
    return None
