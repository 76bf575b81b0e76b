"""What the labels of a stream say, as numbers: classes by first sight, or amounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import TargetError
from thalweg.data.infer import fit_column
from thalweg.data.schema import Column
from thalweg.kinds import KINDS
from thalweg.kinds.classes import look_up
from thalweg.stats import ColumnSummary
from thalweg.stats.parsing import canonical_text, is_missing_text, read_numbers

MOST_CLASSES: int = 1_000
"""So many classes are told apart; labels beyond them teach nothing."""


@final
class Labels:
    """Reads labels, and gives each class that was never seen the next code.

    Parameters
    ----------
    numbers
        Whether labels are amounts and no classes.
    classes
        The classes that are known, in the order of their codes.
    target
        The fitted target of a trained model, whose classes come first; None without one.

    Examples
    --------
    >>> labels = Labels(numbers=False)
    >>> labels.read(pa.array(["up", None, "down", "up"]))
    array([ 0., nan,  1.,  0.])
    >>> labels.classes
    ['up', 'down']
    """

    def __init__(
        self, *, numbers: bool, classes: Sequence[str] = (), target: Column | None = None
    ) -> None:
        self.numbers = numbers
        self._classes = list(classes)
        self._codes = {name: code for code, name in enumerate(self._classes)}
        self._target = target

    @classmethod
    def guess(cls, cells: pa.Array) -> Self:
        """Tell from the first cells [N] of a column whether it holds classes or amounts."""
        summary = ColumnSummary()
        summary.update(cells)
        try:
            return cls(numbers=fit_column("target", summary, None, "target").kind == "number")
        except TargetError:  # one value so far, or none: a fraction is an amount
            found = summary.numbers
            return cls(numbers=0 < found.count != found.whole)

    @property
    def classes(self) -> list[str]:
        """The classes by code."""
        return list(self._classes)

    def read(self, cells: pa.Array) -> NDArray[np.float64]:
        """Give the code or the amount of each cell [N], float64; NaN where none can be read."""
        if self.numbers:
            amounts, readable = read_numbers(cells)
            return np.where(readable & np.isfinite(amounts), amounts, np.nan)
        found = np.full(len(cells), np.nan)
        if self._target is not None:
            encoded = KINDS[self._target.kind].encode([cells], [self._target.state])
            known = ~encoded.dropped
            found[known] = encoded.fields["code"][known, 0]
            if known.all():
                return found
        rest = np.flatnonzero(np.isnan(found))
        codes = look_up(cells.take(pa.array(rest)), self._code, -1).astype(np.float64)
        found[rest] = np.where(codes < 0, np.nan, codes)
        return found

    def there(self, cells: pa.Array) -> NDArray[np.bool_]:
        """Say which cells [N] say something; no class gets a code by that."""
        if self.numbers:
            return ~np.isnan(self.read(cells))
        found: NDArray[np.bool_] = cells.is_valid().to_numpy(zero_copy_only=False)
        return found & ~is_missing_text(cells)

    def _code(self, values: pa.Array) -> NDArray[np.int64]:
        """Give distinct values [N] their codes, new ones to those that have none."""
        gone = is_missing_text(values)
        texts = canonical_text(values).to_pylist()
        found = np.full(len(texts), -1, dtype=np.int64)
        for place, text in enumerate(texts):  # distinct values of one batch: a handful
            if gone[place] or text is None:
                continue
            if text not in self._codes:
                if len(self._classes) >= MOST_CLASSES:
                    continue
                self._codes[text] = len(self._classes)
                self._classes.append(text)
            found[place] = self._codes[text]
        return found

    def named(self, codes: NDArray[np.int64]) -> pa.Array:
        """Give the classes of codes [N] as text; null for -1."""
        names = pa.array(self._classes, pa.string())
        return pc.take(names, pa.array(codes, mask=codes < 0))

    def state(self) -> dict[str, Any]:
        """Give plain JSON."""
        return {"numbers": self.numbers, "classes": list(self._classes)}

    @classmethod
    def from_state(cls, state: dict[str, Any], target: Column | None = None) -> Self:
        """Make one of what `state` gave, with the same trained model's target."""
        return cls(numbers=state["numbers"], classes=state["classes"], target=target)
