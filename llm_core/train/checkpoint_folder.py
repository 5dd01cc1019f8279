"""``checkpoints/`` as a whole: how a checkpoint comes to be there at one moment, and which ones stay."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from llm_core.atomic import write_bytes
from llm_core.train.checkpoint_files import Damaged, damage, read_manifest

LATEST, BEST = "LATEST", "BEST"
PREFIX, REPLACED = "step-", ".replaced"


class CheckpointFolder:
    """Ephemeral checkpoints, of which the last few stay, permanent ones, and the best. One process changes it.

    Args:
        keep: so many of the newest ephemeral ones stay.
        reach: and, for a rollback, one that is at least so many steps older than the newest.
    """

    def __init__(self, path: Path, keep: int, reach: int = 0) -> None:
        self.path, self.keep, self.reach = path, keep, reach
        self._best = self._read_best()

    def of(self, step: int) -> Path:
        """Where the checkpoint of ``step`` is, or would be."""
        return self.path / f"{PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """Steps of all checkpoints that were published, intact or not; the earliest first."""
        names = [path.name for path in self.path.glob(f"{PREFIX}*") if path.is_dir()]
        return sorted(int(name.removeprefix(PREFIX)) for name in names if name.removeprefix(PREFIX).isdigit())

    def publish(self, temporary: Path, step: int) -> None:
        """Give a folder that is complete its name."""
        flush(temporary)
        final = self.of(step)
        replaced = final.with_name(final.name + REPLACED)
        if final.exists():  # a damaged one, or one from before training was rolled back
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
        os.rename(temporary, final)  # noqa: PTH104 (the one moment that counts: plain to see)
        flush(self.path)
        shutil.rmtree(replaced, ignore_errors=True)
        with contextlib.suppress(OSError):  # nothing here reads it, and the next checkpoint puts it right
            write_bytes(self.path / LATEST, f"{final.name}\n".encode())

    def remove_leftovers(self) -> None:
        """Clear away what a crash left behind."""
        for path in self.path.glob(f"*{REPLACED}"):  # killed between two renames: the old one goes back
            final = path.with_name(path.name.removesuffix(REPLACED))
            shutil.rmtree(path, ignore_errors=True) if final.exists() else path.rename(final)
        for path in self.path.glob("*.tmp"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def prune(self, newest: int) -> None:
        """Keep the last few and those that are kept for good. Later ones than ``newest`` were damaged and passed over,
        or belong to a course that was given up: they go too."""
        self.forget_after(newest)
        steps = self.steps()
        ephemeral = [step for step in steps if not self._is_permanent(step)]
        old_enough = [step for step in steps if step <= newest - self.reach]
        coming_of_age = [step for step in steps if step > newest - self.reach]
        kept = {*ephemeral[-self.keep :], *old_enough[-1:], *coming_of_age[:1], self._best, newest}
        for step in ephemeral:
            if step not in kept:
                self._delete(step)

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._delete(later)
        if self._best is not None and self._best > step:
            self._best = None
            (self.path / BEST).unlink(missing_ok=True)

    def make_room(self) -> None:
        """Delete what isn't needed to go on: all ephemeral checkpoints but the best and the newest that is intact."""
        intact = False
        for step in reversed(self.steps()):
            if not intact and trouble_with(self.of(step), step) is None:
                intact = True
            elif step != self._best and not self._is_permanent(step):
                self._delete(step)

    def mark_best(self, step: int) -> None:
        """The checkpoint of ``step`` stays until there is a better one, and BEST names it.

        Raises:
            OSError: BEST can't be written; the checkpoint stays all the same.
        """
        if self.of(step).is_dir():
            self._best = step
            write_bytes(self.path / BEST, f"{self.of(step).name}\n".encode())

    def _read_best(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            step = int((self.path / BEST).read_text(encoding="utf-8").strip().removeprefix(PREFIX))
            return step if self.of(step).is_dir() else None
        return None

    def _is_permanent(self, step: int) -> bool:
        try:
            return bool(read_manifest(self.of(step))["permanent"])
        except Damaged:
            return False

    def _delete(self, step: int) -> None:
        shutil.rmtree(self.of(step), ignore_errors=True)


def trouble_with(path: Path, step: int, rank: int = 0, ranks: int = 1) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is intact. Of ``ranks`` processes each looks at other
    files."""
    try:
        manifest = read_manifest(path)
    except Damaged as error:
        return str(error)
    if manifest["step"] != step:
        return f"it is the checkpoint of step {manifest['step']}, in a folder of another name"
    return damage(path, sorted(manifest["files"])[rank::ranks], manifest["files"])


def flush(folder: Path) -> None:
    """fsync a folder, so that a rename in it is for good. Systems that can't open one (Windows) do well without."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
