"""What a person sees while the stages run: a live list on a terminal, plain lines anywhere else.

The flow doesn't know which of them is watching: it looks up :func:`current_display`, and a run that nobody watches
(a worker, a test) gets :class:`NullDisplay`.

A ``Display`` may be called from any thread, and never raises into the stage that reports.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from flows.wording import Counters, clean, show_counters, show_number, show_seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table


class NamedStage(Protocol):
    """Anything with a name and a title; ``flows.stages.Stage`` is one."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...


class Display:
    """The calls that a run makes. This base shows nothing."""

    def stage_started(self, stage: NamedStage | str) -> None:
        """The stage begins (or resumes) its work."""

    def progress(self, stage: NamedStage | str, done: float, total: float | None, message: str = "") -> None:
        """``done`` of ``total`` units are finished; ``message`` is short, such as the loss."""

    def stage_finished(
        self, stage: NamedStage | str, action: str, counters: Counters | None = None, seconds: float = 0.0
    ) -> None:
        """``action`` says how it ended: ``completed`` (also ``run``, ``resume``), ``reused``, ``failed`` or
        ``interrupted``."""

    def log(self, line: str) -> None:
        """A line worth reading that belongs to no bar."""

    def close(self) -> None:
        """The last call. Leaves the terminal as it was found."""


class NullDisplay(Display):
    """Nobody is watching."""


_display: ContextVar[Display | None] = ContextVar("groundup_display", default=None)
_NOBODY = NullDisplay()


def current_display() -> Display:
    """The display of this run, or one that shows nothing."""
    return _display.get() or _NOBODY


@contextmanager
def use_display(display: Display) -> Iterator[Display]:
    """Make ``display`` the current one, and close it at the end, whatever way the block leaves."""
    token = _display.set(display)
    try:
        yield display
    finally:
        _display.reset(token)
        display.close()


def choose_display(stages: Sequence[NamedStage], *, plain: bool = False, stream: TextIO | None = None) -> Display:
    """A live list where ``stream`` (default: stdout) is a terminal, plain lines otherwise or when asked for."""
    stream = stream or sys.stdout
    if plain or not stream.isatty():
        return PlainDisplay(stream)
    return RichDisplay(stages)


def wide_console() -> Console:
    """For tables and trees: their lines reach a pipe whole, and a narrow terminal wraps them."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 400)


def stage_name(stage: NamedStage | str) -> str:
    return stage if isinstance(stage, str) else stage.name


def stage_title(stage: NamedStage | str) -> str:
    return stage.replace("_", " ") if isinstance(stage, str) else stage.title


@dataclass
class StageState:
    """What is known about one stage on its way."""

    title: str
    status: str = "waiting"  # waiting, running, completed, reused, failed, interrupted
    done: float = 0.0
    total: float | None = None
    message: str = ""
    seconds: float = 0.0
    counters: str = ""
    started: float = 0.0
    #: (time, done) of the last few reports, for the speed.
    marks: list[tuple[float, float]] = field(default_factory=list)

    def mark(self, now: float, done: float, total: float | None, message: str) -> None:
        # Work that counts anew (a second phase of the stage) or that restarts elsewhere makes old marks meaningless.
        if self.marks and (done < self.done or total != self.total):
            self.marks.clear()
        self.done, self.total, self.message = done, total, clean(message)
        if not self.marks or now - self.marks[-1][0] >= 0.5:
            self.marks.append((now, done))
            del self.marks[:-40]

    @property
    def rate(self) -> float | None:
        """Units per second over the last marks; None before there is anything to measure."""
        if len(self.marks) < 2:
            return None
        (t0, d0), (t1, d1) = self.marks[0], self.marks[-1]
        return (d1 - d0) / (t1 - t0) if t1 > t0 and d1 > d0 else None

    @property
    def seconds_left(self) -> float | None:
        rate = self.rate
        return (self.total - self.done) / rate if rate and self.total is not None else None

    def amount(self) -> str:
        """``412/900``, or ``412`` where the total isn't known."""
        return show_number(self.done) + (f"/{show_number(self.total)}" if self.total is not None else "")


def ending(action: str) -> str:
    """The word for how a stage ended."""
    if action == "reuse":
        return "reused"
    return action if action in ("reused", "failed", "interrupted") else "completed"


# ------------------------------------------------------------------------------------------------------ plain lines


class PlainDisplay(Display):
    """One line an event, no control characters; progress at most once in ``every`` seconds for a stage.

    Args:
        stream: where the lines go.
        every: seconds between two progress lines of one stage.
        clock: seconds that only grow (a test brings its own).
    """

    def __init__(
        self, stream: TextIO | None = None, every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stdout
        self._every, self._clock = every, clock
        self._began = clock()
        self._said: dict[str, float] = {}
        self._states: dict[str, StageState] = {}
        self._lock = threading.Lock()

    def _write(self, line: str) -> None:
        elapsed = int(self._clock() - self._began)
        text = f"[{elapsed // 60:02d}:{elapsed % 60:02d}] {line}\n"
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, errors="replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # the reader of a pipe went away: the work goes on without it
            self._stream = _Nowhere()

    def stage_started(self, stage: NamedStage | str) -> None:
        with self._lock:
            name, now = stage_name(stage), self._clock()
            self._states[name] = StageState(stage_title(stage), "running", started=now)
            self._said[name] = now
            self._write(f"{name}: started")

    def progress(self, stage: NamedStage | str, done: float, total: float | None, message: str = "") -> None:
        with self._lock:
            name, now = stage_name(stage), self._clock()
            state = self._states.setdefault(name, StageState(stage_title(stage), "running", started=now))
            state.mark(now, done, total, message)
            if now - self._said.setdefault(name, now) < self._every:
                return
            self._said[name] = now
            parts = [state.amount()]
            if total:
                parts.append(f"({min(1.0, done / total):.0%})")
            if state.rate:
                parts.append(f"{show_number(state.rate)}/s")
            if state.message:
                parts.append(state.message)
            self._write(f"{name}: {' '.join(parts)}")

    def stage_finished(
        self, stage: NamedStage | str, action: str, counters: Counters | None = None, seconds: float = 0.0
    ) -> None:
        with self._lock:
            how, told = ending(action), show_counters(counters)
            line = f"{stage_name(stage)}: {how}"
            if how != "reused":
                line += f" {'in' if how == 'completed' else 'after'} {show_seconds(seconds)}"
            self._write(line + (f" ({told})" if told else ""))

    def log(self, line: str) -> None:
        with self._lock:
            for part in line.splitlines():
                if clean(part):
                    self._write(clean(part))


class _Nowhere(TextIO if TYPE_CHECKING else object):  # type: ignore[misc]
    """Where lines go once nobody reads them."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


# ------------------------------------------------------------------------------------------------------ live list


class RichDisplay(Display):
    """All stages as a list on the terminal: waiting, running with a bar, done with its seconds, reused.

    Args:
        stages: what is going to run, in order, so that the whole way is visible from the start.
        console: a rich console (a test brings its own).
    """

    def __init__(self, stages: Sequence[NamedStage] = (), console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False)
        self._states = {stage.name: StageState(stage.title) for stage in stages}
        self._lock = threading.RLock()
        self._utf8 = self._console.encoding.lower().startswith("utf")
        # Live redirects stray prints above the list, so that no library can tear it.
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self.render)
        self._live.start()

    def _state(self, stage: NamedStage | str) -> StageState:
        return self._states.setdefault(stage_name(stage), StageState(stage_title(stage)))

    def stage_started(self, stage: NamedStage | str) -> None:
        with self._lock:
            state = self._state(stage)
            state.status, state.started = "running", time.monotonic()
            state.marks.clear()

    def progress(self, stage: NamedStage | str, done: float, total: float | None, message: str = "") -> None:
        with self._lock:
            state = self._state(stage)
            state.status = "running"
            state.mark(time.monotonic(), done, total, message)

    def stage_finished(
        self, stage: NamedStage | str, action: str, counters: Counters | None = None, seconds: float = 0.0
    ) -> None:
        with self._lock:
            state = self._state(stage)
            state.status, state.seconds, state.counters = ending(action), seconds, show_counters(counters)

    def log(self, line: str) -> None:
        from rich.text import Text

        for part in line.splitlines():
            if clean(part):
                self._console.print(Text(clean(part), style="dim"))

    def close(self) -> None:
        self._live.stop()

    def render(self) -> Table:
        """The list as it stands now."""
        from rich.table import Table
        from rich.text import Text

        marks = {
            "waiting": ("·" if self._utf8 else ".", "dim"),
            "running": ("▸" if self._utf8 else ">", "bold cyan"),
            "completed": ("✓" if self._utf8 else "+", "green"),
            "reused": ("=", "blue"),
            "failed": ("✗" if self._utf8 else "x", "bold red"),
            "interrupted": ("‖" if self._utf8 else "|", "yellow"),
        }
        table = Table.grid(padding=(0, 1))
        for _column in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            for state in self._states.values():
                mark, style = marks[state.status]
                title = Text(state.title, style="dim" if state.status == "waiting" else "")
                table.add_row(Text(mark, style=style), title, *self._cells(state))
        return table

    def _cells(self, state: StageState) -> tuple[RenderableType, RenderableType]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if state.status == "waiting":
            return Text("waiting", style="dim"), Text("")
        if state.status == "reused":
            return Text("reused", style="blue"), Text(state.counters, style="dim")
        if state.status != "running":
            style = {"completed": "green", "failed": "red"}.get(state.status, "yellow")
            said = show_seconds(state.seconds) if state.status == "completed" else state.status
            return Text(said, style=style), Text(state.counters, style="dim")
        elapsed = time.monotonic() - state.started
        details = [state.amount()] if state.done or state.total else []
        if state.rate:
            details.append(f"{show_number(state.rate)}/s")
        left = state.seconds_left
        details.append(f"{show_seconds(left)} left" if left is not None else show_seconds(elapsed))
        if state.message:
            details.append(state.message)
        known = state.total is not None and state.total > 0
        bar = ProgressBar(
            total=state.total if known else None,
            completed=min(state.done, state.total) if known and state.total is not None else 0,
            width=24,
            pulse=not known,
        )
        return bar, Text("  ".join(details))
