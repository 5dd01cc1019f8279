"""A child process is listened to, understood, stopped politely, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.errors import ArtifactLocked, DiskFull, Preempted, StageFailed, UserError, explain
from flows.launch import run_in_child, trainer_command

HEAD = """
import json, os, pathlib, signal, subprocess, sys, time
request = json.load(open(sys.argv[1]))
def say(**message): print(json.dumps(message), flush=True)
"""


class Heard:
    def __init__(self) -> None:
        self.progress: list[tuple[float, float | None, str]] = []
        self.lines: list[str] = []
        self.pid = 0

    def on_progress(self, done: float, total: float | None, message: str) -> None:
        self.progress.append((done, total, message))

    def on_start(self, pid: int) -> None:
        self.pid = pid


def run(tmp_path: Path, body: str, *, grace: float = 20.0, heard: Heard | None = None, **kwargs: Any) -> dict[str, Any]:
    script = tmp_path / "child.py"
    script.write_text(HEAD + body)
    heard = heard or Heard()
    return run_in_child(
        "pretrain",
        {"stage": "pretrain", "out": str(tmp_path)},
        progress=heard.on_progress,
        log=heard.lines.append,
        folder=tmp_path / "run",
        command=[sys.executable, str(script)],
        grace=grace,
        started=heard.on_start,
        **kwargs,
    )


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(true: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def test_progress_log_and_counters_come_through(tmp_path: Path) -> None:
    heard = Heard()
    counters = run(
        tmp_path,
        """
say(progress=[1, 2, "half"]); say(progress=[2, None, ""]); say(log="a line")
print("free text"); print("more", file=sys.stderr)
say(counters={"steps": 2, "loss": 1.5, "stage": request["stage"]})
""",
        heard=heard,
    )
    assert counters == {"steps": 2, "loss": 1.5, "stage": "pretrain"}
    assert heard.progress == [(1.0, 2.0, "half"), (2.0, None, "")]
    assert heard.lines == ["a line"]
    log = (tmp_path / "run" / "pretrain.log").read_text()
    assert {"a line", "free text", "more"} <= set(log.splitlines())
    assert json.loads((tmp_path / "run" / "pretrain.request.json").read_text())["stage"] == "pretrain"


def test_rubbish_on_stdout_is_harmless(tmp_path: Path) -> None:
    body = r"""
sys.stdout.buffer.write(b"\xff\xfe\x00 rubbish\n[1,2]\n3\nnull\n{\n{\"progress\": 7}\n{\"counters\": 3}\n")
sys.stdout.buffer.write(b"x" * 3_000_000 + b"\n")
sys.stdout.flush()
say(counters={"ok": 1})
"""
    assert run(tmp_path, body) == {"ok": 1}


def test_a_listener_that_raises_doesnt_stall_the_child(tmp_path: Path) -> None:
    def broken(done: float, total: float | None, message: str) -> None:
        raise RuntimeError("a bug in the display")

    heard = Heard()
    heard.on_progress = broken  # type: ignore[method-assign]
    body = "for i in range(20_000): say(progress=[i, None, 'x' * 50])\nsay(counters={'ok': 1})"
    assert run(tmp_path, body, heard=heard) == {"ok": 1}


@pytest.mark.parametrize(
    ("code", "kind", "part"),
    [
        (75, Preempted, "resume"),
        (73, ArtifactLocked, "said so"),
        (74, DiskFull, "said so"),
        (76, StageFailed, "said so"),
        (77, StageFailed, "said so"),
        (78, StageFailed, "said so"),
        (1, StageFailed, "KeyError: said so"),
    ],
)
def test_exit_codes_become_errors(tmp_path: Path, code: int, kind: type[UserError], part: str) -> None:
    body = f"say(error={{'type': 'KeyError', 'message': 'said so', 'exit_code': {code}}}); sys.exit({code})"
    with pytest.raises(kind) as caught:
        run(tmp_path, body)
    assert type(caught.value) is kind
    assert caught.value.exit_code == code
    assert part in (explain(caught.value) or "")


def test_a_crash_shows_the_end_of_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="ZeroDivisionError") as caught:
        run(tmp_path, "1 / 0")
    assert caught.value.exit_code == 1


def test_an_end_without_counters_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="never said"):
        run(tmp_path, "")


def test_a_child_killed_by_the_system_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="SIGKILL") as caught:
        run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert caught.value.exit_code == 137
    assert "memory" in str(caught.value)


def test_the_child_gets_no_mlflow_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    counters = run(tmp_path, "say(counters={k: v for k, v in os.environ.items() if k.startswith('MLFLOW')})")
    assert counters == {"MLFLOW_TRACKING_URI": "sqlite:///x.db"}


GRANDCHILD = """
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
(pathlib.Path(request["out"]) / "grandchild").write_text(str(grandchild.pid))
"""


def test_what_the_child_started_goes_with_it(tmp_path: Path) -> None:
    run(tmp_path, GRANDCHILD + "say(counters={'ok': 1})")
    wait_until(lambda: gone(int((tmp_path / "grandchild").read_text())))


def interrupt_once(ready: Path, number: int) -> threading.Thread:
    """Send this process a signal as soon as `ready` is there."""

    def wait() -> None:
        wait_until(ready.exists)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_to_us_reaches_the_child_which_saves(tmp_path: Path, number: int, raised: type[BaseException]) -> None:
    body = (
        GRANDCHILD
        + """
def save(*_):
    (pathlib.Path(request["out"]) / "saved").write_text("saved"); sys.exit(75)
signal.signal(signal.SIGTERM, save)
(pathlib.Path(request["out"]) / "ready").write_text("")
time.sleep(100)
"""
    )
    heard = Heard()
    interrupt_once(tmp_path / "ready", number)
    with pytest.raises(raised):
        run(tmp_path, body, heard=heard)
    assert (tmp_path / "saved").exists()
    assert gone(heard.pid)
    wait_until(lambda: gone(int((tmp_path / "grandchild").read_text())))


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace_time(tmp_path: Path) -> None:
    body = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(pathlib.Path(request["out"]) / "ready").write_text("")
time.sleep(100)
"""
    heard = Heard()
    interrupt_once(tmp_path / "ready", signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, body, heard=heard, grace=0.5)
    assert gone(heard.pid)


def test_an_unhandled_sigterm_of_the_whole_process_leaves_no_child(tmp_path: Path) -> None:
    """Without Prefect's handler: a plain script that runs a stage and gets SIGTERM."""
    child = tmp_path / "child.py"
    child.write_text(
        "import os, pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path / 'pid.tmp')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'pid.tmp')!r}, {str(tmp_path / 'pid')!r})\n"
        "time.sleep(100)\n"
    )
    code = (
        "import sys; from flows.launch import run_in_child\n"
        "run_in_child('pretrain', {}, progress=lambda *a: None, log=print, "
        f"command=[sys.executable, {str(child)!r}])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_until((tmp_path / "pid").exists)
    parent.terminate()
    assert parent.wait(timeout=30) == 143
    wait_until(lambda: gone(int((tmp_path / "pid").read_text())))


def test_training_in_several_processes_goes_by_torchrun() -> None:
    runtime = {"parallel": {"processes": 4}}
    several = trainer_command({"stage": "pretrain", "runtime": runtime})
    assert several[1:] == ["-m", "llm_core.train.launch", "4"]
    alone = [sys.executable, "-m", "llm_core.train"]
    assert trainer_command({"stage": "evaluate", "runtime": runtime}) == alone
    assert trainer_command({"stage": "pretrain", "runtime": {}}) == alone


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_several_processes_errors_the_cause_is_told(tmp_path: Path, order: tuple[int, int]) -> None:
    cause = {"type": "OutOfMemory", "message": "there is not enough memory", "exit_code": 76}
    consequence = {"type": "ConnectionError", "message": "another process has ended", "exit_code": 1}
    told = [[cause, consequence][number] for number in order]
    with pytest.raises(StageFailed, match="not enough memory") as failed:
        run(tmp_path, f"for error in {told!r}: say(error=error)\nsys.exit(76)")
    assert failed.value.exit_code == 76


def test_a_killed_one_of_several_is_told_as_killed(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"SIGKILL.*resume") as failed:
        run(tmp_path, "sys.exit(137)")
    assert failed.value.exit_code == 137
