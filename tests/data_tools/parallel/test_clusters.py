"""Real local clusters of Dask and Ray, and a Dask scheduler that was there before: the same results as in one
process, errors with their parts, a lost worker, nothing that listens beyond this machine, nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest

from data_tools.config import DataRuntime
from data_tools.errors import DataError
from data_tools.parallel import map_shards


def square(value: int) -> int:
    return value * value


def refuse(value: int) -> int:
    if value == 3:
        raise DataError("bad shard", where=f"shard {value}", fix="Mend it.")
    return value


def die_once(folder: Path, value: int) -> int:
    """The first call for 5 takes its worker down."""
    if value == 5 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def family() -> list[psutil.Process]:
    """Children and theirs, but for the one that multiprocessing keeps for as long as this process lives."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if not any("resource_tracker" in part for part in _command(process))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def listening_addresses() -> set[str]:
    """Addresses that this process and its children listen on."""
    found: set[str] = set()
    for process in [psutil.Process(), *family()]:
        try:
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    return found


class Watch:
    """A progress that looks around while the cluster is up."""

    def __init__(self) -> None:
        self.done: list[float] = []
        self.threads: set[int] = set()
        self.addresses: set[str] = set()

    def __call__(self, done: float, total: float | None, message: str = "") -> None:
        self.done.append(done)
        self.threads.add(threading.get_ident())
        if done == 10:
            self.addresses = listening_addresses()


def check_a_cluster(runtime: DataRuntime, tmp_path: Path) -> None:
    before = {process.pid for process in family()}
    watch = Watch()
    lost_one = partial(die_once, tmp_path)
    assert map_shards(lost_one, list(range(40)), runtime=runtime, progress=watch) == list(range(40))
    assert (tmp_path / "died").exists(), "else no worker was lost"
    assert watch.done == list(range(41))
    assert watch.threads == {threading.get_ident()}
    assert watch.addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, watch.addresses
    _, left = psutil.wait_procs([process for process in family() if process.pid not in before], timeout=20)
    assert left == []


def check_errors(runtime: DataRuntime) -> None:
    with pytest.raises(DataError) as caught:
        map_shards(refuse, list(range(20)), runtime=runtime)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("bad shard", "shard 3", "Mend it.")


@pytest.mark.slow
def test_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    check_a_cluster(DataRuntime(executor="dask", workers=2), tmp_path)
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, host="127.0.0.1") as cluster:
        runtime = DataRuntime(executor="dask", address=cluster.scheduler_address)
        check_errors(runtime)
        assert map_shards(square, list(range(9)), runtime=runtime) == [i * i for i in range(9)]
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            assert len(client.nthreads()) == 1, "a cluster of others stays as it is"
    monkeypatch.setattr("data_tools.parallel.dask_cluster._SECONDS_TO_CONNECT", 1)
    with pytest.raises(DataError, match="no Dask scheduler answers"):
        map_shards(square, [1], runtime=DataRuntime(executor="dask", address="tcp://127.0.0.1:9"))


@pytest.mark.slow
def test_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    runtime = DataRuntime(executor="ray", workers=2)
    terminate = signal.getsignal(signal.SIGTERM)
    check_a_cluster(runtime, tmp_path)
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) == terminate
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        check_errors(runtime)
        assert map_shards(square, list(range(9)), runtime=runtime) == [i * i for i in range(9)]
        assert ray.is_initialized(), "a connection of others stays open"
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, terminate)  # Ray's own would end this process at the next one
