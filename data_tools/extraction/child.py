"""The process in which pages are extracted: ``python -m data_tools.extraction.child`` (see ``isolated`` for why).

It reads batches of documents from standard input and answers on standard output, document by document; its diagnostics
go nowhere. Lengths and bytes only: nothing that comes over the pipe is executed or unpickled.

====================  ==================================================================================
batch (to the child)  ``uint32`` number of documents; for each ``uint32`` length of hints, ``uint64`` length of the
                      document, hints (a JSON object of strings), document
acknowledged          ``uint8`` READ, once the whole batch has been read
answer, one for each  ``uint8`` DONE or REFUSED, ``uint32`` length of facts, ``uint64`` length of text, facts (a JSON
                      object of strings), text (UTF-8)
====================  ==================================================================================

When a document runs into the memory limit the process ends, so that the next one finds no crumbs of it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

Function = Callable[[bytes, dict[str, str]], tuple[str, dict[str, str]]]

READY, READ, DONE, REFUSED = 1, 2, 3, 4
COUNT = struct.Struct("<I")
LENGTHS = struct.Struct("<IQ")
ANSWER = struct.Struct("<BIQ")
#: Exit code after a MemoryError, so that the parent can tell it from other ends.
OUT_OF_MEMORY = 77
#: Exit code where the function can't be set up. The reason stands in the answer that was sent before.
NOT_STARTED = 78
#: By the clock a document may take so many times its processor time: on a busy machine it waits for its turn.
CLOCK_FACTOR = 10
_LOOK_AROUND_MS = 5_000


class Refused(Exception):
    """A document can't be extracted, for a reason that has a name (the one for the quarantine)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def main() -> int:
    """Arguments: JSON with ``function`` (``module:name`` of what makes the function), ``arguments`` for it,
    ``timeout_seconds`` and ``max_memory_mb``."""
    options = json.loads(sys.argv[1])
    # Ctrl-C reaches the whole group; the parent decides what it means. The timers' signals kill, whatever runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a library that prints must not write into the answers
    try:
        module, name = options["function"].split(":")
        function: Function = getattr(import_module(module), name)(options["arguments"])
    except Exception as error:
        _answer(answers, REFUSED, {"reason": "not-started", "detail": f"{type(error).__name__}: {error}"}, "")
        return NOT_STARTED
    _limit_memory(int(options["max_memory_mb"]))
    _write(answers, bytes([READY]))
    # The limit on processor time. The one by the clock is the parent's; this one ends a process without a parent.
    seconds = float(options["timeout_seconds"])
    seconds_by_clock = 2 * CLOCK_FACTOR * seconds
    while _parent_has_more():
        batch = _read_batch(sys.stdin.buffer)
        if batch is None:
            break
        _write(answers, bytes([READ]))
        for index, (hints, document) in enumerate(batch):
            batch[index] = ({}, b"")  # one copy in memory is enough
            signal.setitimer(signal.ITIMER_REAL, seconds_by_clock)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            try:
                text, facts = function(document, hints)
                status = DONE
            except Refused as refusal:
                status, text, facts = REFUSED, "", {"reason": refusal.reason, "detail": refusal.detail}
            except MemoryError:
                os._exit(OUT_OF_MEMORY)
            except Exception as error:  # whatever a parser raises: it costs this document only
                detail = f"{type(error).__name__}: {str(error)[:500]}"
                status, text, facts = REFUSED, "", {"reason": "extraction-failed", "detail": detail}
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _answer(answers, status, facts, text)
    return 0


def _limit_memory(megabytes: int) -> None:
    """So much address space beyond what the process has now. No core file is written when it crashes."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 1_000_000
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):
        pass  # not Linux: the time limit still holds


def _parent_has_more() -> bool:
    """Wait for input. A pipe whose writer died ends by itself, unless some other process inherited the writing end:
    hence the look at who the parent is."""
    parent = os.getppid()
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    while not poll.poll(_LOOK_AROUND_MS):
        if os.getppid() != parent:
            return False
    return True


def _read_batch(stream: BinaryIO) -> list[tuple[dict[str, str], bytes]] | None:
    try:
        (count,) = COUNT.unpack(_exactly(stream, COUNT.size))
        batch = []
        for _ in range(count):
            hints_bytes, document_bytes = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
            hints = json.loads(_exactly(stream, hints_bytes)) if hints_bytes else {}
            batch.append((hints, _exactly(stream, document_bytes)))
        return batch
    except EOFError:
        return None
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _answer(answers: BinaryIO, status: int, facts: dict[str, str], text: str) -> None:
    try:
        said = json.dumps(facts).encode() if facts else b""
        raw = text.encode("utf-8", "surrogatepass")
        _write(answers, ANSWER.pack(status, len(said), len(raw)) + said + raw)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _write(answers: BinaryIO, data: bytes) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[answers.write(view) :]
    except BrokenPipeError:
        os._exit(0)  # nobody is interested any more


if __name__ == "__main__":
    # As a module of its own name, so that the exceptions raised elsewhere are the ones that are caught here.
    from data_tools.extraction.child import main as run

    code = run()
    sys.stdout.flush()
    os._exit(code)
