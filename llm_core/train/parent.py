"""A trainer doesn't outlive the process that started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

#: Seconds that a process gets to save after its parent died, before it ends at once.
ORPHAN_GRACE = 30.0


def follow_the_parent() -> None:
    """On Linux, ask the kernel for SIGTERM when the parent dies, whatever way."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def end_as_orphan(exit_code: int, grace: float = ORPHAN_GRACE) -> None:
    """For one of several processes, which torchrun puts into sessions of their own: no group's end reaches it. If it
    waits for others that are gone SIGTERM doesn't end it either. So a thread does, some time after the parent died."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        time.sleep(grace)
        os._exit(exit_code)

    threading.Thread(target=watch, name="orphan", daemon=True).start()
