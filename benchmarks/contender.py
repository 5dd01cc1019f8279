"""Runs one contender of a contest in a process of its own: ``python contender.py FILE FUNCTION SPEC RESULT``.

A contender is a generator function of the file, called with the spec (a dict from JSON). What it does before its one
``yield`` isn't measured: imports, compiling, reading what the contest isn't about, a warm-up. What it does from there
to its ``return`` is. It returns a dict of what it found out.

Measured in CPU seconds (user and system, children included), so that other load on the machine counts little. Only the
standard library is needed here: peers run in an environment of their own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

#: Before anything is imported: one thread, whatever the library.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "ARROW_IO_THREADS",
    ),
    "1",
)


def main(file: str, function: str, spec_path: str, result_path: str) -> None:
    os.environ.update(ONE_THREAD)
    spec = json.loads(Path(spec_path).read_bytes())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[spec.get("core", -1)]})
    module_spec = importlib.util.spec_from_file_location("contenders", file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    contender: Callable[[dict[str, Any]], Generator[None, None, dict[str, Any]]] = getattr(module, function)

    seconds = []
    found: dict[str, Any] = {}
    for _ in range(spec.get("repeats", 1)):
        run = contender(spec)
        next(run)
        start = _cpu_seconds()
        try:
            next(run)
        except StopIteration as end:
            seconds.append(_cpu_seconds() - start)
            found = end.value or {}
        else:
            raise AssertionError(f"{function} yields twice")
    measured = {"cpu_seconds": sorted(seconds)[len(seconds) // 2], "all_cpu_seconds": seconds, **_peak_memory()}
    Path(result_path).write_text(json.dumps({**measured, **found}))


def _cpu_seconds() -> float:
    """Of this process, of its children that ended, and of those that live: what they did before counts as before."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + _of_living_children(os.getpid())


def _of_living_children(pid: int) -> float:
    seconds = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            try:
                stat = Path(f"/proc/{child}/stat").read_text()
            except OSError:
                continue
            times = stat.rpartition(")")[2].split()[11:15]  # user, system, and both of its children that ended
            seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + _of_living_children(int(child))
    return seconds


def _peak_memory() -> dict[str, int]:
    # Not ru_maxrss: it is inherited from the process that started this one.
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return {"peak_memory_bytes": int(line.split()[1]) * 1024}


if __name__ == "__main__":
    main(*sys.argv[1:])
