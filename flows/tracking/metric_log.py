"""Reads `metrics.jsonl` a piece at a time, while a trainer appends to it or has cut its end off.

A resumed training cuts the lines after its checkpoint and writes those steps again (with the same values, its resume is
bit-exact, but at a later time). So the cursor remembers, beside the byte offset, what the bytes before it looked like
and the last step that each metric was told for: a file that was cut is read again from the start, and a step that
MLflow knows already isn't told twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANCHOR_BYTES = 256
NOT_METRICS = frozenset({"step", "time"})


@dataclass(frozen=True)
class Point:
    key: str
    value: float
    step: int
    milliseconds: int


@dataclass
class Cursor:
    """How far a file was told."""

    offset: int = 0
    anchor: str = ""
    last_steps: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"offset": self.offset, "anchor": self.anchor, "last_steps": self.last_steps}

    @classmethod
    def of(cls, saved: dict[str, Any] | None) -> Cursor:
        return cls(**saved) if saved else cls()


def metric_name(name: str) -> str:
    """`name` with only what MLflow allows: letters, digits and `_ - . : / space`, and no empty path part."""
    cleaned = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    return "/".join(part for part in cleaned.split("/") if part not in ("", ".", ".."))[:250] or "unnamed"


def points_of(line: bytes) -> list[Point]:
    """One line as points. A line that isn't a measurement (torn by a crash, foreign) has none."""
    try:
        event = json.loads(line)
        step, milliseconds = int(event["step"]), int(float(event["time"]) * 1000)
    except (ValueError, KeyError, TypeError, OverflowError):
        return []
    return [
        Point(metric_name(key), float(value), step, milliseconds)
        for key, value in event.items()
        if key not in NOT_METRICS and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def read_points(path: Path, cursor: Cursor, limit: int, until: float | None = None) -> tuple[list[Point], Cursor]:
    """The next points after `cursor`, at least `limit` of them unless the file ends before.

    Args:
        until: lines of this unix time or later belong to another run that continued the work; they are left out.

    Returns:
        The points (in the order of the file) and the cursor after them; the cursor equals the one given where
        there is nothing new. An unfinished last line waits for its end.
    """
    points: list[Point] = []
    last_steps = dict(cursor.last_steps)
    offset = cursor.offset
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return [], cursor
    with file:
        if cursor.offset and _anchor(file, cursor.offset) != cursor.anchor:
            offset = 0
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            for point in points_of(line):
                if until is not None and point.milliseconds >= until * 1000:
                    continue
                if point.step > last_steps.get(point.key, -1):
                    points.append(point)
                    last_steps[point.key] = point.step
            if len(points) >= limit:
                break
        if offset == cursor.offset and not points:
            return [], cursor
        return points, Cursor(offset, _anchor(file, offset), last_steps)


def expected_steps(path: Path, until: float | None = None) -> dict[str, set[int]]:
    """Every step of every metric that MLflow should know."""
    steps: dict[str, set[int]] = {}
    for point in _all_points(path):
        if until is None or point.milliseconds < until * 1000:
            steps.setdefault(point.key, set()).add(point.step)
    return steps


def _all_points(path: Path) -> Iterator[Point]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.endswith(b"\n"):
                yield from points_of(line)


def _anchor(file: Any, offset: int) -> str:
    """Hash of the bytes before `offset`; empty where the file is shorter than that."""
    start = max(0, offset - ANCHOR_BYTES)
    file.seek(start)
    content = file.read(offset - start)
    return hashlib.sha256(content).hexdigest()[:16] if len(content) == offset - start else ""
