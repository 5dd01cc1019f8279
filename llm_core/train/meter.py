"""The training log: JSON lines that are whole or absent, and how fast the training goes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm_core.errors import DiskFull
from llm_core.train.peaks import Peaks

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
#: Steps on a GPU before its speed is measured.
WARM_UP_STEPS = 10


class JsonLines:
    """Appends one JSON object a line, in one write, so that a reader never sees half of a line that is finished.

    On a full disk lines wait in memory until there is room again: training needn't stop for its log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._waiting = b""
        self._lock = threading.Lock()  # checkpoints are told of from a thread
        self._drop_half_line()

    def _drop_half_line(self) -> None:
        """A line that was cut short by a crash goes away."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.ftruncate(self._file, end)

    def append(self, record: dict[str, Any]) -> None:
        with self._lock:
            self._waiting += json.dumps(record, allow_nan=False, default=float).encode() + b"\n"
            with contextlib.suppress(DiskFull):
                self._write()

    def _write(self) -> None:
        size = self.size()
        try:
            if os.write(self._file, self._waiting) < len(self._waiting):
                os.ftruncate(self._file, size)
                raise OSError(errno.ENOSPC, "half a line was written")
        except OSError as error:
            raise disk_error(error, self.path) from error
        self._waiting = b""

    def size(self) -> int:
        """Bytes so far."""
        return os.fstat(self._file).st_size

    def sync(self, make_room: Callable[[], None] | None = None) -> int:
        """Flush to the disk; the size then.

        Args:
            make_room: called where the disk is full, before the last try.

        Raises:
            DiskFull: lines still wait in memory.
        """
        with self._lock:
            if self._waiting:
                try:
                    self._write()
                except DiskFull:
                    if make_room is None:
                        raise
                    make_room()
                    self._write()
            os.fsync(self._file)
            return self.size()

    def cut(self, size: int) -> None:
        """Forget what was written after ``size`` bytes."""
        with self._lock:
            self._waiting = b""
            if size < self.size():
                os.ftruncate(self._file, size)

    def close(self) -> None:
        os.close(self._file)


class NoLines(JsonLines):
    """The log of a process that isn't the main one: nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        pass

    def size(self) -> int:
        return 0

    def sync(self, make_room: Callable[[], None] | None = None) -> int:
        return 0

    def cut(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


def finite(value: float) -> float | None:
    """JSON has no NaN and no infinity: they are told as null."""
    return value if value == value and abs(value) != float("inf") else None


#: "No space left on device", "disk quota exceeded", "file too large" (a limit on file size).
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_error(error: Exception, path: Path | str) -> Exception:
    """A full disk, quota or limit as an error for people; any other error as it is."""
    # safetensors tells the system's error as text inside of an error of its own.
    told = any(f"(os error {number})" in str(error) for number in _FULL)
    if told or (isinstance(error, OSError) and error.errno in _FULL):
        return DiskFull(
            "there is no room left on the disk.",
            where=str(path),
            fix="Free some space and start again: it resumes from the last checkpoint.",
        )
    return error


class Meter:
    """How fast the training goes: tokens per second, and what share of the device that is.

    Pauses (validation, checkpoints) don't count, nor do the first steps, which pay for allocation and compilation.

    Args:
        flops_per_token: of a forward and backward pass; 0 where it isn't known.
        peaks: of each of ``devices`` devices.
    """

    def __init__(
        self, device: torch.device, flops_per_token: float = 0.0, peaks: Peaks | None = None, devices: int = 1
    ) -> None:
        self.device, self.flops_per_token, self.peaks, self.devices = device, flops_per_token, peaks, devices
        self._warm_up_steps = WARM_UP_STEPS if device.type == "cuda" else 1
        self._steps = 0
        self._began = time.perf_counter()
        self._lap, self._measured, self._all = _Lap(), _Lap(), _Lap()

    def stepped(self, tokens: int) -> None:
        """One more step was begun, on so many tokens."""
        self._lap.tokens += tokens
        self._steps += 1
        if self._steps == self._warm_up_steps:
            self._take_time()
            self._all.add(self._lap)
            self._lap = _Lap()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here isn't training."""
        self._take_time()
        try:
            yield
        finally:
            self._began = time.perf_counter()

    def recent(self) -> dict[str, float]:
        """Metrics since this was asked the last time. Waits for the device; what isn't known is left out."""
        self._take_time()
        found: dict[str, float] = {"perf/memory_bytes": memory_in_use(self.device)}
        if self._steps > self._warm_up_steps:
            found["perf/tokens_per_second"] = round(self._lap.speed(), 1)
            found |= {f"perf/{name}": value for name, value in self.utilization(self._lap.speed()).items()}
            self._measured.add(self._lap)
            self._all.add(self._lap)
            self._lap = _Lap()
        return found

    def overall(self) -> float:
        """Tokens per second of the whole training; of the first steps only where there were no others."""
        self.recent()
        measured = self._measured if self._measured.tokens else self._all
        return measured.speed()

    def utilization(self, tokens_per_second: float) -> dict[str, float]:
        """`mfu_nominal` and `mfu_measured`, as far as the peaks are known."""
        if self.peaks is None or not self.flops_per_token:
            return {}
        flops = tokens_per_second * self.flops_per_token / self.devices
        peaks = {"mfu_nominal": self.peaks.nominal, "mfu_measured": self.peaks.measured}
        return {name: round(flops / peak, 4) for name, peak in peaks.items() if peak}

    def _take_time(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        time_now = time.perf_counter()
        self._lap.seconds += time_now - self._began
        self._began = time_now


@dataclass
class _Lap:
    tokens: int = 0
    seconds: float = 0.0

    def add(self, other: _Lap) -> None:
        self.tokens += other.tokens
        self.seconds += other.seconds

    def speed(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


def memory_in_use(device: torch.device) -> int:
    """Bytes: on a GPU the most that tensors took so far, else what this process holds of the main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # not Linux: the largest so far
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024


def now() -> float:
    """Unix time in seconds."""
    return round(time.time(), 3)
