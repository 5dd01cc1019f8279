"""Extraction in a process that can be killed: the only kind of limit on time and memory that holds.

A timer signal is only seen between two instructions of Python, not inside a parser in C, and a crash there takes the
whole worker with it. So each shard worker has one long-lived child (``child``) that it feeds documents over a pipe.
A document that takes longer than the limit costs that child its life; one that crashes it or runs out of memory is
tried once more, alone in a fresh child, so that what becomes of a document never depends on those before it. The limit
is on processor time, for what a document takes by the clock depends on what else the machine does; ten times as long
by the clock is the end as well.

Children die with their parent: at the end of the pipe, and at the latest when their own alarm rings.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from data_tools.errors import DataError
from data_tools.extraction import child as protocol

Key = TypeVar("Key")

#: Documents that are sent at once: enough to hide the pipe, few enough to hold in memory.
BATCH_DOCUMENTS = 64
BATCH_BYTES = 1_000_000
#: What leaks in the parsers' libraries is given back after so many documents.
DOCUMENTS_PER_CHILD = 20_000
#: For importing the parsers and for reading a batch, on a machine that is busy with other things.
_START_SECONDS = 300.0
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Task:
    document: bytes
    hints: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extraction:
    text: str
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Failed:
    """``extraction-timeout``, ``extraction-crashed``, ``extraction-failed``, or a reason that the function named."""

    reason: str
    detail: str


class IsolatedExtractor:
    """Runs a function over documents in a child process, with a limit on the time and memory of each.

    Args:
        function: ``module:name`` of a function that takes ``arguments`` and returns a function from a document (bytes,
            hints) to (text, facts). See :func:`data_tools.extraction.html.for_worker`.
        timeout_seconds: processor time for one document.
        max_memory_mb: address space beyond what the child has when it is ready.

    Not for several threads at once. The child is started by the first document, and ends with this object.
    """

    def __init__(self, function: str, arguments: dict[str, str], *, timeout_seconds: float, max_memory_mb: int) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_memory_mb = max_memory_mb
        options = {"function": function, "arguments": arguments, "timeout_seconds": timeout_seconds}
        self._options = json.dumps({**options, "max_memory_mb": max_memory_mb})
        self._function = function
        self._child: _Child | None = None

    def map(self, documents: Iterable[tuple[Key, Task | None]]) -> Iterator[tuple[Key, Extraction | Failed | None]]:
        """The outcome of every document, in their order (None of None). Up to a batch of documents is read ahead.

        Raises:
            DataError: the function can't be set up in the child.
        """
        batch: list[tuple[Key, Task | None]] = []
        size = 0
        for key, task in documents:
            batch.append((key, task))
            size += len(task.document) if task is not None else 0
            if size >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
                yield from self._map_batch(batch)
                batch, size = [], 0
        yield from self._map_batch(batch)

    def _map_batch(self, batch: list[tuple[Key, Task | None]]) -> Iterator[tuple[Key, Extraction | Failed | None]]:
        outcomes = iter(self._run([task for _, task in batch if task is not None]))
        for key, task in batch:
            yield key, next(outcomes) if task is not None else None

    def one(self, task: Task) -> Extraction | Failed:
        """The outcome of a single document."""
        return self._run([task])[0]

    def close(self) -> None:
        """End the child. The next document starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _run(self, tasks: list[Task]) -> list[Extraction | Failed]:
        outcomes: list[Extraction | Failed] = []
        second_try = False
        try:
            while len(outcomes) < len(tasks):
                first = len(outcomes)
                batch = tasks[first : first + 1] if second_try else tasks[first:]
                try:
                    if self._child is None:
                        self._child = _Child(self._options, self._function)
                    self._child.send(batch)
                    for _ in batch:
                        outcomes.append(self._child.answer(protocol.CLOCK_FACTOR * self._timeout_seconds))
                        second_try = False
                except _TimedOutError:
                    self.close()
                    outcomes.append(self._timeout())
                    second_try = False
                except _DiedError as death:
                    self.close()
                    if death.code == -signal.SIGPROF:
                        outcomes.append(self._timeout())
                        second_try = False
                        continue
                    if second_try:
                        outcomes.append(Failed("extraction-crashed", self._cause(death.code)))
                    second_try = not second_try
        except BaseException:
            self.close()  # answers that nobody read must not be taken for those of the next batch
            raise
        if self._child is not None and self._child.documents >= DOCUMENTS_PER_CHILD:
            self.close()
        return outcomes

    def _timeout(self) -> Failed:
        return Failed("extraction-timeout", f"more than {self._timeout_seconds:g} s")

    def _cause(self, code: int) -> str:
        if code == protocol.OUT_OF_MEMORY:
            return f"out of memory (limit {self._max_memory_mb:,} MB)"
        if code < 0:
            with contextlib.suppress(ValueError):
                return (
                    f"the process was ended by {signal.Signals(-code).name} (memory limit {self._max_memory_mb:,} MB)"
                )
        return f"the process ended with exit code {code}"


class _TimedOutError(Exception):
    pass


class _DiedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Child:
    """One process and its two pipes."""

    def __init__(self, options: str, function: str) -> None:
        # What this process can import its child can, however it was made possible.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "data_tools.extraction.child", options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._buffer = bytearray()
        self.documents = 0
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._wait_until_ready(function)

    def _wait_until_ready(self, function: str) -> None:
        detail = "no answer"
        try:
            status = self._read(1, _START_SECONDS)[0]
            if status == protocol.READY:
                return
            rest = self._read(protocol.ANSWER.size - 1, _START_SECONDS)
            _, facts_bytes, _ = protocol.ANSWER.unpack(bytes([status]) + rest)
            detail = json.loads(self._read(facts_bytes, _START_SECONDS))["detail"]
        except _DiedError as death:
            detail = f"exit code {death.code}"
        except _TimedOutError:
            pass
        self.kill()
        raise DataError(
            f"the process for extraction could not be started ({detail})",
            where=function,
            fix="Check that Python packages of the extra 'web' can be imported, and that memory is left.",
        )

    def send(self, batch: list[Task]) -> None:
        """Send documents, and wait until the child has them all."""
        pieces = [protocol.COUNT.pack(len(batch))]
        for task in batch:
            hints = json.dumps(task.hints).encode() if task.hints else b""
            pieces += [protocol.LENGTHS.pack(len(hints), len(task.document)), hints, task.document]
        view = memoryview(b"".join(pieces))
        writable = select.poll()
        writable.register(self._in, select.POLLOUT)
        while view:
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                if not writable.poll(_START_SECONDS * 1000):
                    raise self._death() from None
            except BrokenPipeError:
                raise self._death() from None
        try:
            self._read(1, _START_SECONDS)
        except _TimedOutError:
            raise self._death() from None
        self.documents += len(batch)

    def answer(self, timeout_seconds: float) -> Extraction | Failed:
        """The next answer.

        The child begins a document when it has answered the one before, so the time from one answer to the next is
        that document's. (What the child answered while we were busy is in the pipe already and never too late.)
        """
        head = self._read(protocol.ANSWER.size, timeout_seconds)
        status, facts_bytes, text_bytes = protocol.ANSWER.unpack(head)
        raw_facts = self._read(facts_bytes, timeout_seconds)
        text = self._read(text_bytes, timeout_seconds).decode("utf-8", "surrogatepass")
        facts = json.loads(raw_facts) if raw_facts else {}
        if status == protocol.DONE:
            return Extraction(text, facts)
        return Failed(facts["reason"], facts["detail"])

    def _read(self, size: int, timeout_seconds: float) -> bytes:
        deadline = time.monotonic() + timeout_seconds
        poll = select.poll()
        poll.register(self._out, select.POLLIN | select.POLLHUP)
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            # Even when late, what is there already counts.
            if not poll.poll(max(0.0, left) * 1000):
                raise _TimedOutError
            data = os.read(self._out, _READ_BYTES)
            if not data:
                raise self._death()
            self._buffer += data
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _death(self) -> _DiedError:
        try:
            return _DiedError(self._process.wait(timeout=5))
        except subprocess.TimeoutExpired:
            return _DiedError(0)

    def kill(self) -> None:
        self._finalizer()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()
