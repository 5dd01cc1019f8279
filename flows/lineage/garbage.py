"""What nobody needs any more: artifacts that no kept run refers to, and unfinished work that nobody took up again."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from flows.lineage.lock import is_locked
from flows.lineage.manifest import MANIFEST, UNFINISHED, Manifest
from flows.lineage.store import Store
from flows.run_record import all_runs

#: Seconds after which unfinished work counts as given up.
DAY = 86_400.0


@dataclass(frozen=True)
class Garbage:
    """A folder that can go: how large it is, and why it isn't needed."""

    path: Path
    bytes: int
    why: str


def collect(store: Store, *, dry_run: bool = True, keep_runs: int | None = None) -> list[Garbage]:
    """Find what isn't needed, and remove it unless ``dry_run``.

    Kept: the latest artifact of every stage, all that the kept runs made or reused, and everything that those were
    made from. What a run that goes on at this moment reads or writes is never touched.

    Args:
        keep_runs: how many of the newest runs to keep the artifacts of; None: of all.
    """
    runs = all_runs(store.workspace)
    first = 0 if keep_runs is None else max(0, len(runs) - keep_runs)
    kept_runs = runs[first:] + [run for run in runs[:first] if run.is_alive()]
    kept = {store.artifact_dir(stage.name, stage.fingerprint) for run in kept_runs for stage in run.stages}
    finished = {path: manifest for stage in _stages(store) for path, manifest in store.finished(stage)}
    latest = (store.latest(stage) for stage in _stages(store))
    waiting = [*kept, *(found[0] for found in latest if found)]
    kept = set()
    while waiting:
        folder = waiting.pop()
        if folder in kept:
            continue
        kept.add(folder)
        manifest = finished.get(folder)
        waiting += [store.artifact_dir(i.stage, i.fingerprint) for i in manifest.inputs] if manifest else []
    found = []
    for stage in _stages(store):
        for folder in sorted((store.artifacts / stage).iterdir()):
            if folder.is_symlink() or not folder.is_dir() or is_locked(folder):
                continue
            why = _why(folder, finished.get(folder), folder in kept)
            if why:
                found.append(Garbage(folder, size_of(folder), why))
    if not dry_run:
        for garbage in found:
            (garbage.path / MANIFEST).unlink(missing_ok=True)  # it stops being an artifact before it is taken apart
            shutil.rmtree(garbage.path)
    return found


def _stages(store: Store) -> list[str]:
    return sorted(path.name for path in store.artifacts.glob("*") if path.is_dir())


def _why(folder: Path, manifest: Manifest | None, kept: bool) -> str | None:
    if manifest is not None:
        return None if kept else "no run that is kept refers to it"
    mark = folder / UNFINISHED
    age = time.time() - (mark if mark.exists() else folder).stat().st_mtime
    newest = max((p.stat().st_mtime for p in folder.rglob("*") if p.is_file()), default=0.0)
    idle = min(age, time.time() - newest)
    return f"unfinished, untouched for {idle / DAY:.0f} days" if idle > DAY else None


def size_of(folder: Path) -> int:
    """Bytes of all files in ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
