"""The training log: JSON lines that are whole or absent, and how fast the training goes."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from llm_core.errors import DiskFull

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"


class JsonLines:
    """Appends one JSON object a line, in one write, so that a reader never sees half of a line that is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._drop_half_line()

    def _drop_half_line(self) -> None:
        """A line that was cut short by a crash goes away."""
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.ftruncate(self._file, end)

    def append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False, default=float).encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, "half a line was written")
        except OSError as error:
            raise disk_error(error, self.path) from error

    def size(self) -> int:
        """Bytes so far."""
        return os.fstat(self._file).st_size

    def sync(self) -> int:
        """Flush to the disk; the size then."""
        os.fsync(self._file)
        return self.size()

    def cut(self, size: int) -> None:
        """Forget what was written after ``size`` bytes."""
        if size < self.size():
            os.ftruncate(self._file, size)

    def close(self) -> None:
        os.close(self._file)


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


class Speed:
    """Tokens per second of training alone: pauses (validation, checkpoints) don't count, nor does the first step."""

    def __init__(self) -> None:
        self._tokens = 0
        self._seconds = 0.0
        self._warm = False
        self.total_tokens = 0
        self.total_seconds = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        if not self._warm:  # the first step pays for allocation and lazy imports
            self._warm = True
            return
        self._tokens += tokens
        self._seconds += seconds
        self.total_tokens += tokens
        self.total_seconds += seconds

    def recent(self) -> float:
        """Since this was asked the last time."""
        speed = self._tokens / self._seconds if self._seconds else self.overall()
        self._tokens, self._seconds = 0, 0.0
        return speed

    def overall(self) -> float:
        return self.total_tokens / self.total_seconds if self.total_seconds else 0.0


def now() -> float:
    """Unix time in seconds."""
    return round(time.time(), 3)
