"""What a person sees of a run: plain lines that a log can keep, and a live list that no library can tear."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass

import pytest
from rich.console import Console

from flows.display import (
    Display,
    NullDisplay,
    PlainDisplay,
    RichDisplay,
    StageState,
    choose_display,
    current_display,
    use_display,
)
from flows.wording import clean, show_counters, show_number, show_seconds


@dataclass(frozen=True)
class Named:
    name: str
    title: str


STAGES = [Named("ingest", "Read the sources"), Named("pretrain", "Pretrain the language model")]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_word_for_word() -> None:
    stream, clock = io.StringIO(), Clock()
    display = PlainDisplay(stream, every=10, clock=clock)
    display.stage_finished(
        "ingest", "reused", {"bytes_in": 1, "removed": 16_217, "documents_out": 10_010, "removed.x": 3}
    )
    display.stage_started(STAGES[1])
    for second in range(1, 66):
        clock.now = float(second)
        display.progress(STAGES[1], second * 10, 900, "loss 4.21")
    display.log("one\n\x1b[31mtwo\x07")
    clock.now = 71
    display.stage_finished(
        STAGES[1], "run", {"steps": 900, "digest": "ab" * 32, "validation_bits_per_byte": 1.70512}, 71.0
    )
    display.stage_started("evaluate")
    display.stage_finished("evaluate", "failed", None, 3.04)
    display.close()
    assert stream.getvalue().splitlines() == [
        "[00:00] ingest: reused (documents 10,010 · removed 16,217)",
        "[00:00] pretrain: started",
        "[00:10] pretrain: 100/900 (11%) 10/s loss 4.21",
        "[00:20] pretrain: 200/900 (22%) 10/s loss 4.21",
        "[00:30] pretrain: 300/900 (33%) 10/s loss 4.21",
        "[00:40] pretrain: 400/900 (44%) 10/s loss 4.21",
        "[00:50] pretrain: 500/900 (56%) 10/s loss 4.21",
        "[01:00] pretrain: 600/900 (67%) 10/s loss 4.21",
        "[01:05] one",
        "[01:05] two",
        "[01:11] pretrain: completed in 1 min 11 s (bits per byte 1.705 · steps 900)",
        "[01:11] evaluate: started",
        "[01:11] evaluate: failed after 3.0 s",
    ]


def test_plain_lines_survive_a_reader_that_went_away() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    display = PlainDisplay(Closed())
    display.stage_started("ingest")
    display.log("still here")


def test_plain_lines_survive_a_narrow_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    display = PlainDisplay(stream)
    display.log("café · ok")
    assert raw.getvalue().decode("ascii").endswith("caf? ? ok\n")


def test_no_control_character_gets_through() -> None:
    assert clean("\x1b[2J\x1b[1;31mred\x07\ttab\r\nnew") == "red tab new"


def rich_text(display: RichDisplay, width: int = 120) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=False)
    out.print(display.render())
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.fixture
def live() -> RichDisplay:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    return RichDisplay([*STAGES, Named("evaluate", "Evaluate")], console)


def test_list_shows_every_stage_from_the_start_to_the_end(live: RichDisplay) -> None:
    assert all("waiting" in line for line in rich_text(live))
    live.stage_finished("ingest", "reused", {"documents": 3})
    live.stage_started("pretrain")
    live.progress("pretrain", 412, 900, "loss 4.21")
    first, second, third = rich_text(live)
    assert "reused" in first and "documents 3" in first
    assert "412/900" in second and "loss 4.21" in second
    assert "waiting" in third
    live.stage_finished("pretrain", "run", {"steps": 900}, 12.3)
    live.stage_finished("evaluate", "failed", None, 1.0)
    live.close()
    lines = rich_text(live)
    assert "12 s" in lines[1] and "steps 900" in lines[1]
    assert "failed" in lines[2]


def test_list_fits_a_narrow_terminal(live: RichDisplay) -> None:
    live.stage_started("pretrain")
    live.progress("pretrain", 5, 10, "a message that is much longer than the terminal is wide " * 3)
    lines = rich_text(live, width=60)
    live.close()
    assert len(lines) == 3 and all(len(line) <= 60 for line in lines)


def test_a_title_cannot_be_markup(live: RichDisplay) -> None:
    live.stage_started(Named("odd", "[bold]x[/nonsense]"))
    live.log("[red]y[/nonsense]")
    assert any("[bold]x[/nonsense]" in line for line in rich_text(live))
    live.close()


def test_calls_from_many_threads(live: RichDisplay) -> None:
    def report() -> None:
        for done in range(200):
            live.progress("pretrain", done, 200)

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    live.close()
    assert "199/200" in "\n".join(rich_text(live))


def test_speed_forgets_what_came_before_a_restart() -> None:
    state = StageState("x")
    for second in range(5):
        state.mark(float(second), second * 100.0, 1000, "")
    assert state.rate == pytest.approx(100)
    assert state.seconds_left == pytest.approx(6)
    state.mark(6.0, 10, 50, "second phase")
    assert state.rate is None and state.seconds_left is None
    state.mark(8.0, 20, 50, "second phase")
    assert state.rate == pytest.approx(5)


def test_current_display_is_that_of_the_block_and_it_is_closed() -> None:
    class Closing(Display):
        closed = False

        def close(self) -> None:
            self.closed = True

    assert isinstance(current_display(), NullDisplay)
    display = Closing()
    with pytest.raises(RuntimeError), use_display(display):
        assert current_display() is display
        raise RuntimeError
    assert display.closed
    assert isinstance(current_display(), NullDisplay)


def test_plain_where_nobody_has_a_terminal() -> None:
    assert isinstance(choose_display(STAGES, stream=io.StringIO()), PlainDisplay)


def test_numbers_for_people() -> None:
    assert [show_seconds(s) for s in (0.04, 9.94, 9.96, 59.4, 59.6, 3599, 7800)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1 min 00 s",
        "59 min 59 s",
        "2 h 10 min",
    ]
    assert [show_number(n) for n in (1234567, 0.00012345, 1.70512, 12345.6, 3.0)] == [
        "1,234,567",
        "0.0001234",
        "1.705",
        "12,346",
        "3",
    ]
    assert show_counters({"a_b": 1, "source.x": 7, "c": "x\ny"}) == "a b 1 · c x y"
    assert show_counters(None) == ""
