"""The only place where the data part goes parallel: one function over many shards.

Results come in the order of the shards, and each shard's work depends on that shard alone; so what comes out is the
same for any number of workers. Processes are spawned, not forked (threads of Arrow and of the caller don't survive a
fork); the function and its arguments must therefore be importable and picklable.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from data_tools.atomic_file import write_json
from data_tools.config import DataRuntime
from data_tools.errors import DataError
from data_tools.progress import Progress, no_progress

Shard = TypeVar("Shard")
Result = TypeVar("Result")

#: With ``workers=0``, less work than this is done right here. Each process takes about a second of one core to start
#: (Arrow and numpy), so that 15 MB of short texts were through sooner in one process than in two on two busy cores.
SERIAL_BELOW_BYTES = 16_000_000

_HERE = DataRuntime(workers=1)


def worker_count(requested: int, shards: int, total_bytes: int | None = None) -> int:
    """How many processes to use: ``requested``, or for 0 one for each core where the work is worth it."""
    if requested == 0:
        if total_bytes is not None and total_bytes < SERIAL_BELOW_BYTES:
            return 1
        requested = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(requested, shards))


def map_shards(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    runtime: DataRuntime = _HERE,
    sizes: Sequence[int] | None = None,
    progress: Progress = no_progress,
    message: str = "",
    ledger: Path | None = None,
) -> list[Result]:
    """Apply ``function`` to every shard and return the results in the shards' order.

    Args:
        function: importable by name (a ``functools.partial`` of such a function is fine).
        shards: picklable descriptions of the work, for example paths.
        runtime: which executor, and how many workers (0 is one for each core, 1 is none at all).
        sizes: bytes of each shard, for the progress and for deciding whether processes are worth it.
        progress: told after each shard, in bytes where ``sizes`` are given, else in shards.
        ledger: a folder that remembers which shards are finished, and what came of them (as JSON: results must be
            counters, lists, strings and the like). Called again after a crash, the same work goes on with the shards
            that are missing. What a shard's function writes has to be whole before it returns. The caller deletes the
            ledger at the end of its stage.

    Raises:
        DataError: a worker was killed. Whatever ``function`` raises comes through as it is.
    """
    weights = list(sizes) if sizes is not None else [1] * len(shards)
    total = sum(weights)
    finished: dict[int, Result] = {}
    if ledger is not None:
        finished = dict(_finished_before(ledger))
    waiting = [index for index in range(len(shards)) if index not in finished]
    left = sum(weights[index] for index in waiting)
    workers = worker_count(runtime.workers, len(waiting), left if sizes is not None else None)
    done = total - left
    progress(done, total, message)

    def keep(index: int, result: Result) -> None:
        nonlocal done
        if ledger is not None:
            write_json(ledger / f"{index:06d}.json", result)
        finished[index] = result
        done += weights[index]
        progress(done, total, message)

    if workers == 1:
        for index in waiting:
            keep(index, function(shards[index]))
        return [finished[index] for index in range(len(shards))]

    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[Future[Result], int] = {}
        try:
            upcoming = iter(waiting)
            # Two tasks a worker keep them busy; handing out all at once would make cancelling slow.
            for index in upcoming:
                futures[pool.submit(function, shards[index])] = index
                if len(futures) >= 2 * workers:
                    break
            while futures:
                ready, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in ready:
                    index = futures.pop(future)
                    keep(index, future.result())
                    following = next(upcoming, None)
                    if following is not None:
                        futures[pool.submit(function, shards[following])] = following
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed, most likely because memory ran out",
                fix="Lower runtime.data.workers, or ingest.shard_bytes.",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [finished[index] for index in range(len(shards))]


def _finished_before(ledger: Path) -> Iterator[tuple[int, Any]]:
    for path in sorted(ledger.glob("*.json")):
        yield int(path.stem), json.loads(path.read_bytes())
