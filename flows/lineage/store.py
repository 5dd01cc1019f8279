"""The artifacts of a workspace: ``WORKSPACE/artifacts/<stage>/<fingerprint, 12 hex>/``.

A folder with a manifest is finished and never changes. One without is unfinished work, which its stage takes up again
(if it is resumable) or begins anew. All judgements about reuse are made here, by looking at the files.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.errors import ArtifactLocked
from flows.lineage.atomic import sync_folder, write_json
from flows.lineage.lock import ArtifactLock
from flows.lineage.manifest import LOCK, MANIFEST, UNFINISHED, InputRecord, Manifest, damage, record_outputs
from flows.lineage.provenance import provenance

if TYPE_CHECKING:
    from flows.config import PipelineConfig
    from flows.lineage.garbage import Garbage
    from flows.lineage.plan import PlannedStage
    from flows.lineage.tree import LineageNode
    from flows.stages import Stage

Action = Literal["reuse", "resume", "run"]
Counters = Mapping[str, int | float | str]

LATEST = "latest"


@dataclass(frozen=True)
class Judgement:
    """What has to happen to have an artifact, why, and its manifest where it can be reused."""

    action: Action
    why: str
    manifest: Manifest | None = None


class Store:
    """The artifacts of one workspace."""

    def __init__(self, workspace: str | Path) -> None:
        self.workspace = Path(workspace).expanduser().absolute()
        self.artifacts = self.workspace / "artifacts"

    # ------------------------------------------------------------------------------------------------- looking

    def artifact_dir(self, stage: str, fingerprint: str) -> Path:
        return self.artifacts / stage / fingerprint[:12]

    def manifest(self, stage: str, fingerprint: str) -> Manifest | None:
        """The manifest of a finished artifact, without a look at its files."""
        found = Manifest.load(self.artifact_dir(stage, fingerprint))
        return found if found is not None and found.fingerprint == fingerprint else None

    def find(
        self,
        stage: str,
        fingerprint: str,
        inputs: Mapping[str, str] | None = None,
        *,
        verify: bool = False,
    ) -> Manifest | None:
        """The manifest of an artifact that can be used as it is; None otherwise.

        Args:
            inputs: input name -> content digest as it is now. An artifact that was made from other bytes isn't found.
            verify: also hash every byte, not only compare sizes.
        """
        manifest = self.manifest(stage, fingerprint)
        if manifest is None or changed_inputs(manifest, inputs or {}):
            return None
        return None if damage(self.artifact_dir(stage, fingerprint), manifest, verify=verify) else manifest

    def judge(
        self, stage: Stage, fingerprint: str, inputs: Mapping[str, str] | None = None, *, verify: bool = False
    ) -> Judgement:
        """Reuse, resume or run, and why. ``inputs`` as in :meth:`find`; leave out what isn't known yet."""
        folder = self.artifact_dir(stage.name, fingerprint)
        manifest = self.manifest(stage.name, fingerprint)
        if manifest is None:
            begun = _read_unfinished(folder)
            if begun is None:
                return Judgement("run", "never made with these settings")
            since = str(begun.get("started", ""))[:16].replace("T", " ")
            if stage.resumable and not _differ(begun.get("inputs", {}), inputs or {}):
                return Judgement("resume", f"unfinished work of {since} goes on")
            return Judgement("run", f"interrupted on {since}; begins anew")
        changed = changed_inputs(manifest, inputs or {})
        if changed:
            return Judgement(
                "run", f"input changed: {', '.join(changed)} {'has' if len(changed) == 1 else 'have'} other content now"
            )
        harm = damage(folder, manifest, verify=verify)
        if harm:
            return Judgement("resume" if stage.resumable else "run", harm)
        return Judgement("reuse", f"made on {manifest.finished:%Y-%m-%d %H:%M}", manifest)

    def finished(self, stage: str) -> list[tuple[Path, Manifest]]:
        """All finished artifacts of a stage, the newest last."""
        found = []
        for folder in (self.artifacts / stage).glob("*"):
            manifest = None if folder.is_symlink() else Manifest.load(folder)
            if manifest is not None:
                found.append((folder, manifest))
        return sorted(found, key=lambda item: item[1].finished)

    def latest(self, stage: str) -> tuple[Path, Manifest] | None:
        """The finished artifact that the last run made or reused (the link ``latest``); without it, the newest."""
        link = self.artifacts / stage / LATEST
        if link.is_symlink():
            folder = link.parent / link.readlink()
            manifest = Manifest.load(folder)
            if manifest is not None:
                return folder, manifest
        found = self.finished(stage)
        return found[-1] if found else None

    def point_latest(self, stage: str, fingerprint: str) -> None:
        """Make ``<stage>/latest`` lead to this artifact. A disk without links does without."""
        folder = self.artifact_dir(stage, fingerprint)
        link, temporary = folder.parent / LATEST, folder.parent / f".{LATEST}.{folder.name}.tmp"
        with contextlib.suppress(OSError):
            if not (link.is_symlink() and str(link.readlink()) == folder.name):
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(folder.name)
                temporary.replace(link)

    def input_records(self, stage: Stage, fingerprints: Mapping[str, str]) -> list[InputRecord]:
        """What ``stage`` is about to read: input by input, with the digest of the bytes that are there now.

        Args:
            fingerprints: stage name -> fingerprint, for every stage before this one.

        Raises:
            FileNotFoundError: an input isn't finished.
        """
        records = []
        for name, producer in stage.inputs.items():
            manifest = self.manifest(producer, fingerprints[producer])
            if manifest is None:
                folder = self.artifact_dir(producer, fingerprints[producer])
                raise FileNotFoundError(f"{stage.name} reads {producer}, which isn't finished: {folder}")
            records.append(
                InputRecord(name=name, stage=producer, fingerprint=manifest.fingerprint, digest=manifest.digest)
            )
        return records

    # ------------------------------------------------------------------------------------------------- writing

    @contextlib.contextmanager
    def writer(
        self,
        stage: Stage,
        fingerprint: str,
        inputs: Sequence[InputRecord] = (),
        *,
        prefect_run_id: str | None = None,
        verify: bool = False,
        lock: ArtifactLock | None = None,
    ) -> Iterator[Writer]:
        """The folder of an artifact, for one writer. Call :meth:`Writer.publish` at the end; a block that leaves in
        any other way leaves nothing that looks finished.

        Raises:
            ArtifactLocked: another run writes it now.
        """
        folder = self.artifact_dir(stage.name, fingerprint)
        lock = lock or ArtifactLock(folder)
        lock.acquire()
        writer = Writer(self, stage, fingerprint, tuple(inputs), folder, lock, prefect_run_id)
        try:
            # Another run may have finished it while this one was on its way.
            writer.manifest = self.find(stage.name, fingerprint, writer.input_digests, verify=verify)
            if writer.manifest is None:
                writer._prepare()
            yield writer
        except BaseException:
            if writer.manifest is None and not stage.resumable and not lock.lost:
                with contextlib.suppress(OSError):
                    _empty(folder)  # it will begin anew in any case, and a full disk needs the room
            raise
        finally:
            lock.release()
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if it is empty

    # ------------------------------------------------------------------------------------------------- questions

    def plan(self, config: PipelineConfig, verify: bool = False) -> list[PlannedStage]:
        """What a run of ``config`` would do, stage by stage, and why."""
        from flows.lineage.plan import plan

        return plan(self, config, verify=verify)

    def lineage(self, reference: str) -> LineageNode:
        """The tree from an artifact (stage name, fingerprint prefix or folder) down to the source files."""
        from flows.lineage.tree import lineage

        return lineage(self, reference)

    def gc(self, dry_run: bool = True, keep_runs: int | None = None) -> list[Garbage]:
        """Remove what no run refers to any more (with ``dry_run``: only say what it is)."""
        from flows.lineage.garbage import collect

        return collect(self, dry_run=dry_run, keep_runs=keep_runs)


@dataclass
class Writer:
    """The right to write one artifact, held inside :meth:`Store.writer`."""

    store: Store
    stage: Stage
    fingerprint: str
    inputs: tuple[InputRecord, ...]
    out: Path
    lock: ArtifactLock
    prefect_run_id: str | None = None
    resumed: bool = False
    """True if ``out`` holds earlier work of the same fingerprint from the same inputs."""
    manifest: Manifest | None = None
    """Not None once the artifact is finished, by us or by another run."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def input_digests(self) -> dict[str, str]:
        return {record.name: record.digest for record in self.inputs}

    def _prepare(self) -> None:
        """Make ``out`` ready: earlier work stays if this stage can use it, anything else goes."""
        earlier = _read_unfinished(self.out)
        if earlier is None:
            manifest = Manifest.load(self.out)  # finished once, damaged since
            if manifest is not None:
                earlier = {"inputs": {record.name: record.digest for record in manifest.inputs}}
        # From here on nothing may look finished, so the manifest goes first.
        (self.out / MANIFEST).unlink(missing_ok=True)
        sync_folder(self.out)
        self.resumed = self.stage.resumable and earlier is not None and earlier.get("inputs") == self.input_digests
        if not self.resumed:
            _empty(self.out)
        begun = earlier.get("started") if self.resumed and earlier else None
        write_json(
            self.out / UNFINISHED,
            {
                "stage": self.stage.name,
                "fingerprint": self.fingerprint,
                "inputs": self.input_digests,
                "started": begun or self.started.isoformat(timespec="seconds"),
            },
        )

    def publish(self, counters: Counters) -> Manifest:
        """Hash what was written and make it an artifact. The manifest is the last file to appear.

        Raises:
            ArtifactLocked: the lock was lost on the way (the machine slept, another one took over).
        """
        if not self.lock.held():
            raise ArtifactLocked(
                "another run took this artifact over while this one was silent.",
                where=f"{self.stage.name}/{self.out.name}",
                fix="Let that run finish, or run again.",
            )
        outputs = record_outputs(self.out)
        if not outputs:
            raise RuntimeError(f"stage {self.stage.name} wrote nothing into {self.out}")
        manifest = Manifest(
            stage=self.stage.name,
            version=self.stage.version,
            fingerprint=self.fingerprint,
            config=self.stage.identity,
            inputs=self.inputs,
            outputs=outputs,
            counters=plain_counters(counters),
            provenance=provenance(),
            prefect_run_id=self.prefect_run_id,
            started=self.started,
            finished=datetime.now(UTC),
        )
        manifest.write(self.out)
        self.manifest = manifest
        (self.out / UNFINISHED).unlink(missing_ok=True)
        self.store.point_latest(self.stage.name, self.fingerprint)
        return manifest


def plain_counters(counters: Mapping[str, Any]) -> dict[str, int | float | str]:
    """Counters as JSON can hold them: numpy numbers become Python's, infinity and NaN become words."""
    plain: dict[str, int | float | str] = {}
    for name, value in counters.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, bool):
            value = int(value)
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)
        if not isinstance(value, int | float | str):
            raise TypeError(f"counter {name!r} is a {type(value).__name__}; counters are numbers or text")
        plain[str(name)] = value
    return plain


def changed_inputs(manifest: Manifest, digests: Mapping[str, str]) -> list[str]:
    """The names of the inputs whose content isn't what the artifact was made from."""
    return _differ({record.name: record.digest for record in manifest.inputs}, digests)


def _differ(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name, digest in now.items() if recorded.get(name) != digest]


def _read_unfinished(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / UNFINISHED).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _empty(folder: Path) -> None:
    """Remove everything but the lock."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
