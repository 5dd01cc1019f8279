"""Errors of the conductor, and the one place that turns any error into a sentence for people and an exit code.

Exit codes follow ``sysexits.h`` where it has a word for it: 69 a server is out of reach, 73 the artifact is taken, 74
the disk, 75 stopped with everything saved, 76 out of memory, 77 diverged, 78 the configuration or the data.
"""

from __future__ import annotations

import errno
import os

EXIT_UNAVAILABLE = 69
EXIT_LOCKED = 73
EXIT_DISK = 74
EXIT_PREEMPTED = 75
EXIT_OUT_OF_MEMORY = 76
EXIT_DIVERGED = 77
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

#: "No space left on device", "disk quota exceeded", "file too large" (a limit on file size): all mean a full disk.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class UserError(Exception):
    """Something that the person at the keyboard can put right.

    Args:
        what: one sentence that says what was wrong.
        where: the file, field or artifact it was found at.
        fix: what to do about it.
        exit_code: of the process.
    """

    def __init__(self, what: str, where: str = "", fix: str = "", exit_code: int = EXIT_CONFIG) -> None:
        self.what, self.where, self.fix, self.exit_code = what, where, fix, exit_code
        super().__init__(" ".join(part for part in (f"{where}:" if where else "", what, fix) if part))


class ArtifactLocked(UserError):
    """Another run is writing the artifact at this moment."""

    def __init__(self, what: str, where: str = "", fix: str = "", exit_code: int = EXIT_LOCKED) -> None:
        super().__init__(what, where, fix, exit_code)


class DiskFull(UserError):
    """The disk has no room left. What was finished before stays; what was being written doesn't look finished."""

    def __init__(self, what: str, where: str = "", fix: str = "", exit_code: int = EXIT_DISK) -> None:
        super().__init__(what, where, fix, exit_code)


class StageFailed(UserError):
    """The child process of a stage ended with an error. ``message`` is its own account of it."""

    def __init__(self, stage: str, exit_code: int, message: str) -> None:
        self.stage, self.message = stage, message
        super().__init__(message, where=stage, exit_code=exit_code)


class Preempted(StageFailed):
    """The stage was told to stop, saved its state and stopped. The same command goes on from there."""

    def __init__(self, stage: str, message: str = "") -> None:
        super().__init__(
            stage, EXIT_PREEMPTED, message or "stopped; the work is saved. Run the same command to resume."
        )


def chain_of(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


def is_disk_full(error: BaseException) -> bool:
    """True for an operating system error that means a full disk, also deep in the chain of causes."""
    return any(
        isinstance(e, DiskFull)
        or (isinstance(e, OSError) and e.errno in _FULL)
        # pyarrow and SQLite raise their own types and keep the text only.
        or "No space left on device" in str(e)
        for e in chain_of(error)
    )


def disk_full(error: BaseException, where: str = "") -> DiskFull:
    """The error for people that stands for ``error``."""
    if isinstance(error, DiskFull):
        return error
    path = next((str(e.filename) for e in chain_of(error) if isinstance(e, OSError) and e.filename), "")
    return DiskFull(
        f"the disk is full{f' (writing {path})' if path else ''}.",
        where=where,
        fix="Nothing finished is lost. Make room (`groundup gc` lists what is no longer used), then run again.",
    )


def is_server_unreachable(error: BaseException) -> bool:
    """True where Prefect's server didn't answer. (Only Prefect speaks through httpx here; MLflow can't stop a run.)"""
    return any(
        "Failed to reach API at" in str(e)
        or any(f"{kind.__module__}.{kind.__name__}" == "httpx.TransportError" for kind in type(e).__mro__)
        for e in chain_of(error)
    )


def server_unreachable(error: BaseException) -> UserError:
    """The error for people that stands for ``error``."""
    said = str(error).splitlines() or [type(error).__name__]
    return UserError(
        f"Prefect's server can't be reached ({said[0]}).",
        where=f"PREFECT_API_URL={os.environ.get('PREFECT_API_URL', '')}",
        fix="Start it, or unset PREFECT_API_URL: the run then brings its own. Nothing finished is lost.",
        exit_code=EXIT_UNAVAILABLE,
    )


def _speaks_to_people(error: BaseException) -> bool:
    """Errors of this project carry ``what`` and ``exit_code``; the libraries' own classes need not be imported."""
    return isinstance(getattr(error, "what", None), str) and isinstance(getattr(error, "exit_code", None), int)


def explain(error: BaseException) -> str | None:
    """What went wrong in words for people. None: a real bug, whose traceback should be shown."""
    if _speaks_to_people(error):
        return str(error)
    if is_disk_full(error):
        return str(disk_full(error))
    if is_server_unreachable(error):
        return str(server_unreachable(error))
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TerminationSignal":
        return "interrupted. What was finished is kept; run the same command to go on."
    if _is_validation_error(error):
        from flows.config import explain_validation_error

        return explain_validation_error(error)  # type: ignore[arg-type]
    cause = error.__cause__
    return explain(cause) if cause is not None and _speaks_to_people(cause) else None


def exit_code_of(error: BaseException) -> int:
    """The exit code that says the same as :func:`explain`, for scripts and schedulers."""
    if _speaks_to_people(error):
        return int(error.exit_code)  # type: ignore[attr-defined]
    if is_disk_full(error):
        return EXIT_DISK
    if is_server_unreachable(error):
        return EXIT_UNAVAILABLE
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    if type(error).__name__ == "TerminationSignal":  # Prefect's answer to SIGTERM
        return EXIT_PREEMPTED
    if _is_validation_error(error):
        return EXIT_CONFIG
    cause = error.__cause__
    return exit_code_of(cause) if cause is not None and _speaks_to_people(cause) else 1


def _is_validation_error(error: BaseException) -> bool:
    from pydantic import ValidationError

    return isinstance(error, ValidationError)
