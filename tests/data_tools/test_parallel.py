from __future__ import annotations

import os

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


def die(value: int) -> int:
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_shards_order(workers: int) -> None:
    seen: list[tuple[float, float | None]] = []
    result = map_shards(
        square,
        list(range(7)),
        runtime=DataRuntime(workers=workers),
        sizes=[10] * 7,
        progress=lambda done, total, _="": seen.append((done, total)),
    )
    assert result == [i * i for i in range(7)]
    assert seen[0] == (0, 70) and seen[-1] == (70, 70)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_its_parts(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        map_shards(refuse, list(range(6)), runtime=DataRuntime(workers=workers))
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("bad shard", "shard 3", "Mend it.")


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(DataError, match="killed"):
        map_shards(die, [1, 2, 3], runtime=DataRuntime(workers=2))


def test_worker_count() -> None:
    assert worker_count(8, 3) == 3
    assert worker_count(0, 3, total_bytes=1000) == 1
    assert worker_count(2, 3, total_bytes=1000) == 2
    assert worker_count(0, 0) == 1
