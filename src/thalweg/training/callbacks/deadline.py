"""Stop when the time is up, whatever the plan says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, final

from thalweg.training.callbacks.base import Callback

if TYPE_CHECKING:
    from thalweg.training.loop import Loop


@final
class Deadline(Callback):
    """Ends training before an epoch that would not end in time.

    Parameters
    ----------
    seconds
        The time given, over all processes of a run that was resumed.
    """

    name: ClassVar[str] = "deadline"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()

    def on_epoch(self, loop: Loop) -> None:
        """Stop if another epoch as long as the last would end too late."""
        spent = max(sum(e.seconds for e in loop.epochs), time.monotonic() - self._began)
        if spent + loop.epochs[-1].seconds > self._seconds and not loop.stopped:
            loop.stopped = "time"
