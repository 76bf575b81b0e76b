"""Work that lasts shows that it is alive: not at once, not too often, not in colour in a log."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

from thalweg.cli.progress import LiveLine, PlainLines, watching
from thalweg.core.progress import Silent


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(stream: io.StringIO, clock: Callable[[], float]) -> PlainLines:
    return PlainLines(stream, clock)


def test_lines_are_silent_for_two_seconds_then_come_every_ten() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    progress.start("train", 1000, "steps")
    written = []
    for _ in range(25):
        clock.now += 1
        progress.advance(40, {"loss": 0.5})
        written.append(stream.getvalue().count("\n"))
    progress.stop()
    assert written[0] == 0
    assert written[1] == 1
    assert written[10] == 1
    assert written[11] == 2
    assert written[24] == 3


def test_a_line_tells_how_far_how_fast_how_long_and_the_figures() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    progress.start("train", 2000, "steps")
    clock.now += 4
    progress.advance(500, {"loss": 0.25, "learning rate": 0.001})
    first = stream.getvalue()
    progress.stop()
    assert first == (
        "train: 500 of 2,000 steps, 25%, 125 steps/s, 12 s left, loss 0.25, learning rate 0.001\n"
    )
    assert stream.getvalue().splitlines()[-1] == "train: 500 steps in 4.0 s"
    assert "\x1b" not in stream.getvalue()


def test_a_stage_without_a_total_shows_its_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    progress.start("read", None, "rows")
    clock.now += 10
    progress.advance(1_000_000)
    progress.stop()
    assert stream.getvalue().startswith("read: 1,000,000 rows, 100,000 rows/s\n")


def test_slow_units_are_timed_one_by_one() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    progress.start("baselines", 4, "models")
    clock.now += 20
    progress.advance(1)
    progress.stop()
    assert stream.getvalue().startswith(
        "baselines: 1 of 4 models, 25%, 20 s each, 1 min 00 s left\n"
    )


def test_short_work_says_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    for stage in ("read", "fit"):
        progress.start(stage, 10, "rows")
        clock.now += 0.9
        progress.advance(10)
    progress.stop()
    assert stream.getvalue() == ""


def test_work_that_cannot_count_shows_that_it_is_alive() -> None:
    clock = Clock()
    beaten = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            beaten.set()
            return super().write(text)

    stream = Watched()
    progress = plain(stream, clock)
    progress.start("random forest", None, "trees")
    clock.now += 3
    assert beaten.wait(20), "nothing was said while the work was silent"
    progress.stop()
    assert stream.getvalue().startswith("random forest: 3.0 s\n")


def test_notes_come_at_once_and_progress_can_begin_again() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = plain(stream, clock)
    progress.note("column 'id' is left out")
    progress.start("read", None, "rows")
    progress.stop()
    progress.start("train", None, "steps")
    progress.stop()
    assert stream.getvalue() == "note: column 'id' is left out\n"


def test_the_live_line_appears_after_two_seconds_and_leaves_a_mark() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    progress = LiveLine(console, clock)
    progress.start("train", 100, "steps")
    progress.advance(25, {"loss": 0.5})
    with console.capture() as before:
        console.print(progress.render())
    clock.now += 5
    with console.capture() as after:
        console.print(progress.render())
    progress.note("a column [bold] is left out")
    progress.stop()
    assert not before.get().strip()
    for part in ("train", "25%", "5 steps/s", "15 s left", "loss 0.5"):
        assert part in after.get()
    assert "a column [bold] is left out" in screen.getvalue()
    assert "✓ train: 25 steps in 5.0 s" in screen.getvalue()


def test_the_live_line_counts_where_there_is_no_total() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    progress = LiveLine(console, clock)
    progress.start("read", None, "rows")
    progress.advance(3000)
    clock.now += 3
    with console.capture() as shown:
        console.print(progress.render())
    progress.stop()
    assert "3,000 rows" in shown.get()
    assert "1,000 rows/s" in shown.get()


def test_quiet_is_silent_and_a_log_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as progress:
        assert isinstance(progress, Silent)
    with watching(quiet=False) as progress:
        assert isinstance(progress, PlainLines)
        progress.note("seen")
    assert capsys.readouterr().err == "note: seen\n"
