"""The runner of a stream: shares out lanes, keeps them going, waits out failures, stops gently."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from thalweg.core.errors import FullDiskError, LostConnectionError, SourceError
from thalweg.core.progress import Progress
from thalweg.serving.stream.claim import Lock, Members
from thalweg.serving.stream.lane import Lane, Tally
from thalweg.sources.streams.base import Position

SHARES: Final = 0.5
"""Seconds between two looks at who else is there: a dead process's lanes are taken over within two
seconds, and what it had not saved is done again."""

SHOWN: Final = 1.0
"""Seconds between two looks at the lag."""

RECENT: Final = 10.0
"""The latencies shown are those of so many seconds at most."""

WAIT: Final = 0.25
LONGEST: Final = 10.0
"""Seconds between two attempts to go on, at first and at last."""

PASSING: Final = (LostConnectionError, FullDiskError)
"""What is waited for: it may be well again."""


@final
@dataclass(frozen=True, slots=True)
class Orders:
    """How a stream is run.

    Parameters
    ----------
    state
        The folder of the pipeline.
    lanes
        How many lanes the partitions are shared out to.
    once
        Stop when nothing is left, and close all windows.
    begin
        Behind which record of a partition to begin, where a lane never ran.
    """

    state: Path
    lanes: int
    once: bool = False
    begin: Mapping[str, Position] = field(default_factory=dict)


@final
class Runner:
    """Runs the lanes of a pipeline that are this process's share.

    Parameters
    ----------
    orders
        How.
    lane
        Makes a lane: (its number, its folder, counts) -> the lane.
    progress
        Told of the work.
    stopping
        Says when to stop gently.
    """

    def __init__(
        self,
        orders: Orders,
        lane: Callable[[int, Path, Tally], Lane],
        progress: Progress,
        stopping: Callable[[], bool],
    ) -> None:
        self._orders = orders
        self._make = lane
        self._progress = progress
        self._stopping = stopping
        self.tally = Tally()
        self._lanes: dict[int, Lane] = {}
        self._ran = False  # whether there was ever one
        self._locks: dict[int, Lock] = {}
        self._looked = 0.0
        self._told = 0.0
        self._shown = (time.monotonic(), 0)
        self._cleared = time.monotonic()
        self._counted = self.tally.latencies.counts()
        self._away: dict[str, tuple[str, float]] = {}  # what is not there, in words, since when
        self._pause = WAIT
        self._failed = 0.0  # when something was not there last

    def run(self) -> Tally:
        """Run until told to stop, or until nothing is left where that is wished."""
        members = Members(self._orders.state / "members")
        self._progress.start("stream", None, "events")
        try:
            while not self._stopping():
                self._share(members)
                busy = 0
                for number in list(self._lanes):
                    busy += self._step(number)
                self._show(busy)
                if busy or self._stopping():
                    continue
                if self._finished():
                    break
                self._wait()
            for number in list(self._lanes):
                self._release(number)
        finally:
            for number in list(self._lanes):
                self._abandon(number)
            members.leave()
            self._progress.stop()
        return self.tally

    def _share(self, members: Members) -> None:
        """Take lanes that nobody has, and leave those beyond a fair share."""
        now = time.monotonic()
        if now - self._looked < SHARES:
            return
        self._looked = now
        place, living = members.place()
        lanes = self._orders.lanes
        fair = lanes // living + (place < lanes % living)
        for number in sorted(self._lanes, reverse=True)[: max(0, len(self._lanes) - fair)]:
            self._release(number)
        for number in range(lanes):
            if len(self._lanes) >= fair:
                break
            if number not in self._lanes:
                self._claim(number)

    def _claim(self, number: int) -> None:
        """Take a lane, if nobody has it."""
        folder = self._orders.state / "lanes" / str(number)
        lock = self._locks.setdefault(number, Lock(folder / "lock"))
        if not lock.take():
            return
        try:
            self._lanes[number] = self._make(number, folder, self.tally)
        except BaseException as error:
            lock.leave()
            if self._ran and isinstance(error, PASSING):
                self._fail(error)
                return
            raise
        self._ran = True
        self._recover(number)

    def _recover(self, number: int) -> None:
        """Let a lane go on, as soon as everything that it needs is there."""
        while not self._stopping():
            try:
                self._lanes[number].recover(self._orders.begin)
                if self._away:  # shows whether there is room, before more is done
                    self._lanes[number].save()
            except PASSING as error:
                self._fail(error)
            else:
                return
        self._abandon(number)

    def _fail(self, error: SourceError) -> None:
        """Say what is not there, and wait a little, each time longer."""
        self._failed = time.monotonic()
        self._tell_away(error)
        until = self._failed + self._pause * random.uniform(0.8, 1.2)  # noqa: S311 - not all at once
        while not self._stopping() and time.monotonic() < until:
            time.sleep(0.05)
        self._pause = min(2 * self._pause, LONGEST)

    def _step(self, number: int) -> int:
        """Let a lane do a batch; give its records, and 1 where something was not there."""
        try:
            records = self._lanes[number].step()
        except PASSING as error:
            self._fail(error)
            self._recover(number)
            return 1
        if self._away and (records or time.monotonic() - self._failed > LONGEST):
            self._tell_back()
        return records

    def _finished(self) -> bool:
        """Say whether nothing is left and nothing more is wanted or can come."""
        lanes = self._lanes.values()
        if not lanes and self._away:  # there may be some as soon as it is there again
            return False
        ended = all(lane.ended() for lane in lanes)
        if not (self._orders.once or (lanes and ended)):
            return False
        for number in list(self._lanes):
            if self._step(number):  # something came while we looked
                return False
        return all(self._finish(number) for number in list(self._lanes))

    def _finish(self, number: int) -> bool:
        """Close the windows of a lane; say whether that could be."""
        try:
            self._lanes[number].finish()
        except PASSING as error:
            self._fail(error)
            self._recover(number)
            return False
        return True

    def _wait(self) -> None:
        """Wait for records, in turn where there are several lanes."""
        if not self._lanes:
            time.sleep(SHARES / 2)
            return
        seconds = SHARES / 2 if len(self._lanes) == 1 else 0.002
        for number in list(self._lanes):
            try:
                self._lanes[number].wait(seconds)
            except PASSING as error:
                self._fail(error)
                self._recover(number)

    def _release(self, number: int) -> None:
        """Leave a lane to others, with everything saved."""
        lane = self._lanes[number]
        try:
            lane.save()
        except PASSING as error:
            self._progress.note(f"{error} What was not written will be done again.")
        self._abandon(number)

    def _abandon(self, number: int) -> None:
        lane = self._lanes.pop(number)
        lane.close()
        self._locks[number].leave()

    def _show(self, busy: int) -> None:
        """Tell the progress of what happened."""
        figures: dict[str, float] = {}
        now = time.monotonic()
        if now - self._told >= SHOWN:
            self._told = now
            figures = dict(self._figures(now))
        if busy or figures:
            self._progress.advance(busy, figures)

    def _figures(self, now: float) -> Mapping[str, float]:
        before, records = self._shown
        figures = {"now/s": (self.tally.records - records) / max(now - before, 1e-9)}
        self._shown = (now, self.tally.records)
        lag = self._lag()
        if lag is not None:
            figures["lag"] = float(lag)
        latencies = self.tally.latencies
        for share in (0.5, 0.99):
            took = latencies.share(share, self._counted)
            if math.isfinite(took):
                figures[f"p{share * 100:.0f} ms"] = took * 1e3
        if now - self._cleared > RECENT:
            self._counted = latencies.counts()
            self._cleared = now
        if any(lane.open for lane in self._lanes.values()):
            figures["windows open"] = float(sum(lane.open for lane in self._lanes.values()))
            figures["state MiB"] = sum(lane.nbytes for lane in self._lanes.values()) / 2**20
        for lane in self._lanes.values():
            figures |= lane.figures
        figures["dead letters"] = float(self.tally.dead)
        return figures

    def _lag(self) -> int | None:
        """Add up what waits in all lanes, where that is known."""
        total = 0
        for lane in self._lanes.values():
            try:
                waiting = lane.lag()
            except PASSING:
                return None
            if waiting is None:
                return None
            total += waiting
        return total

    def _tell_away(self, error: SourceError) -> None:
        """Say once that something cannot be reached, and of a full disk whatever finds it full."""
        name = "room" if isinstance(error, FullDiskError) else error.given
        if name not in self._away:
            self._away[name] = (error.given, time.monotonic())
            self._progress.note(f"{error.given}: waiting")

    def _tell_back(self) -> None:
        for what, since in self._away.values():
            took = time.monotonic() - since
            self._progress.note(f"going on after {took:.0f} s ({what})")
        self._away.clear()
        self._pause = WAIT
