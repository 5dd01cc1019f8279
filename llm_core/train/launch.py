"""``python -m llm_core.train.launch PROCESSES REQUEST.json``: one stage by several processes of this machine.

This is torchrun, and besides: it doesn't outlive whoever started it, and it ends with the exit code that tells what
the processes came to (torchrun itself always says 1). SIGTERM goes to all of them; they save together and end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from llm_core.errors import DiskFull, Diverged, LlmCoreError, Locked, OutOfMemory, Preempted
from llm_core.train.parent import follow_the_parent

#: Seconds that the processes get to save and leave after SIGTERM.
GRACE = 30
#: What the processes came to, the most telling first: where one fails, the others are told to stop and are preempted.
TELLING = tuple(kind.exit_code for kind in (LlmCoreError, Locked, DiskFull, OutOfMemory, Diverged))
KILLED = 128


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not arguments[0].isdigit():
        print("usage: python -m llm_core.train.launch PROCESSES REQUEST.json", file=sys.stderr)
        return LlmCoreError.exit_code
    follow_the_parent()
    processes, request = arguments
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(processes))))

    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = ["--standalone", f"--nproc-per-node={processes}", f"--shutdown-timeout={GRACE}"]
    signals = "--signals-to-handle=SIGTERM,SIGINT,SIGUSR1"
    try:
        torchrun.run(torchrun.parse_args([*options, signals, "-m", "llm_core.train", request]))
    except SignalException:
        return Preempted.exit_code
    except ChildFailedError as error:
        print(error.format_msg(), file=sys.stderr)
        return summary(failure.exitcode for failure in error.failures.values())
    return 0


def summary(exit_codes: Iterable[int]) -> int:
    """One exit code for those of all processes that failed; a signal counts as 128 + its number, as in a shell."""
    codes = list(exit_codes)
    telling = next((code for code in TELLING if code in codes), None)
    if telling is not None:
        return telling
    killed = [KILLED - code for code in codes if code < 0]
    unexpected = [code for code in codes if code != Preempted.exit_code]
    return next(iter((*killed, *unexpected)), Preempted.exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
