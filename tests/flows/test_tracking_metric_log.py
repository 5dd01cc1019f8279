"""Reading a log of measurements that grows, is torn or is cut."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.tracking.metric_log import Cursor, Point, expected_steps, metric_name, points_of, read_points


def line(step: int, **values: object) -> str:
    return json.dumps({"step": step, "time": 1000 + step, **values}) + "\n"


def test_lines_become_points_with_their_own_time(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(line(3, tokens=7, **{"train/loss": 2.5}))
    points, cursor = read_points(log, Cursor(), 100)
    assert points == [Point("tokens", 7.0, 3, 1_003_000), Point("train/loss", 2.5, 3, 1_003_000)]
    assert cursor.offset == log.stat().st_size
    again, same = read_points(log, cursor, 100)
    assert again == [] and same is cursor


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    whole = line(1, loss=1.0) + line(2, loss=2.0)
    log.write_text(whole[:-5])
    points, cursor = read_points(log, Cursor(), 100)
    assert [p.step for p in points] == [1]
    log.write_text(whole)
    points, _ = read_points(log, cursor, 100)
    assert [p.step for p in points] == [2]


def test_what_is_no_measurement_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        '{"step": 1, "ti\n\n[1]\n"text"\n{"step": null, "time": 1, "a": 1}\n' + line(5, loss=1.0, note="x", ok=True)
    )
    points, _ = read_points(log, Cursor(), 100)
    assert [(p.key, p.step) for p in points] == [("loss", 5)]
    (nan,) = points_of(b'{"step": 1, "time": 1, "loss": NaN}')
    assert math.isnan(nan.value)
    assert points_of(b'{"step": 1, "time": 1, "loss": null}') == []


def test_a_later_runs_lines_are_not_ours(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(line(step, loss=1.0) for step in range(6)))
    points, cursor = read_points(log, Cursor(), 100, until=1003.0)
    assert [p.step for p in points] == [0, 1, 2]
    assert expected_steps(log, until=1003.0) == {"loss": {0, 1, 2}}
    assert read_points(log, cursor, 100, until=1003.0) == ([], cursor)


@given(
    attempts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8),
    limit=st.integers(1, 50),
)
def test_every_step_is_read_once_however_often_the_log_is_cut(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, int]], limit: int
) -> None:
    """Each attempt cuts the log at its checkpoint and writes on from there; the reader looks in between."""
    log = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    told: list[int] = []
    cursor, lines, clock = Cursor(), [], 0
    for checkpoint, steps in attempts:
        lines = lines[:checkpoint]
        for _ in range(steps):
            clock += 1
            lines.append(json.dumps({"step": len(lines), "time": clock, "loss": 1.0}) + "\n")
        log.write_text("".join(lines))
        while True:
            points, after = read_points(log, cursor, limit)
            if after is cursor:
                break
            told += [point.step for point in points]
            cursor = Cursor.of(json.loads(json.dumps(after.as_dict())))
    assert told == sorted(set(told))
    assert set(told) >= expected_steps(log).get("loss", set())


def test_names_become_what_mlflow_takes() -> None:
    assert metric_name("train/loss") == "train/loss"
    assert metric_name("f1[é]//x") == "f1___/x"
    assert metric_name("../..") == "unnamed"
