"""Ends a process that hangs, so that it is started again, and says where it hung.

A GPU that no longer answers, a collective that waits for a process which is gone, a network disk that is away: the
training then stands still for good and nobody is told. Here a thread looks after it. Everything that is progress calls
:meth:`Watchdog.beat`; where none came for too long, the stacks of all threads are written down and the process ends
with the exit code that means "start me again".
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from llm_core.errors import Preempted

HEARTBEAT, REPORT = "heartbeat", "hang.txt"
#: Without a limit in the configuration: so many times the median step, and at least so many seconds.
MEDIANS, AT_LEAST = 20.0, 600.0
#: Steps that the median is taken of.
WINDOW = 101
#: Seconds between two looks, and between two touches of the heartbeat file.
LOOK = 1.0
#: Seconds that writing the report may take: the disk may be what hangs.
REPORT_SECONDS = 10.0


class Watchdog:
    """Watches while it is entered.

    Args:
        out: gets ``heartbeat``, whose time of change is that of the last progress (for watchers outside), and on a
            hang ``hang.txt``. Of several processes the others than the first write ``hang-00001.txt`` and so on.
        hang_seconds: the longest time without progress; 0: 20 times the median step, at least 10 minutes.
        hung: called with the seconds without progress before the process ends, from another thread.
    """

    def __init__(self, out: Path, hang_seconds: float, hung: Callable[[float], None], rank: int = 0) -> None:
        self.heartbeat = out / HEARTBEAT if rank == 0 else None
        self.report = out / (REPORT if rank == 0 else f"hang-{rank:05d}.txt")
        self.hang_seconds, self._hung = hang_seconds, hung
        self._steps: deque[float] = deque(maxlen=WINDOW)  # seconds each
        self._beaten = self._stepped = time.monotonic()
        self._touched = -float("inf")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._stepped = time.monotonic()
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self.heartbeat is not None:
            self.heartbeat.unlink(missing_ok=True)

    def beat(self) -> None:
        """There was progress. Costs next to nothing."""
        self._beaten = time.monotonic()
        if self.heartbeat is not None and self._beaten - self._touched >= LOOK:
            self._touched = self._beaten
            with contextlib.suppress(OSError):  # a full disk is no hang
                self.heartbeat.touch()

    def step(self) -> None:
        """A step is done."""
        self.beat()
        self._steps.append(self._beaten - self._stepped)
        self._stepped = self._beaten

    @property
    def limit(self) -> float:
        """Seconds without progress from which on it is a hang."""
        if self.hang_seconds:
            return self.hang_seconds
        return max(AT_LEAST, MEDIANS * statistics.median(self._steps)) if self._steps else AT_LEAST

    def _watch(self) -> None:
        while not self._end.wait(min(LOOK, self.limit / 4)):
            silent = time.monotonic() - self._beaten
            if silent > self.limit:
                telling = threading.Thread(target=self._tell, args=(silent,), daemon=True)
                telling.start()
                telling.join(REPORT_SECONDS)
                os._exit(Preempted.exit_code)  # whatever hangs would not let go

    def _tell(self, silent: float) -> None:
        with contextlib.suppress(OSError), self.report.open("w", encoding="utf-8") as file:
            file.write(f"No progress for {silent:.0f} s. Where each thread was:\n\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self._hung(silent)
