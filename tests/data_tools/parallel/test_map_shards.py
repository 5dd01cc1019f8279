from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from data_tools.config import DataRuntime
from data_tools.errors import DataError
from data_tools.parallel import map_shards, worker_count


def square(value: int) -> int:
    return value * value


def refuse(value: int) -> int:
    if value == 3:
        raise DataError("bad shard", where=f"shard {value}", fix="Mend it.")
    return value


class Stubborn(Exception):
    """Can be pickled, but not be made again from its pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def stubborn(value: int) -> int:
    raise Stubborn("no", "way")


def die(value: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return value


def write_and_wait(folder: Path, value: int) -> int:
    (folder / f"{value}.pid").write_text(str(os.getpid()))
    time.sleep(60)
    return value


def lengthy(size: int, value: str) -> str:
    return value[:1] * size


def setting(name: str, value: int) -> str | None:
    return os.environ.get(name)


def note(folder: Path, value: int) -> dict[str, int]:
    with (folder / "calls").open("a") as handle:
        handle.write(f"{value}\n")
    if value == 4 and not (folder / "mended").exists():
        raise DataError("bad shard")
    return {"value": value}


RUNTIMES = [
    DataRuntime(executor="serial"),
    DataRuntime(workers=1),
    DataRuntime(workers=2),
    DataRuntime(executor="processes", workers=3),
]


def named(runtime: DataRuntime) -> str:
    return f"{runtime.executor}-{runtime.workers}"


@pytest.mark.parametrize("runtime", RUNTIMES, ids=named)
def test_results_come_in_the_shards_order(runtime: DataRuntime) -> None:
    seen: list[tuple[float, float | None]] = []
    threads: set[int] = set()

    def progress(done: float, total: float | None, message: str = "") -> None:
        seen.append((done, total))
        threads.add(threading.get_ident())

    result = map_shards(square, list(range(7)), runtime=runtime, sizes=[10] * 7, progress=progress)
    assert result == [i * i for i in range(7)]
    assert seen == [(10 * i, 70) for i in range(8)]
    assert threads == {threading.get_ident()}, "progress is told in the caller's thread"


@pytest.mark.parametrize("runtime", RUNTIMES[1:3], ids=named)
def test_errors_come_through(runtime: DataRuntime) -> None:
    with pytest.raises(DataError) as caught:
        map_shards(refuse, list(range(6)), runtime=runtime)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("bad shard", "shard 3", "Mend it.")


def test_an_error_that_can_not_be_pickled_keeps_its_text() -> None:
    with pytest.raises(RuntimeError, match="Stubborn: no way"):
        map_shards(stubborn, [1, 2], runtime=DataRuntime(workers=2))


def test_tasks_and_results_larger_than_a_pipe() -> None:
    size = 3_000_000
    shards = [letter * size for letter in "abcdefgh"]
    assert map_shards(partial(lengthy, size), shards, runtime=DataRuntime(workers=2)) == shards


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(DataError, match="killed by SIGKILL"):
        map_shards(die, [1, 2, 3], runtime=DataRuntime(workers=2))


def test_the_ledger_remembers(tmp_path: Path) -> None:
    work, ledger = partial(note, tmp_path), tmp_path / "finished.tmp" / "noting"
    with pytest.raises(DataError):
        map_shards(work, list(range(6)), ledger=ledger)
    (tmp_path / "mended").touch()
    seen: list[float] = []
    result = map_shards(work, list(range(6)), ledger=ledger, progress=lambda done, total, message="": seen.append(done))
    assert result == [{"value": value} for value in range(6)]
    assert (tmp_path / "calls").read_text().split() == [*list("012344"), "5"]
    assert seen == [4, 5, 6]


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from data_tools.config import DataRuntime
from data_tools.parallel import map_shards
from tests.data_tools.parallel.test_map_shards import write_and_wait

if __name__ == "__main__":
    map_shards(partial(write_and_wait, Path(sys.argv[1])), list(range(50)), runtime=DataRuntime(workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda value: value.name)
def test_no_process_stays(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        # The workers, the server that they were forked from, and multiprocessing's own tracker.
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(how)
        assert process.wait(20) != 0
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_very_many_shards() -> None:
    assert map_shards(square, range(20_000), runtime=DataRuntime(workers=2)) == [i * i for i in range(20_000)]


def test_workers_see_the_environment_of_their_map(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("GROUNDUP_TEST_SETTING", value)
        found = map_shards(partial(setting, "GROUNDUP_TEST_SETTING"), [1, 2], runtime=DataRuntime(workers=2))
        assert found == [value, value]


def test_worker_count() -> None:
    assert worker_count(8, 3) == 3
    assert worker_count(0, 3, total_bytes=1000) == 1
    assert worker_count(2, 3, total_bytes=1000) == 2
    assert worker_count(0, 0) == 1


@pytest.mark.parametrize("executor", ["dask", "ray"])
def test_a_missing_package_names_the_extra(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"dask": "distributed", "ray": "ray"}[executor], None)
    with pytest.raises(DataError, match=f"groundup\\[{executor}\\]"):
        map_shards(square, [1], runtime=DataRuntime.model_validate({"executor": executor}))


def test_nothing_to_do_starts_nothing() -> None:
    assert map_shards(square, [], runtime=DataRuntime(executor="ray")) == []
    assert json.dumps(map_shards(square, [], runtime=DataRuntime(executor="processes", workers=2))) == "[]"
