"""The only place where the data part goes parallel: one function over many shards.

Results come in the order of the shards, and each shard's work depends on that shard alone; so what comes out is the
same for any number of workers. Processes are spawned, not forked (threads of Arrow and of the caller don't survive a
fork); the function and its arguments must therefore be importable and picklable.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from data_tools.errors import DataError
from data_tools.progress import Progress, no_progress

Shard = TypeVar("Shard")
Result = TypeVar("Result")

#: With ``workers=0``, less work than this is done right here. Each process takes about a second of one core to start
#: (Arrow and numpy), so that 15 MB of short texts were through sooner in one process than in two on two busy cores.
SERIAL_BELOW_BYTES = 16_000_000


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
    workers: int = 0,
    sizes: Sequence[int] | None = None,
    progress: Progress = no_progress,
    message: str = "",
) -> list[Result]:
    """Apply ``function`` to every shard and return the results in the shards' order.

    Args:
        function: importable by name (a ``functools.partial`` of such a function is fine).
        shards: picklable descriptions of the work, for example paths.
        workers: processes; 0 is one for each core, 1 is none at all.
        sizes: bytes of each shard, for the progress and for deciding whether processes are worth it.
        progress: told after each shard, in bytes where ``sizes`` are given, else in shards.

    Raises:
        DataError: a worker was killed. Whatever ``function`` raises comes through as it is.
    """
    weights = list(sizes) if sizes is not None else [1] * len(shards)
    total = sum(weights)
    workers = worker_count(workers, len(shards), total if sizes is not None else None)
    progress(0, total, message)
    done = 0
    if workers == 1:
        results = []
        for shard, weight in zip(shards, weights, strict=True):
            results.append(function(shard))
            done += weight
            progress(done, total, message)
        return results

    finished: dict[int, Result] = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[Future[Result], int] = {}
        try:
            upcoming = iter(range(len(shards)))
            # Two tasks a worker keep them busy; handing out all at once would make cancelling slow.
            for index in upcoming:
                futures[pool.submit(function, shards[index])] = index
                if len(futures) >= 2 * workers:
                    break
            while futures:
                ready, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in ready:
                    index = futures.pop(future)
                    finished[index] = future.result()
                    done += weights[index]
                    progress(done, total, message)
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
