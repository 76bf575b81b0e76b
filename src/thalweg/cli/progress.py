"""Progress for whoever watches: one live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from thalweg.core.progress import Progress, Silent

PATIENCE = 2.0
"""Seconds that work may be silent."""

INTERVAL = 10.0
"""Seconds between two lines in a log."""


@contextmanager
def watching(*, quiet: bool) -> Iterator[Progress]:
    """Give the progress that suits standard error, and end it whatever happens."""
    progress: Progress
    if quiet:
        progress = Silent()
    elif sys.stderr.isatty():
        progress = LiveLine(Console(stderr=True, highlight=False))
    else:
        progress = PlainLines(sys.stderr)
    try:
        yield progress
    finally:
        progress.stop()


def duration(seconds: float) -> str:
    """Say how long something takes.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.42, 12.3, 200, 3900)]
    ['0.4 s', '12 s', '3 min 20 s', '1 h 05 min']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(slots=True)
class Stage:
    """One stage of some work and how far it is.

    Parameters
    ----------
    name, total, unit
        As given to `Progress.start`.
    begun
        When it began, in seconds of the watcher's clock.
    """

    name: str
    total: int | None
    unit: str
    begun: float
    done: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    shown: bool = False

    def counted(self) -> str:
        """Say how much is done: ``"500 of 2,000 rows"``."""
        of = f" of {self.total:,}" if self.total is not None else ""
        return f"{self.done:,}{of} {self.unit}"

    def pace(self, now: float) -> list[str]:
        """Give the rate and the time left, or the time that went by where nothing was counted."""
        elapsed = max(now - self.begun, 1e-9)
        if not self.done:
            return [duration(elapsed)]
        rate = self.done / elapsed
        if rate >= 100:
            words = [f"{rate:,.0f} {self.unit}/s"]
        elif rate >= 1:
            words = [f"{rate:.3g} {self.unit}/s"]
        else:
            words = [f"{duration(1 / rate)} each"]
        if self.total is not None:
            words.append(f"{duration(max(self.total - self.done, 0) / rate)} left")
        return words

    def shown_figures(self) -> list[str]:
        """Give the latest figures: ``["loss 0.31", "learning rate 0.003"]``."""
        return [
            f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.4g}"
            for name, value in self.figures.items()
        ]

    def line(self, now: float) -> str:
        """Say all of it in one line without colours."""
        share = [f"{self.done / self.total:.0%}"] if self.total else []
        counted = [self.counted()] if self.done or self.total else []
        said = [*counted, *share, *self.pace(now), *self.shown_figures()]
        return f"{self.name}: {', '.join(said)}"

    def ending(self, now: float) -> str:
        """Say that it is over and how long it took."""
        counted = f"{self.done:,} {self.unit} in " if self.done else ""
        return f"{self.name}: {counted}{duration(now - self.begun)}"


@final
class PlainLines(Progress):
    """A line now and then, for logs and pipes.

    Parameters
    ----------
    stream
        Where lines go.
    clock
        Tells the time in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._stage: Stage | None = None
        self._due: float | None = None
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._heart: threading.Thread | None = None

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """End the stage before and begin this one."""
        with self._lock:
            self._end()
            now = self._clock()
            self._stage = Stage(stage, total, unit, now)
            if self._due is None:
                self._due = now + PATIENCE
        if self._heart is None:
            # Some stages cannot count (fitting a forest), and they must not look dead.
            self._stopped.clear()
            self._heart = threading.Thread(target=self._beat, name="progress", daemon=True)
            self._heart.start()

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        """Count, and write a line where one is due."""
        with self._lock:
            if self._stage is not None:
                self._stage.done += amount
                self._stage.figures.update(figures or {})
        self.tick()

    def note(self, message: str) -> None:
        """Write the message at once."""
        with self._lock:
            self._write(f"note: {message}")

    def stop(self) -> None:
        """End the last stage."""
        with self._lock:
            self._end()
            self._due = None
        self._stopped.set()
        if self._heart is not None:
            self._heart.join()
            self._heart = None

    def tick(self) -> None:
        """Write a line where one is due."""
        with self._lock:
            now = self._clock()
            if self._stage is not None and self._due is not None and now >= self._due:
                self._write(self._stage.line(now))
                self._stage.shown = True
                self._due = now + INTERVAL

    def _beat(self) -> None:
        while not self._stopped.wait(0.5):
            self.tick()

    def _end(self) -> None:
        if self._stage is not None and self._stage.shown:
            self._write(self._stage.ending(self._clock()))
        self._stage = None

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


@final
class LiveLine(Progress):
    """One line that stays in place on a terminal, drawn by rich.

    Parameters
    ----------
    console
        The terminal.
    clock
        Tells the time in seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._stage: Stage | None = None
        self._begun: float | None = None
        self._live: Live | None = None

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """End the stage before and begin this one."""
        self._end()
        now = self._clock()
        self._stage = Stage(stage, total, unit, now)
        if self._begun is None:
            self._begun = now
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self.render,
                refresh_per_second=5,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        """Count; the line redraws itself."""
        if self._stage is not None:
            self._stage.done += amount
            # A new mapping in one step: the drawing thread may be reading the old one.
            self._stage.figures = {**self._stage.figures, **(figures or {})}

    def note(self, message: str) -> None:
        """Print the message above the line."""
        self._console.print(Text.assemble(("note: ", "bold yellow"), message))

    def stop(self) -> None:
        """End the last stage and take the line away."""
        self._end()
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._begun = None

    def render(self) -> RenderableType:
        """Draw the line, or nothing in the first two seconds."""
        stage, now = self._stage, self._clock()
        if stage is None or self._begun is None or now - self._begun < PATIENCE:
            return Group()
        stage.shown = True
        said = Text("  ", no_wrap=True, overflow="ellipsis").join(
            [
                *(Text(word, style="green") for word in stage.pace(now)),
                *(Text(word, style="dim") for word in stage.shown_figures()),
            ]
        )
        name = Text(stage.name, style="bold")
        line = Table.grid(padding=(0, 2, 0, 0))
        if stage.total:
            bar = ProgressBar(total=stage.total, completed=stage.done, width=16)
            line.add_row(name, bar, Text(f"{stage.done / stage.total:.0%}", style="cyan"), said)
        elif stage.done:
            line.add_row(name, Text(stage.counted(), style="cyan"), said)
        else:
            line.add_row(name, said)
        return line

    def _end(self) -> None:
        if self._stage is not None and self._stage.shown:
            ended = self._stage.ending(self._clock())
            self._console.print(Text.assemble(("✓ ", "green"), (ended, "dim")))
        self._stage = None
