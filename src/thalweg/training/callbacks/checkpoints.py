"""Write a checkpoint now and then, so that a run that is killed can go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, final

from thalweg.training.callbacks.base import Callback
from thalweg.training.state import Snapshot, damaged

if TYPE_CHECKING:
    from thalweg.training.loop import Loop

BURDEN: Final = 0.01
"""The most of the time that goes into checkpoints: a large network has fewer of them."""


@final
class Checkpoints(Callback):
    """Saves the loop's snapshot into a folder, the last one whole at any moment.

    Parameters
    ----------
    folder
        Where the checkpoint lies.
    every
        Seconds between two, at least; 0 for one after every step, whatever it costs.
    """

    name: ClassVar[str] = "checkpoints"

    def __init__(self, folder: Path, every: float = 5.0) -> None:
        self._folder = folder
        self._every = every
        self._due = time.monotonic() + every

    def on_step(self, loop: Loop) -> None:
        """Save where the last one is long enough ago."""
        if time.monotonic() >= self._due:
            self._save(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Save likewise, and always at the end."""
        if loop.stopped or time.monotonic() >= self._due:
            self._save(loop)

    def _save(self, loop: Loop) -> None:
        began = time.monotonic()
        loop.snapshot().save(self._folder)
        ended = time.monotonic()
        if self._every:
            self._due = ended + max(self._every, (ended - began) / BURDEN)

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
