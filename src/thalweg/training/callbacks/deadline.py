"""Stop when the time is up, whatever the plan says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Final, final

from thalweg.training.callbacks.base import Callback

if TYPE_CHECKING:
    from thalweg.training.loop import Loop

WORTH: Final = 0.1
"""The least part of an epoch that is worth beginning: it is judged like a whole one."""


@final
class Deadline(Callback):
    """Ends training in time, in the middle of an epoch if need be, which is then judged.

    Parameters
    ----------
    seconds
        The time given, over all processes of a run that was resumed.
    """

    name: ClassVar[str] = "deadline"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def on_start(self, loop: Loop) -> None:
        """Count what earlier processes took."""
        self._end = time.monotonic() + self._seconds - loop.seconds

    def on_step(self, loop: Loop) -> None:
        """Stop where judging would end too late after another step."""
        if time.monotonic() + loop.judging_seconds > self._end:
            loop.stopped = "time"

    def on_epoch(self, loop: Loop) -> None:
        """Stop if the time is not worth beginning another epoch."""
        rest = self._end - time.monotonic()
        if not loop.stopped and rest < WORTH * loop.epochs[-1].seconds:
            loop.stopped = "time"
