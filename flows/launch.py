"""Runs a stage as a child process and never leaves it behind.

The child sits in a process group of its own. Whatever way this side leaves (done, an error, Ctrl-C, SIGTERM), the child
gets SIGTERM, time to save its state, and then its whole group is killed. The child talks in lines of JSON on stdout.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from flows.errors import (
    EXIT_CONFIG,
    EXIT_DISK,
    EXIT_DIVERGED,
    EXIT_LOCKED,
    EXIT_OUT_OF_MEMORY,
    EXIT_PREEMPTED,
    ArtifactLocked,
    DiskFull,
    Preempted,
    StageFailed,
)
from flows.lineage.atomic import write_json

Progress = Callable[[float, float | None, str], None]
Log = Callable[[str], None]

#: Seconds that the child gets to save its state after SIGTERM. Prefect kills a cancelled run after 30 s.
GRACE = 25.0
#: A longer line of output is cut; a progress line has a hundred characters.
_LINE_LIMIT = 1_000_000
_TAIL_LINES = 40

_TRAINER = (sys.executable, "-m", "llm_core.train")
_TORCHRUN = (sys.executable, "-m", "llm_core.train.launch")
#: Doors that several processes go through together.
_TRAINING = ("pretrain", "finetune_classifier", "finetune_assistant")
#: A process that was ended by a signal counts as 128 + its number, as in a shell, where several report as one.
_KILLED = 128
_ADVICE = {
    EXIT_OUT_OF_MEMORY: "Set runtime.llm.micro_batch_rows lower, or make the model smaller.",
    EXIT_DIVERGED: "Lower the learning rate, lengthen the warmup, or set clip_norm.",
}

_log = logging.getLogger(__name__)


def run_in_child(
    stage: str,
    request: Mapping[str, Any],
    *,
    progress: Progress,
    log: Log,
    folder: Path | None = None,
    command: Sequence[str] | None = None,
    grace: float = GRACE,
    started: Callable[[int], None] | None = None,
) -> dict[str, int | float | str]:
    """Run one stage in a child process and return its counters.

    Args:
        stage: its name, for messages and file names.
        request: what the child is asked to do; JSON.
        progress: called with (done, total, message), from a thread.
        log: called with a line of text, from a thread.
        folder: where the request and the child's full output are kept; None keeps neither.
        command: what to start; the path of the request is appended. None: the trainer, in as many processes as the
            request says.
        grace: seconds between SIGTERM and SIGKILL.
        started: called with the child's process id.

    Raises:
        Preempted: it was told to stop, and saved its state (exit code 75).
        DiskFull, ArtifactLocked: exit codes 74, 73.
        StageFailed: anything else; its exit code says what.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groundup-")))
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / f"{stage}.request.json", dict(request))
        stack.enter_context(_sigterm_raises())
        output = stack.enter_context((place / f"{stage}.log").open("a", encoding="utf-8", buffering=1))
        process = subprocess.Popen(
            [*(command or trainer_command(request)), str(place / f"{stage}.request.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,
        )
        listener = _Listener(process, progress, log, output)
        try:
            if started is not None:
                started(process.pid)
            process.wait()
        except BaseException:
            _stop(process, grace)
            raise
        finally:
            # What the child itself started goes with it. A second Ctrl-C ends the grace time and comes here too.
            _kill_group(process)
            listener.join()
    return _outcome(stage, process.returncode, listener)


def trainer_command(request: Mapping[str, Any]) -> list[str]:
    """One process, or a training stage's several under torchrun."""
    processes = int(request.get("runtime", {}).get("parallel", {}).get("processes", 1))
    if processes > 1 and request.get("stage") in _TRAINING:
        return [*_TORCHRUN, str(processes)]
    return list(_TRAINER)


def child_environment() -> dict[str, str]:
    """Ours without what would tie the child to our MLflow run or to Prefect's control channel."""
    return {
        **{k: v for k, v in os.environ.items() if k != "MLFLOW_RUN_ID" and not k.startswith("PREFECT__")},
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


class _Listener:
    """Reads both pipes on threads, to their ends, so that the child never waits for a reader."""

    def __init__(self, process: subprocess.Popen[bytes], progress: Progress, log: Log, output: IO[str]) -> None:
        self.counters: dict[str, int | float | str] | None = None
        self.error: dict[str, Any] = {}
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._progress, self._log, self._output = progress, log, output
        assert process.stdout is not None and process.stderr is not None
        self._threads = [
            threading.Thread(target=self._read, args=(pipe, heard), name=f"{process.pid}-{name}", daemon=True)
            for pipe, heard, name in ((process.stdout, self._hear, "stdout"), (process.stderr, self._note, "stderr"))
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        # A process that left the group may still hold the pipe; what the child itself said is here by now.
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _read(self, pipe: IO[bytes], heard: Callable[[str], None]) -> None:
        complained = False
        with contextlib.suppress(ValueError):  # closed under us
            while line := pipe.readline(_LINE_LIMIT):
                text = line.decode("utf-8", errors="replace").rstrip("\r\n")
                try:
                    heard(text)
                except Exception:
                    # Whoever listens may have a bug; the child must not stall on a full pipe because of it.
                    if not complained:
                        _log.exception("a line of the child's output couldn't be passed on: %.200s", text)
                    complained = True

    def _hear(self, text: str) -> None:
        message = _message(text)
        if message is None:
            self._note(text)
        elif "progress" in message:
            done, total, *rest = message["progress"]
            self._progress(float(done), None if total is None else float(total), str(rest[0]) if rest else "")
        elif "log" in message:
            self._write(str(message["log"]))
            self._log(str(message["log"]))
        elif isinstance(message.get("counters"), dict):
            self.counters = message["counters"]
        elif isinstance(message.get("error"), dict):
            if not self.error or _follows_from_another(self.error):
                self.error = message["error"]
            self._write(f"error: {message['error'].get('message')}")
        else:
            self._note(text)

    def _note(self, text: str) -> None:
        if text.strip():
            self.tail.append(text)
        self._write(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(ValueError):  # a straggler's line after the file was closed
            self._output.write(text + "\n")


def _follows_from_another(error: Mapping[str, Any]) -> bool:
    """Of several processes: whether this one ended because another did, whose own error says more."""
    return error.get("exit_code") == EXIT_PREEMPTED or error.get("type") == "ConnectionError"


def _message(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM to the child alone: its own workers must live on while it saves."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Without a handler, SIGTERM would end this process before it could stop its child. Prefect brings its own."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _outcome(stage: str, code: int, listener: _Listener) -> dict[str, int | float | str]:
    said = str(listener.error.get("message") or "")
    parts = {name: str(listener.error.get(name) or "") for name in ("what", "where", "fix")}
    place = f"{stage}, {parts['where']}" if parts["where"] else stage
    if code == EXIT_PREEMPTED and listener.error.get("exit_code"):  # told to stop, and something came in between
        code = int(listener.error["exit_code"])
    if code > _KILLED:
        code = _KILLED - code
    if code == 0:
        if listener.counters is None:
            raise StageFailed(stage, 1, "the process ended well but never said what it had counted.")
        return listener.counters
    if code in (EXIT_PREEMPTED, -signal.SIGTERM, -signal.SIGINT):
        raise Preempted(stage)
    if code == EXIT_DISK:
        raise DiskFull(parts["what"] or said or "the disk is full, or can't be written to.", place, parts["fix"])
    if code == EXIT_LOCKED:
        raise ArtifactLocked(said or "another run is writing this artifact.", where=stage)
    if code in (EXIT_CONFIG, EXIT_OUT_OF_MEMORY, EXIT_DIVERGED):
        words = {EXIT_OUT_OF_MEMORY: "out of memory.", EXIT_DIVERGED: "the loss diverged."}
        message = said or words.get(code) or _last_words(listener)
        advice = _ADVICE.get(code, "") if not said else ""
        failure = StageFailed(stage, code, f"{message} {advice}".strip())
        if parts["what"]:
            failure.what, failure.where, failure.fix = parts["what"], place, parts["fix"]
        raise failure
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        reason = f"the process was killed ({name})."
        if code == -signal.SIGKILL:
            reason += " Often that is the system running out of memory. Run again to resume from the last checkpoint."
        raise StageFailed(stage, 128 - code, f"{reason}{_last_words(listener, prefix=' Its last words: ')}")
    kind = f"{listener.error.get('type')}: " if listener.error.get("type") else ""
    raise StageFailed(stage, 1, f"{kind}{said}".strip() + _last_words(listener, prefix="\n") or f"exit code {code}.")


def _last_words(listener: _Listener, prefix: str = "") -> str:
    lines = list(listener.tail)
    return prefix + "\n".join(lines) if lines else ""
