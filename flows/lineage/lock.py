"""One writer per artifact: ``lock.json`` in its folder, with host, process and a heartbeat.

The lock of a process that died is taken over: on the same machine at once, since a process can be asked after; on
another machine once its heartbeat has been silent for ``SILENCE`` seconds. A live one is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.errors import ArtifactLocked
from flows.lineage.atomic import write_json
from flows.lineage.manifest import LOCK

#: Seconds between two heartbeats.
HEARTBEAT = 5.0
#: Seconds without one after which a writer on another machine counts as dead.
SILENCE = 120.0
#: Seconds that a dead run's trainer gets to save its state and leave, before we say that the artifact is taken.
PATIENCE = 40.0

_log = logging.getLogger(__name__)


class ArtifactLock:
    """Held from :meth:`acquire` to :meth:`release`; a daemon thread keeps its heartbeat going."""

    def __init__(
        self,
        folder: Path,
        *,
        heartbeat: float = HEARTBEAT,
        silence: float = SILENCE,
        patience: float = PATIENCE,
    ) -> None:
        self.path = folder / LOCK
        self._heartbeat, self._silence, self._patience = heartbeat, silence, patience
        self._token = secrets.token_hex(8)
        self._body: dict[str, Any] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost = False

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ArtifactLocked: a living process holds it; the message says which, since when, and what to do.
        """
        self._body = {
            "token": self._token,
            "host": socket.gethostname(),
            "namespace": _namespace(),
            "pid": os.getpid(),
            "process_started": _started(os.getpid()),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "children": [],
        }
        deadline = time.monotonic() + self._patience
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with _alone(self.path.parent):
                    holder = read_lock(self.path)
                    state = self._state(holder)
                    if state == "free":
                        write_json(self.path, self._body)
                        break
            except FileNotFoundError:  # the last holder took the empty folder away between two of our steps
                continue
            if state == "held" or time.monotonic() > deadline:
                raise _refusal(self.path, holder or {})
            time.sleep(0.2)  # the run died, its trainer is still saving: it leaves by itself
        self._thread = threading.Thread(target=self._beat, name="artifact-lock-heartbeat", daemon=True)
        self._thread.start()

    def adopt(self, pid: int) -> None:
        """Count a child process as a writer too, so that nobody takes over while it still saves."""
        self._body["children"].append({"pid": pid, "process_started": _started(pid)})
        with _alone(self.path.parent):
            if self.held():
                write_json(self.path, self._body)

    def held(self) -> bool:
        """True while the lock file is still ours (a machine that slept for long may have lost it)."""
        found = read_lock(self.path)
        return found is not None and found.get("token") == self._token

    def release(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(FileNotFoundError), _alone(self.path.parent):
            if self.held():
                self.path.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat):
            try:
                if not self.held():
                    self.lost = True
                    return
                os.utime(self.path)
            except OSError as error:  # a network disk that hiccups: the next beat may get through
                _log.warning("the heartbeat of %s failed: %s", self.path, error)

    def _state(self, holder: dict[str, Any] | None) -> str:
        """`free`, `held`, or `saving`: the run is dead, a child process of it is not."""
        if holder is None:
            return "free"
        if holder.get("host") != socket.gethostname() or holder.get("namespace") != _namespace():
            return "free" if _silent_for(self.path) > self._silence else "held"
        if _alive(holder):
            return "held"
        return "saving" if any(_alive(child) for child in holder.get("children", ())) else "free"


def read_lock(path: Path) -> dict[str, Any] | None:
    """What stands in a lock file; None where there is none, and for rubbish (it is written in one step)."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_locked(folder: Path) -> bool:
    """True while a living writer works in ``folder``."""
    lock = ArtifactLock(folder)
    return lock._state(read_lock(lock.path)) != "free"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Judging a lock and replacing it must be one step, or two runs that find a stale one both take it over."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _namespace() -> str:
    """Process ids mean nothing across containers, which may share a host name."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """What tells this process from a later one with the same id; None if there is none.

    On Linux the clock tick since boot, and which boot: the wall clock may be put right while a process lives.
    """
    import psutil

    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{ticks}"
    except (OSError, IndexError):
        pass  # not Linux, or no such process: psutil knows
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return None


def _alive(process: dict[str, Any]) -> bool:
    """A process of that id that began at that moment: ids are given out again. A zombie is dead."""
    import psutil

    try:
        pid = int(process.get("pid") or -1)
        if pid <= 0 or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, TypeError):
        return False
    began = process.get("process_started")
    return began is None or began == _started(pid)


def _silent_for(path: Path) -> float:
    """Seconds since the last heartbeat, by the clock of the disk: two machines' clocks may differ."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _refusal(path: Path, holder: dict[str, Any]) -> ArtifactLocked:
    pid, host = holder.get("pid"), holder.get("host")
    same = host == socket.gethostname()
    stop = f"stop it (`kill {pid}`)" if same else "stop it there"
    gone = "" if same else f" If that machine is gone, its lock is taken over after {SILENCE:.0f} s of silence."
    return ArtifactLocked(
        f"another run is writing this artifact: process {pid} on {host}, since {holder.get('since')}.",
        where="/".join(path.parent.parts[-2:]),
        fix=f"Wait until it ends, {stop}, or choose another workspace (--set runtime.workspace=...).{gone}",
    )
