"""``kill -9`` at random moments of the data part, and the same command again: the bytes of a run that nobody touched,
and no process that stays behind.

Three kills, or as many as GROUNDUP_KILLS says; the moments are drawn from a seed that is printed, and that
GROUNDUP_KILLS_SEED sets.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.system.data_chain import differences, digests, make_corpus, start_chain

KILLS = int(os.environ.get("GROUNDUP_KILLS", "3"))
SEED = int(os.environ.get("GROUNDUP_KILLS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * KILLS)
def test_killed_and_run_again(tmp_path: Path) -> None:
    print(f"GROUNDUP_KILLS_SEED={SEED}")
    generator = random.Random(SEED)
    raw = tmp_path / "raw"
    make_corpus(raw)
    start = time.monotonic()
    _complete(start_chain(raw, tmp_path / "untouched", 1))
    whole_run = time.monotonic() - start
    untouched = digests(tmp_path / "untouched")

    kills = attempts = 0
    moments: list[str] = []
    while True:
        attempts += 1
        out = tmp_path / f"killed-{attempts}"
        while kills < KILLS:
            process, began = start_chain(raw, out, generator.choice([1, 2])), time.monotonic()
            try:
                process.wait(timeout=generator.uniform(0.2, 0.8) * whole_run)
                # It was through before: the first run of all compiled the kernels, or had to wait for the processor.
                whole_run = min(whole_run, time.monotonic() - began)
                break
            except subprocess.TimeoutExpired:
                moments.append(_kill(process))
                kills += 1
        _complete(start_chain(raw, out, 1))
        found = list(differences(untouched, digests(out)))
        assert found == [], f"seed {SEED}, killed in {moments}: {found}"
        moments.clear()
        if kills == KILLS:
            return


def _complete(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, f"seed {SEED}: {errors}"


def _kill(process: subprocess.Popen[str]) -> str:
    """Kill the main process only. Its workers have to notice; the stage that it was in."""
    os.kill(process.pid, signal.SIGKILL)
    said, _ = process.communicate()  # ends when nobody holds the pipe any more, so the workers are gone as well
    return (said.split() or ["start"])[-1]
