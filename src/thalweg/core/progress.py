"""How long work shows that it is alive: the contract, and the silent variant.

The variants that write to a terminal or to a log belong to whoever has one (`thalweg.cli`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final


class Progress(ABC):
    """Listens to long work. Every long-running verb takes one."""

    @abstractmethod
    def start(self, stage: str, total: int | None, unit: str) -> None:
        """Begin a stage, which ends the one before.

        Parameters
        ----------
        stage
            What is being done: ``"read"``, ``"train"``.
        total
            How many units there are, where that is known.
        unit
            What is counted: ``"rows"``, ``"steps"``.
        """

    @abstractmethod
    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        """Count units as done and show the latest figures (loss, learning rate) beside them."""

    @abstractmethod
    def note(self, message: str) -> None:
        """Say one thing that the user should know, such as a guess or a warning."""

    @abstractmethod
    def stop(self) -> None:
        """End the last stage."""


@final
class Silent(Progress):
    """Shows nothing."""

    def start(self, stage: str, total: int | None, unit: str) -> None:
        """Do nothing."""

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
