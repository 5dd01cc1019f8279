"""The same function for many tasks in several processes, the results in the order of the tasks.

Every worker has a pipe of its own and one task at a time. So nothing is taken from anybody when one dies, and a worker
whose parent is gone (``kill -9``) finds its pipe closed and ends. (The workers of ``concurrent.futures`` would wait for
ever: each holds both ends of the queue that it reads.)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

#: Results that may wait for an earlier one, for each worker. They are what memory is spent on.
AHEAD = 2


class WorkerDied(Exception):
    """A worker process ended in the middle of a task."""


def map_in_order(
    start: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], tasks: Iterable[Any], workers: int
) -> Iterator[Any]:
    """Yield ``start(*arguments)(task)`` for each task. ``start`` runs once in each process; with one worker, here.

    Raises:
        WorkerDied: a process was killed or crashed. What a task raises is raised here.
    """
    if workers == 1:
        work = start(*arguments)
        yield from map(work, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, not the threads
    pipes: list[Connection] = []
    processes = []
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, start, arguments), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        yield from _in_order(pipes, tasks)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()


def _in_order(pipes: list[Connection], tasks: Iterable[Any]) -> Iterator[Any]:
    numbered = enumerate(tasks)
    idle, busy = list(pipes), dict[Connection, int]()
    results: dict[int, Any] = {}
    given = wanted = 0
    more = True
    while more or busy or results:
        while more and idle and given < wanted + AHEAD * len(pipes):
            number, task = next(numbered, (-1, None))
            if number < 0:
                more = False
                break
            pipe = idle.pop()
            try:
                pipe.send(task)
            except OSError as error:
                raise WorkerDied("a process that encodes died") from error
            busy[pipe] = number
            given = number + 1
        if wanted in results:
            yield results.pop(wanted)
            wanted += 1
            continue
        for pipe in [each for each in wait(list(busy)) if isinstance(each, Connection)]:
            try:
                failure, result = pipe.recv()
            except (EOFError, OSError) as error:
                raise WorkerDied("a process that encodes died") from error
            if failure is not None:
                raise failure
            results[busy.pop(pipe)] = result
            idle.append(pipe)


def _serve(pipe: Connection, start: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C reaches the whole process group; the parent decides what it means, and kills.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")  # the processes are the parallelism
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return  # nothing more to do, or nobody to do it for
        try:
            work = work or start(*arguments)
            answer: tuple[Exception | None, Any] = (None, work(task))
        except Exception as error:
            answer = (error, None)
        try:
            pipe.send(answer)
        except OSError:
            return
