"""Dask: the scheduler at ``runtime.address``, or a cluster of processes on this machine for the time of one map.

The workers of a cluster need groundup installed and the same paths. Dask runs the task of a lost worker again on
another, three times before it gives up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

from data_tools.config import DataRuntime
from data_tools.errors import DataError
from data_tools.parallel.attempt import attempt, lost_worker, missing_package

_TASKS_PER_WORKER = 2
_SECONDS_TO_CONNECT = 30


def on_dask(
    function: Callable[[Any], Any], tasks: Iterator[tuple[int, Any]], workers: int, runtime: DataRuntime
) -> Generator[tuple[int, Any], None, None]:
    """Yield ``(index, result)`` in the order in which they are ready.

    Leaving early cancels what waits. On a cluster of others, tasks that run already run to their end: Dask can't
    interrupt them.

    Raises:
        DataError: distributed isn't installed, nobody answers at the address, or a shard killed its worker repeatedly.
    """
    try:
        from distributed import Client, Future, wait
    except ImportError as error:
        raise missing_package("dask") from error

    with ExitStack() as stack:
        if runtime.address is None:
            client = stack.enter_context(_local_client(stack, workers))
        else:
            try:
                client = stack.enter_context(Client(runtime.address, timeout=_SECONDS_TO_CONNECT, set_as_default=False))
            except (OSError, TimeoutError, ValueError) as error:
                raise DataError(
                    f"no Dask scheduler answers ({error})",
                    where=f"runtime.data.address = {runtime.address}",
                    fix="Start one (dask scheduler), or leave the address out for a cluster on this machine.",
                ) from error
        under_way: dict[Future, int] = {}
        try:
            while True:
                # Asked each time: a cluster may grow and shrink. At least one task, so that an empty cluster gets
                # something to scale up for.
                threads = runtime.workers or sum(client.nthreads().values())
                while len(under_way) < max(1, threads * _TASKS_PER_WORKER):
                    following = next(tasks, None)
                    if following is None:
                        break
                    index, shard = following
                    under_way[client.submit(attempt, function, shard, pure=False)] = index
                if not under_way:
                    return
                with client.as_current():
                    ready = wait(list(under_way), return_when="FIRST_COMPLETED").done
                for future in ready:
                    index = under_way.pop(future)
                    try:
                        outcome = future.result()
                    except Exception as error:  # our function's errors are values, so this one is Dask's
                        raise lost_worker(f"{type(error).__name__}: {error}") from error
                    yield index, outcome.unwrap()
        finally:
            client.cancel(list(under_way), force=True)


def _local_client(stack: ExitStack, workers: int) -> Any:
    """A client of a cluster that listens on the loopback interface only and goes away with ``stack``."""
    from distributed import Client, LocalCluster

    scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="groundup-dask-", ignore_cleanup_errors=True))
    cluster = stack.enter_context(
        LocalCluster(
            n_workers=workers,
            processes=True,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            worker_dashboard_address=None,
            # Dask pauses a worker above 80% of a limit until memory is given back, which Arrow's pool doesn't do.
            memory_limit=0,
            local_directory=scratch,
            silence_logs=50,
        )
    )
    return Client(cluster, set_as_default=False)
