"""What one training looks like now, read from the files that it writes: curves, numbers, and what happened last.

Nothing is asked of the trainer. ``metrics.jsonl`` and ``events.jsonl`` are the source of truth, they are there while
it runs and long after, and a file that is missing, half-written or cut shorter by a resume is simply less to show.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lineage.manifest import MANIFEST, UNFINISHED
from flows.wording import clean, show_number, show_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"

#: Seconds of silence after which a training outside of a workspace counts as ended.
SILENCE = 120.0
#: Pairs of log lines that the speed is measured on.
RECENT = 30
#: Events in sight.
EVENTS_SHOWN = 6
#: Rows of the loss curve.
CURVE_ROWS = 7

#: What a person calls the metrics that come first, in this order; the others follow under their own names.
NAMES = {
    "val/loss": "validation loss",
    "val/bits_per_byte": "validation bits per byte",
    "train/bits_per_byte": "bits per byte",
    "train/lr": "learning rate",
    "train/grad_norm": "gradient norm",
    "perf/tokens_per_second": "tokens per second",
    "perf/mfu_nominal": "MFU (nominal peak)",
    "perf/mfu_measured": "MFU (measured peak)",
    "perf/memory_bytes": "memory",
}


class LinesTail:
    """The JSON objects of a file that grows, each told once.

    A resumed training cuts lines off and writes others; then everything is told again from the start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._before = b""  # the bytes before the offset, to see that it is the same file still

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """(True where what was told before holds no longer, the new objects). An unfinished line waits for its end."""
        try:
            file = self.path.open("rb")
        except OSError:
            anew, self._offset, self._before = self._offset > 0, 0, b""
            return anew, []
        with file:
            file.seek(self._offset - len(self._before))
            anew = file.read(len(self._before)) != self._before
            if anew:
                self._offset, self._before = 0, b""
                file.seek(0)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._before = (self._before + whole)[-256:]
        return anew, list(_objects(whole))


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            found = json.loads(line)
        except ValueError:  # torn by a crash
            continue
        if isinstance(found, dict):
            yield found


@dataclass
class Series:
    """One metric over the steps; None where it wasn't finite."""

    steps: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    @property
    def last(self) -> float | None:
        return self.values[-1] if self.values else None

    @property
    def finite(self) -> list[float]:
        return [value for value in self.values if value is not None]


class TrainingView:
    """Follows the training in ``folder``; :meth:`refresh` reads what is new, :meth:`render` draws it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metrics, self._events = LinesTail(folder / METRICS), LinesTail(folder / EVENTS)
        self.series: dict[str, Series] = {}
        self.events: list[dict[str, Any]] = []
        self.marks: list[tuple[float, int]] = []  # (unix time, step) of every line
        self.step, self.tokens = 0, 0

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def steps(self) -> int | None:
        """Steps in all, as the trainer said at its start."""
        told = [_number(event.get("steps")) for event in self.events]
        return next((int(steps) for steps in reversed(told) if steps), None)

    def refresh(self) -> None:
        """Read what was written since the last time."""
        anew, lines = self._metrics.read()
        if anew:
            self.series, self.marks, self.step, self.tokens = {}, [], 0, 0
        for line in lines:
            step = _number(line.get("step"))
            if step is None:
                continue
            self.step, self.tokens = int(step), int(_number(line.get("tokens")) or self.tokens)
            written = _number(line.get("time"))
            if written is not None:
                self.marks.append((written, self.step))
            for key, value in line.items():
                if key not in ("step", "time", "tokens") and (value is None or _number(value) is not None):
                    series = self.series.setdefault(key, Series())
                    series.steps.append(self.step)
                    series.values.append(_number(value))
        anew, events = self._events.read()
        self.events = ([] if anew else self.events) + events

    def status(self) -> str:
        """``training``, ``finished``, ``stopped`` (it can go on) or ``waiting`` (nothing is written yet)."""
        from flows.lineage.lock import is_locked

        last = str(self.events[-1].get("event")) if self.events else ""
        if last == "finished" or (self.folder / MANIFEST).is_file():
            return "finished"
        if (self.folder / UNFINISHED).is_file():  # in a workspace: whoever writes it holds its lock
            alive = is_locked(self.folder)
        else:
            alive = bool(self.events) and last != "preempted" and time.time() - self._written() < SILENCE
        if not alive:
            return "stopped"
        return "training" if self.series else "waiting"

    def _written(self) -> float:
        paths = [self.folder / METRICS, self.folder / EVENTS]
        return max((path.stat().st_mtime for path in paths if path.is_file()), default=0.0)

    def seconds_per_step(self) -> float | None:
        """The median over the last lines, so that a pause (a validation, a night) doesn't count."""
        recent = self.marks[-RECENT:]
        each = [
            (later - earlier) / (step - before)
            for (earlier, before), (later, step) in pairwise(recent)
            if step > before and later >= earlier
        ]
        return statistics.median(each) if each else None

    def seconds_left(self) -> float | None:
        each, steps = self.seconds_per_step(), self.steps
        return each * (steps - self.step) if each is not None and steps is not None else None

    # ------------------------------------------------------------------------------------------- drawing

    def render(self, *, width: int = 100, utf8: bool = True) -> RenderableType:
        """One frame."""
        from rich.console import Group

        parts: list[RenderableType] = [self._head(), self._bar(width)]
        loss = self.series.get("train/loss")
        if loss is not None and len(loss.finite) > 1:
            parts += ["", *self._curve(loss, width, utf8)]
        if self.series:
            parts += ["", self._numbers(width, utf8)]
        if self.events:
            parts += ["", *self._last_events()]
        return Group(*parts)

    def _head(self) -> Text:
        from rich.text import Text

        status = self.status()
        style = {"training": "bold cyan", "finished": "bold green", "stopped": "bold yellow"}.get(status, "dim")
        head = Text.assemble((self.name, "bold"), "  ", (status, style))
        if self.steps:
            head.append(f"  step {self.step:,} of {self.steps:,} ({self.step / self.steps:.0%})")
        elif self.step:
            head.append(f"  step {self.step:,}")
        if self.tokens:
            head.append(f"  {self.tokens:,} tokens")
        left = self.seconds_left()
        if status == "training" and left is not None:
            head.append(f"  {show_seconds(left)} left", "cyan")
        return head

    def _bar(self, width: int) -> RenderableType:
        from rich.progress_bar import ProgressBar

        return ProgressBar(total=self.steps or 1, completed=min(self.step, self.steps or 0), width=width)

    def _curve(self, loss: Series, width: int, utf8: bool) -> list[Text]:
        """The loss over all steps, with its scale at the left."""
        from rich.text import Text

        label = 9
        values = buckets(loss, width - label - 1)
        # The first steps of a training stand so high that the rest would lie flat at the bottom.
        top, bottom = sorted(values)[int(0.98 * (len(values) - 1))], min(values)
        rows = drawn(values, bottom, top, CURVE_ROWS, utf8)
        scale = {0: f"{top:.3f}", len(rows) - 1: f"{bottom:.3f}"}
        now = loss.last
        title = Text.assemble(("loss ", ""), (f"{now:.4f}" if now is not None else "not finite", "bold"))
        return [
            title,
            *(
                Text.assemble((scale.get(number, "").rjust(label) + " ", "dim"), (row, "cyan"))
                for number, row in enumerate(rows)
            ),
        ]

    def _numbers(self, width: int, utf8: bool) -> RenderableType:
        """Every other metric: its value, its curve in one line."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for justify in ("left", "right", "left", "left"):
            table.add_column(no_wrap=True, justify=justify)
        room = min(32, width - 42)  # what names and values leave
        known = [key for key in NAMES if key in self.series]
        for key in known + sorted(set(self.series) - set(known) - {"train/loss"}):
            series = self.series[key]
            low, high = min(series.finite, default=0.0), max(series.finite, default=0.0)
            line = drawn(buckets(series, room), low, high, 1, utf8)[0] if series.finite and room > 4 else ""
            note = ""
            if key.startswith("val/") and len(series.finite) > 1 and ("loss" in key or "bits" in key) and width >= 90:
                best = series.values.index(low)
                note = f"best {show_number(low)} at step {series.steps[best]:,}"
            table.add_row(
                Text(NAMES.get(key) or clean(key.partition("/")[2] or key).replace("_", " "), style="dim"),
                Text(shown(key, series.last), style="bold" if key in NAMES else ""),
                Text(line, style="cyan"),
                Text(note, style="dim"),
            )
        return table

    def _last_events(self) -> list[Text]:
        from rich.text import Text

        # Of checkpoints in a row the last one says it all.
        told = [
            event
            for event, following in zip(self.events, [*self.events[1:], {}], strict=True)
            if not (event.get("event") == "checkpoint" and following.get("event") == "checkpoint")
        ]
        lines = []
        for event in told[-EVENTS_SHOWN:]:
            written = _number(event.get("time"))
            clock = time.strftime("%H:%M:%S", time.localtime(written)) if written is not None else ""
            name = str(event.get("event", "")).replace("_", " ")
            details = {k: v for k, v in event.items() if k not in ("time", "step", "event", "path")}
            said = ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in details.items())
            bad = any(word in name for word in ("skipped", "rolled", "damaged", "halved", "hang", "preempted"))
            lines.append(
                Text.assemble(
                    (f"{clock:>8}  step {event.get('step', '')!s:>8}  ", "dim"),
                    (clean(name), "yellow" if bad else ""),
                    (f"  {clean(said)}", "dim"),
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
        return lines


def shown(key: str, value: float | None) -> str:
    """A metric's value in its unit."""
    if value is None:
        return "not finite"
    if "mfu" in key:
        return f"{value:.1%}"
    if key.endswith("bytes"):
        return f"{value / 1e9:.2f} GB"
    return f"{value:.3g}" if abs(value) < 0.01 and value else show_number(value)


def buckets(series: Series, width: int) -> list[float]:
    """At most ``width`` values: the means of equal stretches of the series (what isn't finite is left out)."""
    values = series.finite
    if len(values) <= width:
        return values
    edges = [number * len(values) // width for number in range(width + 1)]
    return [statistics.fmean(values[a:b]) for a, b in pairwise(edges)]


def drawn(values: Sequence[float], bottom: float, top: float, rows: int, utf8: bool) -> list[str]:
    """A column for each value, in eighths of a line, as ``rows`` lines from the top down."""
    blocks = " ▁▂▃▄▅▆▇█" if utf8 else " .:-=+*%#"
    spread = top - bottom
    # The lowest value shows as a line and not as nothing.
    heights = [1 + round((min(max((v - bottom) / spread, 0), 1) if spread > 0 else 0) * (8 * rows - 1)) for v in values]
    return ["".join(blocks[min(8, max(0, h - 8 * row))] for h in heights) for row in reversed(range(rows))]


def _number(value: Any) -> float | None:
    """``value`` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return value


def _plain(value: Any) -> str:
    number = _number(value)
    return show_number(number) if number is not None else str(value)


def trainings(workspace: Path) -> list[Path]:
    """The artifacts, finished or not, that hold a training log; the one written last at the end."""
    found = {
        path.parent
        for name in (METRICS, EVENTS)
        for path in (workspace / "artifacts").glob(f"*/*/{name}")
        if not path.parent.is_symlink()
    }
    return sorted(found, key=lambda folder: TrainingView(folder)._written())
