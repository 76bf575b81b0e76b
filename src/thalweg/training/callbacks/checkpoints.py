"""Write a checkpoint after epochs, so that a run that is killed can go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

from thalweg.training.callbacks.base import Callback
from thalweg.training.state import Snapshot, damaged

if TYPE_CHECKING:
    from thalweg.training.loop import Loop


@final
class Checkpoints(Callback):
    """Saves the loop's snapshot into a folder, the last one whole at any moment.

    Parameters
    ----------
    folder
        Where the checkpoint lies.
    every
        Seconds between two; short epochs share one.
    """

    name: ClassVar[str] = "checkpoints"

    def __init__(self, folder: Path, every: float = 5.0) -> None:
        self._folder = folder
        self._every = every
        self._last = time.monotonic()

    def on_epoch(self, loop: Loop) -> None:
        """Save where the last one is long enough ago, and always at the end."""
        now = time.monotonic()
        if loop.stopped or now - self._last >= self._every:
            loop.snapshot().save(self._folder)
            self._last = now

    def resume(self, loop: Loop) -> bool:
        """Go on from the folder's checkpoint; say whether there was one.

        Raises
        ------
        ArtifactError
            Where it is damaged, or not this network's.
        """
        if not self._folder.exists():
            return False
        snapshot = Snapshot.load(self._folder)
        try:
            loop.restore(snapshot)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise damaged(self._folder, f"it is of another network or version: {first}") from None
        return True
