"""What MLflow was told already: a small file beside the run record, one section for each MLflow that was used.

It only saves calls. Lost, torn or out of date it does no harm: runs are found again by their tags and MLflow drops
metric points that it has, so it is written without fsync (a few hundred times a run) and read with suspicion.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.passwords import without_password

VERSION = 1
LEDGER = "mlflow.json"


class Stopped(Exception):
    """The time for this pass is over; what is left comes with the next one."""


class Ledger:
    """`ensure(what, value, act)` calls `act` unless exactly this was recorded before."""

    def __init__(self, path: Path, uri: str, keep_going: Callable[[], bool] = lambda: True) -> None:
        self.path = path
        self.target = without_password(uri)
        self.keep_going = keep_going
        self.targets: dict[str, dict[str, Any]] = _read(path)
        self.section = self.targets.setdefault(self.target, {})
        self.section.setdefault("told", {})

    def get(self, what: str) -> Any:
        """A remembered value (a run id, a reading position) or None."""
        return self.section.get(what)

    def put(self, what: str, value: Any) -> None:
        self.section[what] = value
        self.save()

    def ensure(self, what: str, value: Any, act: Callable[[], object]) -> bool:
        """Tell MLflow `value` through `act`, once. True if it had to be told.

        Raises:
            Stopped: the pass ran out of time before `act`.
            Exception: whatever `act` raises; nothing is recorded then.
        """
        return self.ensure_all({what: value}, lambda new: act())

    def ensure_all(self, facts: Mapping[str, Any], act: Callable[[set[str]], object]) -> bool:
        """:meth:`ensure` for facts that one call can tell; `act` gets the names of those that are new."""
        marks = {what: digest(value) for what, value in facts.items()}
        new = {what for what, mark in marks.items() if self.section["told"].get(what) != mark}
        if not new:
            return False
        self.check_time()
        act(new)
        self.section["told"].update({what: marks[what] for what in new})
        self.save()
        return True

    def check_time(self) -> None:
        if not self.keep_going():
            raise Stopped

    def forget(self) -> None:
        """Start over for this MLflow: look everything up again."""
        self.section = self.targets[self.target] = {"told": {}}
        self.save()

    def save(self) -> None:
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"version": VERSION, "targets": self.targets}), encoding="utf-8")
        temporary.replace(self.path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or torn by a crash: it is rebuilt from MLflow
        return {}
    if (
        not isinstance(content, dict)
        or content.get("version") != VERSION
        or not isinstance(content.get("targets"), dict)
    ):
        return {}
    return {uri: section for uri, section in content["targets"].items() if isinstance(section, dict)}


def digest(value: Any) -> str:
    """Short and stable, for values made of JSON types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def makers(runs: Path, target: str) -> Callable[[str], str | None]:
    """Fingerprint -> the MLflow run that made the artifact, out of the ledgers of all runs in the folder `runs`."""
    made: dict[str, str] = {}
    read = False

    def find(fingerprint: str) -> str | None:
        nonlocal read
        if not read:
            for path in sorted(runs.glob(f"*/{LEDGER}")):  # run ids sort by time: the newest maker wins
                made.update(_read(path).get(target, {}).get("made", {}))
            read = True
        return made.get(fingerprint)

    return find


def lock_path(record_path: Path) -> Path:
    """Held for as long as somebody tells MLflow about the run."""
    return record_path.with_name("mlflow.lock")


def ledger_path(record_path: Path) -> Path:
    return record_path.with_name(LEDGER)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if nobody else does; yields whether it is held. The kernel frees it when its holder
    dies, so there is no stale lock to take over."""
    try:
        import fcntl
    except ImportError:  # Windows: runs are found by their tags before they are made, that has to do
        yield True
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
