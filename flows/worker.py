"""A worker that lets its runs save when it is stopped, and picks up what its predecessor left.

Prefect's own worker, told to stop, kills its runs and leaves them "Running" for ever: the open-source server never
notices that a worker is gone, so they hold their place in line and nothing else starts. Two things are added here.

Stopping: the runs get SIGTERM and time. A trainer finishes its step, saves and leaves.

Starting: inside a container, no process of an earlier worker can be alive, so every run of the pool that still claims
to be running is an orphan. Orphans go back into the queue (their finished stages are reused, their training continues
from the last checkpoint); after `MAX_STARTS` starts a run is given up as crashed, so that one that kills its machine
doesn't do so for ever.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from types import FrameType
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

MAX_STARTS = 5
#: Seconds that the runs get to save. The container's `stop_grace_period` has to be longer.
GRACE = 50.0


def work(pool: str) -> int:
    """Adopt orphans, then run Prefect's worker until it ends or somebody ends it. Returns the exit status."""
    name = socket.gethostname()
    for line in adopt_orphans(pool, name):
        print(line, flush=True)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    worker = subprocess.Popen([*command, "--type", "process", "--with-healthcheck"], start_new_session=True)

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop(worker)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    return worker.wait()


def stop(worker: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End the worker at once, so that it neither takes nor kills another run, and its runs with time to save."""
    try:
        runs = psutil.Process(worker.pid).children()
    except psutil.NoSuchProcess:
        runs = []
    worker.kill()
    worker.wait()
    for run in runs:
        try:
            run.terminate()
        except psutil.NoSuchProcess:
            continue
    print(f"stopping: {len(runs)} runs have {grace:.0f} s to save", flush=True)
    _, alive = psutil.wait_procs(runs, timeout=grace)
    print(f"stopped: {len(alive)} runs did not leave in time" if alive else "stopped", flush=True)


def adopt_orphans(pool: str, name: str) -> list[str]:
    """Bring every orphaned run of `pool` to a state that says the truth.

    Args:
        pool: the work pool that this worker serves.
        name: this worker's name. While another worker of the pool is online, a run may be that one's: none is touched.

    Returns:
        A line about each run, for the log.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkerStatus
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(pool)
        except ObjectNotFound:
            return []
        others = [worker.name for worker in workers if worker.status == WorkerStatus.ONLINE and worker.name != name]
        if others:
            return [f"pool {pool}: also served by {', '.join(sorted(others))}; its runs are left as they are"]
        return [adopt(client, run) for run in orphans(client, pool)]


def orphans(client: SyncPrefectClient, pool: str) -> list[FlowRun]:
    """Runs of the pool that some worker took and none finished, oldest first."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    taken = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=taken)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=200,
    )


def adopt(client: SyncPrefectClient, run: FlowRun) -> str:
    """Queue one orphan again, or close it."""
    from prefect.states import AwaitingRetry, Cancelled, Crashed, State

    was = run.state.name if run.state else "Unknown"
    new: State
    if run.state is not None and run.state.is_cancelling():
        new = Cancelled(message="Its worker stopped while the run was being cancelled.")
    elif run.run_count >= MAX_STARTS:
        new = Crashed(message=f"Its worker went away {run.run_count} times; given up.")
    else:
        new = AwaitingRetry(message="Its worker went away; it continues from what is saved.")
    client.set_flow_run_state(run.id, new, force=True)
    return f"run {run.name}: was {was}, no process of it is left; now {new.name}"
