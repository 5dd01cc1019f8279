"""Errors that a person can act on: what was wrong, where, and what to do about it."""

from __future__ import annotations


class LlmCoreError(Exception):
    """The configuration or the data can't be used as they are.

    Args:
        what: one sentence that says what was wrong.
        where: the file, line, field or row it was found at.
        fix: what to do about it.
    """

    #: Process exit code: 78 is ``EX_CONFIG`` of sysexits.h; retrying will not help.
    exit_code = 78

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(" ".join(part for part in (f"{where}:" if where else "", what, fix) if part))


class OutOfMemory(LlmCoreError):
    """The device ran out of memory even with the smallest micro-batch."""

    exit_code = 76


class Diverged(LlmCoreError):
    """The loss is not finite, or left its range and did not come back."""

    exit_code = 77


class Preempted(LlmCoreError):
    """SIGTERM or SIGINT arrived: the state is saved, and the same command resumes it (``EX_TEMPFAIL``)."""

    exit_code = 75


class DiskFull(LlmCoreError):
    """There is no room left to write to (``EX_IOERR``). What was there before is untouched."""

    exit_code = 74


class Locked(LlmCoreError):
    """Another process is at work there (``EX_CANTCREAT``). What it does is untouched."""

    exit_code = 73
