"""One shard's work as a value: what came of it, or the error that it ended with.

A worker hands errors back as values, so that each backend's own exceptions mean one thing only: a worker was lost.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_tools.errors import DataError


@dataclass(frozen=True)
class Outcome:
    result: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        """The result; or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


def attempt(function: Callable[[Any], Any], shard: Any) -> Outcome:
    """Call ``function``; an error keeps its class and its parts, and tells where in the worker it happened.

    An error that can't be pickled, or not be made again from its pickle, becomes a RuntimeError with the same text.
    """
    try:
        return Outcome(function(shard))
    except Exception as error:
        if not isinstance(error, DataError):
            error.add_note("in a worker:\n" + traceback.format_exc())
        try:
            # What was pickled here a moment ago, and is read right away to see whether it can be.
            pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:
            return Outcome(
                error=RuntimeError(f"{type(error).__name__}: {error}\nin a worker:\n{traceback.format_exc()}")
            )
        return Outcome(error=error)


def lost_worker(why: str) -> DataError:
    """A worker went away in the middle of its work: ``why`` completes "a worker process was lost"."""
    return DataError(
        f"a worker process was lost ({why}); mostly that is memory that ran out",
        fix="Lower runtime.data.workers, or ingest.shard_bytes. The same command continues with what is missing.",
    )


def missing_package(executor: str) -> DataError:
    """The executor's package isn't installed."""
    return DataError(
        f"the executor {executor!r} needs a package that isn't installed",
        where="runtime.data.executor",
        fix=f"pip install 'groundup[{executor}]', or choose the executor 'processes'.",
    )
