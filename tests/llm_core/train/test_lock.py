import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.errors import Locked
from llm_core.train.lock import LOCK, run_lock

HOLD = """
import sys, time
from pathlib import Path
from llm_core.train.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_living_trainer_is_named_and_a_dead_ones_lock_is_taken_over(tmp_path: Path) -> None:
    other = hold(tmp_path)
    try:
        with pytest.raises(Locked) as caught, run_lock(tmp_path):
            pass
        assert caught.value.exit_code == 73
        assert f"process {other.pid} on " in str(caught.value) and f"`kill {other.pid}`" in str(caught.value)
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid  # the refused one wrote nothing
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / LOCK).exists()
    with run_lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        with pytest.raises(Locked, match=f"process {os.getpid()}"), run_lock(tmp_path):
            pass
    assert not (tmp_path / LOCK).exists()


def test_rubbish_in_the_file_says_nothing_about_the_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(b"\xff{")
    with run_lock(tmp_path):
        (tmp_path / LOCK).write_bytes(b"\xff{")
        with pytest.raises(Locked, match="another process"), run_lock(tmp_path):
            pass


def test_a_lock_file_that_is_deleted_under_us_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, its holder leaves and deletes it."""
    open_file, opened = os.open, []

    def opening(path: Path, *arguments: int) -> int:
        descriptor = open_file(path, *arguments)
        if not opened:
            Path(path).unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", opening)
    with run_lock(tmp_path):
        assert len(opened) == 2 and (tmp_path / LOCK).exists()
        with pytest.raises(Locked), run_lock(tmp_path):
            pass
