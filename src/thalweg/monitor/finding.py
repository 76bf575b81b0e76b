"""What somebody who watches a stream has found: one measure of one thing, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

What = Literal[
    "input",
    "prediction",
    "embedding",
    "missing cells",
    "new values",
    "missing column",
    "new column",
    "error",
]
"""What a finding is about."""

Level = Literal["quiet", "between", "high", "confirmed"]
"""How it stands: below the lower threshold, between both, above the upper one; or confirmed by a
test over many rows, so that nothing more is to be waited for."""


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One measure of one thing.

    Parameters
    ----------
    what
        What it is about.
    column
        Of which column; empty where it is about none.
    measure
        What was measured, such as ``ks``.
    value, threshold
        How much, and from where on that counts.
    level
        How it stands.
    words
        What has changed, for people; empty where nothing has.
    rows
        How many rows had come by then, from the stream's beginning.
    """

    what: What
    column: str
    measure: str
    value: float
    threshold: float
    level: Level
    words: str
    rows: int

    @property
    def name(self) -> str:
        """What and column in one: what an alert is called by."""
        return f"{self.what} {self.column}".strip()
