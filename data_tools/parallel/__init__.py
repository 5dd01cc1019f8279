"""The only place where the data part goes parallel: one function over many shards, on this machine or on a cluster.

Results come in the order of the shards, and each shard's work depends on that shard alone; so what comes out is the
same wherever and by however many it is done. The function and its arguments must be importable and picklable.

A backend is a generator: it takes ``(index, shard)`` pairs, keeps two for each worker under way, and yields
``(index, result)`` as they are ready, in the caller's thread. Closing it (which the end of the loop, an error and
Ctrl-C all do) leaves no process behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from data_tools.atomic_file import write_json
from data_tools.config import DataRuntime
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
        function: importable by name (a ``functools.partial`` of such a function is fine). On a cluster it may run
            twice for one shard (a worker was lost), so it writes atomically and appends to nothing.
        shards: picklable descriptions of the work, for example paths.
        runtime: which executor, and how many workers (0 is one for each core, 1 is none at all).
        sizes: bytes of each shard, for the progress and for deciding whether processes are worth it.
        progress: told after each shard, in bytes where ``sizes`` are given, else in shards.
        ledger: a folder that remembers which shards are finished, and what came of them (as JSON: results must be
            counters, lists, strings and the like). Called again after a crash, the same work goes on with the shards
            that are missing. What a shard's function writes has to be whole before it returns. The caller deletes the
            ledger at the end of its stage.

    Raises:
        DataError: a worker was killed, the cluster can't be reached, or the executor's package isn't installed.
            Whatever ``function`` raises comes through as it is.
    """
    weights = list(sizes) if sizes is not None else [1] * len(shards)
    total = sum(weights)
    finished: dict[int, Result] = {}
    if ledger is not None:
        finished = dict(_finished_before(ledger))
    waiting = [index for index in range(len(shards)) if index not in finished]
    left = sum(weights[index] for index in waiting)
    done = total - left
    progress(done, total, message)
    if waiting:
        tasks = ((index, shards[index]) for index in waiting)
        with closing(_start(function, tasks, len(waiting), left if sizes is not None else None, runtime)) as results:
            for index, result in results:
                if ledger is not None:
                    write_json(ledger / f"{index:06d}.json", result)
                finished[index] = result
                done += weights[index]
                progress(done, total, message)
    return [finished[index] for index in range(len(shards))]


def _start(
    function: Callable[[Shard], Result],
    tasks: Iterator[tuple[int, Shard]],
    count: int,
    total_bytes: int | None,
    runtime: DataRuntime,
) -> Generator[tuple[int, Result], None, None]:
    """The generator of the backend that ``runtime`` asks for."""
    if runtime.executor == "dask":
        from data_tools.parallel.dask_cluster import on_dask

        return on_dask(function, tasks, worker_count(runtime.workers, count), runtime)
    if runtime.executor == "ray":
        from data_tools.parallel.ray_cluster import on_ray

        return on_ray(function, tasks, worker_count(runtime.workers, count), runtime)
    workers = worker_count(runtime.workers, count, total_bytes if runtime.executor == "auto" else None)
    if runtime.executor == "serial" or workers == 1:
        return ((index, function(shard)) for index, shard in tasks)
    from data_tools.parallel.processes import in_processes

    return in_processes(function, tasks, workers)


def _finished_before(ledger: Path) -> Iterator[tuple[int, Any]]:
    for path in sorted(ledger.glob("*.json")):
        yield int(path.stem), json.loads(path.read_bytes())
