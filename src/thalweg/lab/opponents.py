"""Learners of the library River on the same stream: they predict first, and learn when labels come.

River knows one record at a time, as a dictionary; what that costs is theirs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near, not_installed
from thalweg.stats.parsing import canonical_text, read_numbers

FOREST: Final = "forest"
TREE: Final = "hoeffding tree"
RIVALS: Final = (FOREST, TREE)
"""The rivals by name: the adaptive random forest of ten trees (Gomes et al. 2017), and a tree."""

_NUMERIC: Final = 0.9  # a column with such a share of numbers in its first rows is one of numbers

Floats = NDArray[np.float64]


def require_rivals(names: Sequence[str]) -> None:
    """Refuse names of rivals that there are not, and say where River is missing.

    Raises
    ------
    OptionError
        Likewise.
    """
    for name in names:
        if name not in RIVALS:
            raise OptionError(
                f"there is no rival {name!r}", "some of " + ", ".join(RIVALS), near(name, RIVALS)
            )
    if names and find_spec("river") is None:
        raise not_installed(f"the rival {names[0]!r}", "river", "online")


@final
class Records:
    """Writes rows as dictionaries: numbers as they are, all else as text, what is missing not.

    Examples
    --------
    >>> Records().of(pa.record_batch({"a": [1, None], "b": ["x", "y"]}))
    [{'a': 1.0, 'b': 'x'}, {'b': 'y'}]
    """

    def __init__(self) -> None:
        self._numeric: dict[str, bool] = {}

    def of(self, rows: pa.RecordBatch) -> list[dict[str, Any]]:
        """Write rows [N]."""
        columns: list[list[Any]] = []
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            numbers, readable = read_numbers(column)
            if name not in self._numeric:
                there = max(1, len(column) - column.null_count)
                self._numeric[name] = bool(readable.sum() >= _NUMERIC * there)
            if self._numeric[name]:
                known = readable & np.isfinite(numbers)
                cells = numbers.astype(object)
                cells[~known] = None
                columns.append(cells.tolist())
            else:
                columns.append(canonical_text(column).to_pylist())
        names = rows.schema.names
        return [
            {name: value for name, value in zip(names, values, strict=True) if value is not None}
            for values in zip(*columns, strict=True)
        ]


@final
class River:
    """One of River's learners.

    Parameters
    ----------
    name
        One of `RIVALS`.
    numbers
        Whether numbers are predicted, not classes.
    delay
        So many rows are predicted between a row and its label.
    seed
        Draws the forest.
    """

    def __init__(self, name: str, *, numbers: bool, delay: int, seed: int = 0) -> None:
        self._model = _made(name, seed, numbers=numbers)
        self._numbers = numbers
        self._delay = delay
        self._waiting: deque[tuple[dict[str, Any], float]] = deque()
        self.seconds = 0.0
        self.events = 0

    def run(self, records: Sequence[dict[str, Any]], targets: Floats, width: int) -> Floats:
        """Predict rows [N], each before its label is learned from.

        Returns
        -------
        numpy.ndarray
            float64 [N, width]: probabilities or a number; NaN where it cannot say anything yet.
        """
        begun = time.perf_counter()
        model, waiting = self._model, self._waiting
        predict = model.predict_one if self._numbers else model.predict_proba_one
        said: list[Any] = []
        for one, target in zip(records, targets.tolist(), strict=True):
            said.append(predict(one))
            waiting.append((one, target))
            if len(waiting) > self._delay:
                earlier, label = waiting.popleft()
                if not math.isnan(label):
                    model.learn_one(earlier, label if self._numbers else int(label))
        self.seconds += time.perf_counter() - begun
        self.events += len(records)
        if self._numbers:
            return np.array(said, dtype=np.float64).reshape(-1, 1)
        answers = np.zeros((len(said), width))
        for row, shares in enumerate(said):
            if shares:
                answers[row, list(shares)] = list(shares.values())
            else:
                answers[row] = np.nan
        whole = answers.sum(axis=1, keepdims=True)
        found: Floats = np.full(answers.shape, np.nan)
        np.divide(answers, whole, out=found, where=whole > 0)
        return found


def _made(name: str, seed: int, *, numbers: bool) -> Any:
    """Make a learner with River's own defaults."""
    from river import forest, tree

    if name == FOREST:
        made = forest.ARFRegressor if numbers else forest.ARFClassifier
        return made(n_models=10, seed=seed)
    return tree.HoeffdingTreeRegressor() if numbers else tree.HoeffdingTreeClassifier()
