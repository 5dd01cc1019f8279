"""One trainer per run directory: two of them would overwrite each other's checkpoints.

The lock is the system's own (flock) on ``trainer.lock``, so it ends with the process that holds it, however that dies;
what stands in the file is for people. A second trainer is refused and says who is at work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from llm_core.errors import Locked

LOCK = "trainer.lock"


@contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the lock of the run directory ``out``. It goes with whoever holds it.

    Raises:
        Locked: a living process holds it.
    """
    path = out / LOCK
    descriptor = _take(path)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # while it is still ours
        os.close(descriptor)


def _take(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 10_000, 0)
            os.close(descriptor)
            raise _refusal(path, holder) from None
        # The last holder may have deleted the file between the two calls: then this lock is on nothing.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    told = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
    with contextlib.suppress(OSError):  # a full disk: the lock holds without words
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(told).encode(), 0)
    return descriptor


def _refusal(path: Path, content: bytes) -> Locked:
    try:
        told = json.loads(content)
        who = f"process {told['pid']} on {told['host']}, since {told['started']}"
        stop = f"stop it (`kill {told['pid']}`" + ("" if told["host"] == socket.gethostname() else " there") + ")"
    except (ValueError, KeyError, TypeError):  # it has the lock and hasn't yet said who it is
        who, stop = "another process", "stop it"
    return Locked(
        f"another trainer is at work in this folder: {who}.",
        where=str(path),
        fix=f"Wait until it ends, {stop}, or choose another folder.",
    )
