"""The contract of a callback: hooks of the training loop, and what it remembers."""

from __future__ import annotations

import contextlib
from abc import ABC
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from thalweg.training.loop import Loop


class Callback(ABC):
    """Listens to a `Loop`. Every hook does nothing unless it is written."""

    name: ClassVar[str]

    def on_start(self, loop: Loop) -> None:
        """Before the first epoch of this process."""

    def on_step(self, loop: Loop) -> None:
        """After a step."""

    def on_epoch(self, loop: Loop) -> None:
        """After an epoch was judged; set ``loop.stopped`` to a reason to end."""

    def on_end(self, loop: Loop) -> None:
        """After the last epoch."""

    @contextlib.contextmanager
    def predicting(self, loop: Loop) -> Iterator[None]:
        """Change the network's weights while it is judged."""
        yield

    def remember(self) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
        """Give what must survive the process: plain data and tensors."""
        return {}, {}

    def recall(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `remember` gave."""
