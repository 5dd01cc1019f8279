"""Checkpoints that are whole or absent: which are written, which are kept, and which one a run goes on from.

checkpoints/step-00001234/
    weights-00000.safetensors     what process 0 holds of the trained parameters (one file a process and group)
    optimizer-00000.safetensors   of the optimizer's tensors
    average-00000.safetensors     of the moving average of the weights, where one is kept
    index.json                    where each piece belongs
    state.json                    tokens, random number generators, guard, log position, identity of the run
    manifest.json                 size and sha256 of each
checkpoints/LATEST                the name of the newest, for people and other programs
checkpoints/BEST                  the name of the one with the lowest validation loss so far

A checkpoint is written under a temporary name, flushed file by file, then the folder, and renamed; LATEST follows.
So a crash at any moment leaves the earlier checkpoints as they were. Loading trusts nothing but the digests: it goes
back to the newest checkpoint that is intact. There is no pickle anywhere. (:mod:`llm_core.train.checkpoint_files` has
the format.)
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from llm_core.atomic import write_bytes
from llm_core.errors import DiskFull, LlmCoreError
from llm_core.train.checkpoint_files import (
    INDEX,
    STATE,
    Damaged,
    HostCopies,
    Index,
    TensorGroups,
    fill,
    layout_of,
    make_index,
    own_pieces,
    write_json_file,
    write_manifest,
    write_tensors,
)
from llm_core.train.checkpoint_folder import CheckpointFolder, trouble_with
from llm_core.train.meter import disk_error
from llm_core.train.parallel import Parallel

#: Endings of the marks by which a process tells the main one how it went.
DONE, FULL, FAILED = ".json", ".full", ".failed"
#: Seconds that the main process waits for the pieces of the others once it has written its own.
PATIENCE = 1800.0
#: Seconds between two looks at whether the others are done.
POLL = 0.02


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint, its digests checked."""

    step: int
    path: Path
    state: dict[str, Any]
    index: Index
    parallel: Parallel

    def load_into(self, groups: TensorGroups) -> None:
        """Copy into every tensor of ``groups`` what this process holds of it, in place, however many processes wrote
        the checkpoint. All processes call this together.

        Raises:
            LlmCoreError: the checkpoint holds other tensors than these.
        """
        asked = self.parallel.gather([[group, name] for group, tensors in groups.items() for name in tensors])
        ours = {(group, name) for each in asked for group, name in each}  # type: ignore[attr-defined]
        stored = {(group, name) for group in groups for name in self.index.get(group, {})}
        if ours != stored:
            group, name = min(ours ^ stored)
            raise LlmCoreError(
                f"the checkpoint's {group} belong to another model ({name} and others).", where=str(self.path)
            )
        try:
            fill(self.path, self.index, groups)
        except Damaged as error:
            raise LlmCoreError(f"the checkpoint belongs to another model: {error}.", where=str(self.path)) from error


class Checkpoints:
    """The checkpoints of one run. With several processes all of them call each method at the same point.

    Args:
        folder: ``checkpoints/`` of the artifact, the same for all processes.
        identity: all that decides the weights, as JSON values: a checkpoint of another run is refused.
        keep: so many of the newest stay.
        reach: and one that is at least so many steps older than the newest, for a rollback.
        background: write while training goes on.
        published: told the step of a checkpoint at the moment when it is safe; possibly from another thread.
        failed: told (step, why) of one that couldn't be written. The earlier ones are as they were, and training
            needn't stop; :meth:`wait` raises the error for whoever does have to know.
        beat: called whenever something was written: a slow disk is no hang.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        keep: int,
        *,
        reach: int = 0,
        parallel: Parallel | None = None,
        background: bool = False,
        published: Callable[[int], None] = lambda step: None,
        failed: Callable[[int, Exception], None] = lambda step, error: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.background = CheckpointFolder(folder, keep, reach), background
        self.identity = json.loads(json.dumps(identity, sort_keys=True))
        self.parallel = parallel or Parallel()
        self._published, self._failed, self._beat = published, failed, beat
        self._error: Exception | None = None
        self._writer: threading.Thread | None = None
        self._index: Index | None = None
        self._host = HostCopies()

    # ------------------------------------------------------------------------------------------------------- saving

    def save(self, step: int, groups: TensorGroups, state: Mapping[str, Any], *, permanent: bool = False) -> None:
        """Write the checkpoint of ``step``. When this returns ``groups`` may change; publishing may go on behind.

        Args:
            permanent: it is never deleted to make room for later ones.
        """
        self.join()
        if self._error is not None and not isinstance(self._error, OSError | DiskFull):
            raise self._error  # not the disk: trying again will not help
        temporary = self._begin(step)
        if self._index is None:  # who holds what doesn't change while a run goes on
            layouts: Any = self.parallel.gather(layout_of(groups))
            self._index = make_index(layouts)
        files = own_pieces(groups, self._index, self.parallel.rank)
        described = {"step": step, "identity": self.identity, **state}
        if not self.background:
            self._write(temporary, step, partial(self._write_once, temporary, step, files, described, permanent))
            return
        copies = self._host.of(files)
        write_once = partial(self._write_once, temporary, step, copies, described, permanent)
        self._writer = threading.Thread(target=self._write, args=(temporary, step, write_once), name="checkpoint")
        self._writer.start()

    def join(self) -> None:
        """Until what is being written in the background is published, or has failed."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def wait(self) -> None:
        """As :meth:`join`.

        Raises:
            DiskFull, OSError: the last checkpoint could not be written.
        """
        self.join()
        if self._error is not None:
            raise self._error

    @property
    def last_failed(self) -> bool:
        """Whether the last checkpoint could not be written. Asks after :meth:`join`."""
        self.join()
        return self._error is not None

    def mark_best(self, step: int) -> None:
        """The checkpoint of ``step`` has the best validation so far: it stays, and BEST names it."""
        self.join()
        if self.parallel.is_main:
            try:
                self.folder.mark_best(step)
            except OSError as error:
                self._failed(step, disk_error(error, self.folder.path))

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints of later steps: training went back to this one and takes another course from here."""
        self.join()
        if self.parallel.is_main:
            self.folder.forget_after(step)

    def make_room(self) -> None:
        """Give up what isn't needed to go on: all ephemeral checkpoints but the best and the newest that is intact."""
        self.join()
        if self.parallel.is_main:
            self.folder.make_room()

    def _begin(self, step: int) -> Path:
        """The folder to write into, which all processes agree on."""
        temporary = self.folder.path / f"{self.folder.of(step).name}.{os.getpid()}.tmp"
        if self.parallel.is_main:
            with contextlib.suppress(OSError):  # the writing itself finds out, and tells
                self.folder.path.mkdir(parents=True, exist_ok=True)
                self.folder.remove_leftovers()
                temporary.mkdir()
        return self.folder.path / str(self.parallel.gather(temporary.name)[0])

    def _write(self, temporary: Path, step: int, write_once: Callable[[], None]) -> None:
        """Write this process's part, making room for it where that is needed. Tells how it went, never raises."""
        try:
            try:
                write_once()
            except Exception as error:
                if not isinstance(disk_error(error, self.folder.path), DiskFull):
                    raise
                self.folder.make_room()
                write_once()
        except Exception as error:
            self._error = disk_error(error, self.folder.path)
            self._give_up(temporary)
            with contextlib.suppress(DiskFull):  # the log is on the same disk
                self._failed(step, self._error)
            return
        self._error = None
        with contextlib.suppress(OSError, DiskFull):
            if self.parallel.is_main:
                self.folder.prune(step)
            self._published(step)

    def _write_once(
        self,
        temporary: Path,
        step: int,
        files: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        permanent: bool,
    ) -> None:
        """Write this process's part; the main process then publishes the whole."""
        rank = self.parallel.rank
        if self.parallel.is_main:
            temporary.mkdir(parents=True, exist_ok=True)
        written = {name: write_tensors(temporary / name, tensors, self._beat) for name, tensors in files.items()}
        if not self.parallel.is_main:
            write_bytes(temporary / _mark(rank, DONE), json.dumps(written).encode())
            self._await_publication(temporary, step)
            return
        for other in range(1, self.parallel.world_size):
            written |= _await_pieces(temporary, other)
        written[STATE] = write_json_file(temporary / STATE, state)
        written[INDEX] = write_json_file(temporary / INDEX, self._index)
        write_manifest(temporary, step, written, permanent=permanent)
        self.folder.publish(temporary, step)
        for other in range(1, self.parallel.world_size):
            (self.folder.of(step) / _mark(other, DONE)).unlink(missing_ok=True)

    def _await_publication(self, temporary: Path, step: int) -> None:
        while temporary.exists():
            time.sleep(POLL)
        if not self.folder.of(step).is_dir():
            raise OSError(f"the main process could not publish {self.folder.of(step).name}")

    def _give_up(self, temporary: Path) -> None:
        """Leave nothing that is half. A process that isn't the main one asks that one to give up, by an empty file: a
        full disk has room for that."""
        if self.parallel.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
            return
        with contextlib.suppress(OSError):
            ending = FULL if isinstance(self._error, DiskFull) else FAILED
            (temporary / _mark(self.parallel.rank, ending)).touch()

    # ------------------------------------------------------------------------------------------------------ loading

    def newest(self, damaged: Callable[[str, str], None], *, before: int | None = None) -> Checkpoint | None:
        """The newest intact checkpoint, or None.

        Args:
            before: only of earlier steps than this one.
            damaged: told (checkpoint, what is wrong with it) for each that had to be passed over.

        Raises:
            LlmCoreError: it belongs to a run of another configuration or other inputs; says what differs.
        """
        self.join()
        if self.parallel.is_main:
            self.folder.remove_leftovers()
        steps: Any = self.parallel.gather(self.folder.steps()[::-1])[0]
        for step in steps:
            if before is not None and step >= before:
                continue
            path = self.folder.of(step)
            # Each process hashes some of the files, and all come to the same verdict.
            troubles = self.parallel.gather(trouble_with(path, step, self.parallel.rank, self.parallel.world_size))
            trouble = next((str(each) for each in troubles if each is not None), None)
            if trouble is None:
                return self._load(path, step)
            damaged(path.name, trouble)
        return None

    def _load(self, path: Path, step: int) -> Checkpoint:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        changed = differences(state["identity"], self.identity)
        if changed:
            raise LlmCoreError(
                "the checkpoint belongs to another run: " + "; ".join(changed) + ".",
                where=str(path),
                fix="Go back to the configuration that wrote it, or delete the folder to start anew.",
            )
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        return Checkpoint(step, path, state, index, self.parallel)


def differences(theirs: Any, ours: Any, at: str = "") -> list[str]:
    """What differs between two trees of JSON values, each as ``a.b: 1 there, 2 here``."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found: list[str] = []
        for key in sorted(theirs.keys() | ours.keys()):
            here = f"{at}.{key}" if at else key
            found += differences(theirs.get(key, "absent"), ours.get(key, "absent"), here)
        return found
    return [] if theirs == ours else [f"{at}: {theirs} there, {ours} here"]


def _mark(rank: int, ending: str) -> str:
    return f"rank-{rank:05d}{ending}"


def _await_pieces(temporary: Path, rank: int) -> dict[str, Any]:
    """What process ``rank`` has written, once it has."""
    deadline = time.monotonic() + PATIENCE
    while not (temporary / _mark(rank, DONE)).exists():
        if (temporary / _mark(rank, FULL)).exists():
            raise OSError(errno.ENOSPC, f"process {rank} found the disk full", str(temporary))
        if (temporary / _mark(rank, FAILED)).exists():
            raise OSError(f"process {rank} could not write its part of the checkpoint")
        if time.monotonic() > deadline:
            raise OSError(f"process {rank} has not written its part of the checkpoint for {PATIENCE:.0f} s")
        time.sleep(POLL)
    found: dict[str, Any] = json.loads((temporary / _mark(rank, DONE)).read_bytes())
    return found
