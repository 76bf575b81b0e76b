"""How far event time has come, over several partitions: the watermark that closes windows.

It reads no clock: the caller gives the time at which it looks, and logs it, so that the same rows
and the same times give the same watermark whenever they are replayed.
"""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1
_VERSION: Final = 1


@final
class Watermark:
    """The event time up to which rows are taken to be complete. It never goes back.

    It is the lateness behind the latest row of whichever partition lags most. A partition that
    has brought nothing for ``idle`` is not waited for, and where no partition has brought
    anything for so long, event time goes on as the clock does: so every window closes at last.

    All times are int64 microseconds since 1970-01-01 UTC; those that would overflow stay at the
    ends of int64. A clock that is given a time before the last one stands still.

    Parameters
    ----------
    lateness
        How much later than another a row may come and still be in time.
    idle
        After how long of silence a partition is not waited for any more.
    ahead
        How far beyond the clock a row's time may lie and still be believed.

    Examples
    --------
    >>> mark = Watermark(lateness=2_000_000)
    >>> mark.observe("0", 10_000_000, clock=50_000_000)
    >>> mark.observe("1", 30_000_000, clock=50_000_000)
    >>> mark.advance(50_000_000), mark.advance(57_000_000)
    (8000000, 35000000)
    """

    __slots__ = ("_basis", "_clock", "_heard", "_partitions", "_value", "ahead", "idle", "lateness")

    def __init__(
        self, lateness: int = 0, idle: int = 5_000_000, ahead: int = 3_600_000_000
    ) -> None:
        self.lateness = lateness
        self.idle = idle
        self.ahead = ahead
        self._partitions: dict[str, tuple[int | None, int]] = {}  # latest event time, last heard
        self._clock = LEAST  # the latest that was given
        self._heard = LEAST  # when any partition was heard last
        self._value = LEAST
        self._basis = LEAST  # the watermark of the foremost partition, from which the clock goes on

    @property
    def value(self) -> int:
        """The watermark as it stands; the least int64 where nothing is known."""
        return self._value

    def credible(self, times: NDArray[np.int64], clock: int) -> NDArray[np.bool_]:
        """Say which times [N] lie no more than `ahead` beyond the clock: bool [N].

        The others are to be set aside: a single row of the year 9999 would close every window.
        """
        return np.asarray(times) <= _bounded(max(clock, self._clock) + self.ahead)

    def expect(self, partition: str, clock: int) -> None:
        """Wait for a partition for as long as `idle`, as if it had just been heard.

        To be called for each at the start and after a pause: while nobody listened, silence says
        nothing, and the first to be heard would leave the others' rows behind as late.
        """
        self._tick(clock)
        self._partitions[partition] = (self._partitions.get(partition, (None, 0))[0], self._clock)

    def forget(self, partition: str) -> None:
        """Wait no more for a partition that another process has taken over."""
        self._partitions.pop(partition, None)

    def observe(self, partition: str, max_event_time: int | None, clock: int) -> None:
        """Take note of rows.

        Parameters
        ----------
        partition
            Where they came from.
        max_event_time
            The latest of their times; None where none is known. One that is not `credible` shows
            that the partition lives, and moves nothing.
        clock
            When they came.
        """
        self._tick(clock)
        known = self._partitions.get(partition, (None, 0))[0]
        if max_event_time is not None and max_event_time <= self._clock + self.ahead:
            known = max_event_time if known is None else max(known, max_event_time)
            self._basis = max(self._basis, _bounded(max_event_time - self.lateness))
        self._partitions[partition] = (known, self._clock)
        self._heard = self._clock
        self._settle()

    def advance(self, clock: int) -> int:
        """Give the watermark at a time of the clock."""
        self._tick(clock)
        self._settle()
        return self._value

    def wake(self, clock: int) -> None:
        """Take note that the reader was away until now: that silence says nothing of the stream."""
        away = max(0, clock - self._clock) if self._clock > LEAST else 0
        self._partitions = {
            name: (time, heard + away) for name, (time, heard) in self._partitions.items()
        }
        self._heard += away if self._heard > LEAST else 0
        self._tick(clock)

    def to_json(self) -> dict[str, Any]:
        """Give everything that it is as plain JSON."""
        return {
            "version": _VERSION,
            "lateness": self.lateness,
            "idle": self.idle,
            "ahead": self.ahead,
            "partitions": {name: list(held) for name, held in sorted(self._partitions.items())},
            "clock": self._clock,
            "heard": self._heard,
            "value": self._value,
            "basis": self._basis,
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Watermark:
        """Make one of what `to_json` gave.

        Raises
        ------
        ArtifactError
            Where it is of another version.
        """
        if plain.get("version") != _VERSION:
            raise ArtifactError(
                f"a watermark of version {plain.get('version')!r}",
                f"version {_VERSION}",
                "Read it with the Thalweg that wrote it.",
            )
        made = cls(int(plain["lateness"]), int(plain["idle"]), int(plain["ahead"]))
        made._partitions = {
            name: (time, seen) for name, (time, seen) in plain["partitions"].items()
        }
        made._clock, made._heard = int(plain["clock"]), int(plain["heard"])
        made._value, made._basis = int(plain["value"]), int(plain["basis"])
        return made

    def _tick(self, clock: int) -> None:
        self._clock = max(self._clock, clock)

    def _settle(self) -> None:
        """Move the watermark to where the partitions, or else the clock, allow."""
        waited = [
            time for time, heard in self._partitions.values() if self._clock - heard < self.idle
        ]
        if not waited:
            if self._basis > LEAST:
                since = self._clock - self._heard
                self._value = max(self._value, _bounded(self._basis + since))
            return
        known = [time for time in waited if time is not None]
        if len(known) == len(waited):
            self._value = max(self._value, _bounded(min(known) - self.lateness))


def _bounded(time: int) -> int:
    return min(max(time, LEAST), MOST)
