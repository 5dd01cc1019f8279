"""Ray: the cluster at ``runtime.address``, the one that this process is connected to already, or one on this machine
for the time of one map.

The workers of a cluster need groundup installed and the same paths. Ray runs the task of a lost worker again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from data_tools.config import DataRuntime
from data_tools.errors import DataError
from data_tools.parallel.attempt import attempt, lost_worker, missing_package

_TASKS_PER_WORKER = 2
_RETRIES_OF_LOST_TASKS = 2


def on_ray(
    function: Callable[[Any], Any], tasks: Iterator[tuple[int, Any]], workers: int, runtime: DataRuntime
) -> Generator[tuple[int, Any], None, None]:
    """Yield ``(index, result)`` in the order in which they are ready. Leaving early cancels what is under way.

    Raises:
        DataError: ray isn't installed, nobody answers at the address, or a shard killed its worker repeatedly.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise missing_package("ray") from error

    with _connected(ray, workers, runtime):
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES_OF_LOST_TASKS)(attempt)
        shared = ray.put(function)
        under_way: dict[Any, int] = {}
        try:
            while True:
                slots = runtime.workers or int(ray.cluster_resources().get("CPU", 1))
                while len(under_way) < max(1, slots * _TASKS_PER_WORKER):
                    following = next(tasks, None)
                    if following is None:
                        break
                    index, shard = following
                    under_way[remote.remote(shared, shard)] = index
                if not under_way:
                    return
                ready, _ = ray.wait(list(under_way), num_returns=1)
                for reference in ready:
                    index = under_way.pop(reference)
                    try:
                        outcome = ray.get(reference)
                    except RayError as error:  # our function's errors are values, so this one is Ray's
                        raise lost_worker(f"{type(error).__name__}") from error
                    yield index, outcome.unwrap()
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)


@contextmanager
def _connected(ray: Any, workers: int, runtime: DataRuntime) -> Iterator[None]:
    """A connection to Ray. It is closed afterwards only if it was opened here; so is a cluster that was started."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with _signals_left_alone():
            if runtime.address is None:
                _start_here(ray, num_cpus=workers, include_dashboard=False, **quiet)
            else:
                ray.init(address=runtime.address, **quiet)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"Ray can't be reached or started ({error})",
            where=f"runtime.data.address = {runtime.address}",
            fix="Start a cluster (ray start --head), or leave the address out for one on this machine.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _start_here(ray: Any, **options: Any) -> None:
    """Start a cluster that listens on the loopback interface only.

    Ray's servers do so when the node's address is 127.0.0.1, which Ray gives it by itself on Windows and macOS only;
    an address passed to ``ray.init`` is replaced by the machine's own. The variable is for what Ray starts, the
    constant for this process, which may have imported Ray before.

    Raises:
        RuntimeError: this version of Ray does otherwise.
    """
    from ray._private import ray_constants

    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before, constant = os.environ.get(name), getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    os.environ[name] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(address="local", **options)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    address = ray.util.get_node_ip_address()
    if address != "127.0.0.1":
        ray.shutdown()
        raise RuntimeError(f"it listens on {address}, which other machines reach")


@contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Ray installs a handler of SIGTERM of its own. Whoever called us has one that says what to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
