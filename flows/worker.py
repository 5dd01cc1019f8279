"""A worker that lets its runs save when it is stopped, and picks up what its predecessor left.

Prefect's own worker, told to stop, kills its runs and leaves them "Running" for ever: the open-source server never
notices that a worker is gone, so they hold their place in line and nothing else starts. Two things are added here.

Stopping: the runs get SIGTERM and time. A trainer finishes its step, saves and leaves; its run goes back into the
queue.

Starting: inside a container, no process of an earlier worker can be alive, so every run of the pool that still claims
to be running is an orphan of one that was killed. It goes back into the queue too, once its locks have been silent for
long enough to be taken over. Either way finished stages are reused and training continues from the last checkpoint.
After `MAX_STARTS` starts a run is given up as crashed, so that one that kills its machine doesn't do so for ever.

This holds for one worker container a name: a second one needs a service and a host name of its own.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING
from uuid import UUID

import psutil

from flows.lineage.lock import SILENCE

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

MAX_STARTS = 5
#: Seconds that the runs get to save. The container's `stop_grace_period` has to be longer.
GRACE = 45.0


def work(pool: str) -> int:
    """Adopt orphans, then run Prefect's worker until it ends or somebody ends it. Returns the exit status."""
    name = socket.gethostname()
    adopt_orphans(pool, name, wait=SILENCE + 10)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    worker = subprocess.Popen([*command, "--type", "process", "--with-healthcheck"], start_new_session=True)

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        return worker.wait()
    except SystemExit:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        queue_again(stop(worker))
        raise


def stop(worker: subprocess.Popen[bytes], grace: float = GRACE) -> list[UUID]:
    """Let the runs save and leave, then end the worker. Returns the flow runs that were stopped.

    The worker is frozen first. So it takes no other run, kills none, calls none crashed, and yet holds the pipes that
    they write to: without a reader a run dies of its first line of log.
    """
    worker.send_signal(signal.SIGSTOP)
    runs = [run for run in psutil.Process(worker.pid).children() if not is_gone(run)]
    stopped = [found for run in runs if (found := flow_run_of(run)) is not None]
    print(f"stopping; {len(runs)} runs have {grace:.0f} s to save", flush=True)
    for run in runs:
        with contextlib.suppress(psutil.NoSuchProcess):
            run.terminate()
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and not all(is_gone(run) for run in runs):
        time.sleep(0.2)
    late = sum(not is_gone(run) for run in runs)
    worker.kill()
    worker.wait()
    print(f"stopped; {late} runs did not leave in time" if late else "stopped", flush=True)
    return stopped


def flow_run_of(process: psutil.Process) -> UUID | None:
    """The flow run that a child of Prefect's worker carries out; None if it does something else."""
    try:
        return UUID(process.environ()["PREFECT__FLOW_RUN_ID"])
    except (psutil.Error, KeyError, ValueError):
        return None


def is_gone(process: psutil.Process) -> bool:
    """Ended, though its frozen parent may not have taken note of it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def queue_again(stopped: list[UUID]) -> None:
    """Put the runs that this worker stopped back into the queue: Prefect calls them crashed, which they aren't."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for run in map(client.read_flow_run, stopped):
            ended = run.state is not None and run.state.is_final()
            if not ended or run.state_name in {"Crashed", "Interrupted"}:
                print(adopt(client, run, wait=0), flush=True)


def adopt_orphans(pool: str, name: str, wait: float) -> None:
    """Bring every orphaned run of `pool` to a state that says the truth.

    Args:
        pool: the work pool that this worker serves.
        name: this worker's name. While another worker of the pool is online, a run may be that one's: none is touched.
        wait: seconds until they may start again.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkerStatus
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(pool)
        except ObjectNotFound:
            return
        others = [worker.name for worker in workers if worker.status == WorkerStatus.ONLINE and worker.name != name]
        if others:
            print(f"pool {pool}: also served by {', '.join(sorted(others))}; its runs are left as they are", flush=True)
            return
        for run in orphans(client, pool):
            print(adopt(client, run, wait), flush=True)


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


def adopt(client: SyncPrefectClient, run: FlowRun, wait: float) -> str:
    """Queue one orphan again, or close it. Returns a line about it."""
    from prefect.states import AwaitingRetry, Cancelled, Crashed, State

    was = run.state.name if run.state else "Unknown"
    new: State
    if run.state is not None and run.state.is_cancelling():
        new = Cancelled(message="Its worker stopped while the run was being cancelled.")
    elif run.run_count >= MAX_STARTS:
        new = Crashed(message=f"Its worker went away {run.run_count} times; given up.")
    else:
        new = AwaitingRetry(
            scheduled_time=datetime.now(UTC) + timedelta(seconds=wait),
            message="Its worker went away; it continues from what is saved.",
        )
    client.set_flow_run_state(run.id, new, force=True)
    return f"run {run.name}: was {was}, no process of it is left; now {new.name}"
