"""Processes of this machine, started for one map and gone after it.

They are not forked from this process (threads of Arrow and of the caller don't survive a fork) but from a server that
has imported what they need and does nothing else (`data_tools.parallel.preloaded`). It goes with this process.

Each worker has a pipe of its own. A thread in the worker reads from it all the time; so the next task is already there
when one is finished, neither side ever waits for the other to make room in a full pipe, and when the parent dies,
however that comes about, the pipe closes and the worker leaves at once. (The workers of ``ProcessPoolExecutor`` stay
for ever after a ``kill -9`` of their parent: each holds both ends of the queue that it waits for.)
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from data_tools.parallel.attempt import Outcome, attempt, lost_worker

_TASKS_PER_WORKER = 2
_IMPORTED_ONCE = ["data_tools.parallel.preloaded"]


class _Worker:
    """The parent's side: a process, its pipe, and how many tasks it was given that it hasn't answered."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = _context()
        self.pipe, theirs = context.Pipe(duplex=True)
        # Not a daemon: those may have no children, and extraction puts a page into a process that it can kill.
        self.process: BaseProcess = context.Process(
            target=_work, args=(function, theirs, dict(os.environ), str(Path.cwd()))
        )
        self.process.start()
        theirs.close()
        self.under_way = 0

    def give(self, task: tuple[int, Any]) -> None:
        try:
            self.pipe.send(task)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._lost() from error
        self.under_way += 1

    def take(self) -> tuple[int, Outcome]:
        try:
            index, outcome = self.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._lost() from error
        self.under_way -= 1
        return index, outcome

    def _lost(self) -> Exception:
        self.process.join(5)
        code = self.process.exitcode or 0
        return lost_worker(f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}")


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def in_processes(
    function: Callable[[Any], Any], tasks: Iterator[tuple[int, Any]], workers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield ``(index, result)`` in the order in which they are ready.

    Raises:
        DataError: a worker was killed.
    """
    team: list[_Worker] = []
    try:
        for _ in range(workers):
            team.append(_Worker(function))
        by_pipe = {worker.pipe: worker for worker in team}
        for _ in range(_TASKS_PER_WORKER):
            for worker, task in zip(team, tasks, strict=False):
                worker.give(task)
        while any(worker.under_way for worker in team):
            # A pipe is ready when there is an answer, and when the worker is gone.
            for pipe in wait([worker.pipe for worker in team if worker.under_way]):
                worker = by_pipe[pipe]
                index, outcome = worker.take()
                result = outcome.unwrap()
                following = next(tasks, None)
                if following is not None:
                    worker.give(following)
                yield index, result
    finally:
        for worker in team:
            worker.process.kill()
        for worker in team:
            worker.process.join()
            worker.process.close()
            worker.pipe.close()


def _work(function: Callable[[Any], Any], pipe: Connection, environment: dict[str, str], folder: str) -> None:
    """The worker's side, in the parent's present environment and folder: the server's are those of its start."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # Ctrl-C reaches the whole process group; the parent decides what it means, and kills.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    while True:
        index, shard = tasks.get()
        outcome = attempt(function, shard)
        try:
            pipe.send((index, outcome))
        except OSError:
            os._exit(1)  # the parent is gone
        except Exception as error:  # the result can't be pickled
            pipe.send((index, Outcome(error=TypeError(f"the result of a shard can't be sent back: {error}"))))


def _receive(pipe: Connection, tasks: queue.SimpleQueue[tuple[int, Any]]) -> None:
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(1)  # nothing can be handed to anybody any more; what isn't finished is done again by the next run


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
