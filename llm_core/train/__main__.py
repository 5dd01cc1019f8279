"""``python -m llm_core.train REQUEST.json``: one stage in a process of its own.

The request names the stage (a door in llm_core.stages), its configuration, inputs, output folder and runtime. What
happens is told on stdout, one JSON object a line: {"progress": [done, total, message]}, {"log": text}, and at the end
{"counters": {...}} or {"error": {...}}. The exit code says what to do next; see :mod:`llm_core.errors`.

Started by torchrun it is one of several processes. The first of them speaks for all; the others tell their errors only.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel, ValidationError

from llm_core.config import AssistantConfig, ClassifierStage, EvaluateConfig, LlmRuntime, PretrainStage
from llm_core.errors import DiskFull, LlmCoreError, OutOfMemory, Preempted
from llm_core.train.interrupt import SIGNALS
from llm_core.train.lock import run_lock
from llm_core.train.parent import end_as_orphan, follow_the_parent

#: The stages that run here, and what their configuration is.
STAGES: dict[str, type[BaseModel]] = {
    "pretrain": PretrainStage,
    "finetune_classifier": ClassifierStage,
    "finetune_assistant": AssistantConfig,
    "evaluate": EvaluateConfig,
}
#: Seconds between two progress lines with the same total.
QUIET = 0.2


class Messages:
    """JSON lines to whoever started this process, on the stdout that it had at the start.

    After that, stdout is stderr: what a library prints doesn't get between the lines.
    """

    def __init__(self, *, errors_only: bool) -> None:
        self.errors_only = errors_only
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._last = 0.0

    def send(self, message: dict[str, Any]) -> None:
        if self.errors_only and "error" not in message:
            return
        with self._lock, contextlib.suppress(BrokenPipeError):  # nobody listens any more: go on, the log is on disk
            self._out.write(json.dumps(message, default=float) + "\n")
            self._out.flush()  # one write: lines of several processes don't mix

    def progress(self, done: float, total: float | None, message: str = "") -> None:
        if done == total or time.monotonic() - self._last >= QUIET:
            self._last = time.monotonic()
            self.send({"progress": [done, total, message]})

    def error(self, error: BaseException, message: str, exit_code: int) -> int:
        parts = {name: getattr(error, name, "") for name in ("what", "where", "fix")}
        self.send({"error": {"type": type(error).__name__, "message": message, "exit_code": exit_code, **parts}})
        return exit_code


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m llm_core.train REQUEST.json", file=sys.stderr)
        return 78
    # Before torch is imported. By default OpenMP's threads spin for milliseconds at every barrier; on shared cores that
    # burns the very time that the awaited thread needs (measured: docs/decisions.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    messages = Messages(errors_only=not is_main_process())
    follow_the_parent()
    if "WORLD_SIZE" in os.environ:
        end_as_orphan(Preempted.exit_code)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        counters = run_request(Path(arguments[0]), messages)
    except LlmCoreError as error:
        return messages.error(error, str(error), error.exit_code)
    except ValidationError as error:
        return messages.error(error, str(error), LlmCoreError.exit_code)
    except Exception as error:
        return _unexpected(error, messages)
    messages.send({"counters": counters})
    return 0


def run_request(path: Path, messages: Messages) -> dict[str, int | float | str]:
    """Read the request and run its stage.

    Raises:
        LlmCoreError: the request can't be used, or whatever the stage raises.
    """
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
        stage, config, inputs = request["stage"], request["config"], request["inputs"]
        out, runtime = Path(request["out"]), LlmRuntime.model_validate(request.get("runtime", {}))
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise LlmCoreError(f"the request can't be used ({error!r}).", where=str(path)) from error
    if stage not in STAGES:
        raise LlmCoreError(f"there is no stage {stage!r}.", where=str(path), fix=f"Known: {', '.join(STAGES)}.")
    from llm_core.train.device import keep_freed_memory

    keep_freed_memory()
    door = importlib.import_module(f"llm_core.stages.{stage}")
    folders = {name: Path(folder) for name, folder in inputs.items()}
    out.mkdir(parents=True, exist_ok=True)
    with run_lock(out) if is_main_process() else contextlib.nullcontext():
        counters: dict[str, int | float | str] = door.run(
            STAGES[stage].model_validate(config), folders, out, messages.progress, runtime
        )
    return counters


def is_main_process() -> bool:
    """Whether this is the first of several processes (torchrun says which), or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Outside of the training loop there is nothing to save: leave at once, and say that it can go on later."""
    name = signal.Signals(number).name
    raise Preempted(f"{name} arrived.", fix="Start it again to go on.")


def _unexpected(error: Exception, messages: Messages) -> int:
    from llm_core.train.memory import is_out_of_memory
    from llm_core.train.meter import disk_error

    if is_out_of_memory(error):
        return messages.error(error, f"there is not enough memory ({error}).", OutOfMemory.exit_code)
    full = disk_error(error, getattr(error, "filename", None) or "")
    if isinstance(full, DiskFull):
        return messages.error(full, str(full), full.exit_code)
    traceback.print_exc(file=sys.stderr)
    if is_lost_connection(error):
        lost = ConnectionError("another process of this run has ended, so this one can't go on.")
        return messages.error(lost, f"{lost} ({str(error).splitlines()[0][:200]})", 1)
    return messages.error(error, f"{type(error).__name__}: {error}", 1)


def is_lost_connection(error: Exception) -> bool:
    """Whether ``error`` says that another process of the run can't be reached. gloo has no class for that."""
    import torch.distributed as dist

    return dist.is_available() and (isinstance(error, dist.DistError) or "gloo" in str(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
