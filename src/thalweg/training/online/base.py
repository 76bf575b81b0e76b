"""What learns from a stream: the contract of experts, what they read, and in which order.

Predicting and learning happen in one exact order, however the stream is cut into batches. That
order is a script: its steps say which row is predicted next and which one's label has come.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from thalweg.data.arrays import Arrays


@final
@dataclass(frozen=True, slots=True)
class State:
    """All that something has learned: plain JSON and arrays by name. No pickle."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Give it as safetensors, the JSON in its header."""
        arrays = {name: np.asarray(array, order="C") for name, array in self.arrays.items()}
        written: bytes = save(arrays, {"facts": json.dumps(self.facts, allow_nan=False)})
        return written

    @classmethod
    def from_bytes(cls, given: bytes) -> State:
        """Read what `to_bytes` gave; nothing in it can run code.

        Raises
        ------
        ValueError
            Where it is something else, or damaged.
        """
        try:
            arrays = load(given)
            size = int.from_bytes(given[:8], "little")
            facts = json.loads(json.loads(given[8 : 8 + size])["__metadata__"]["facts"])
        except (SafetensorError, LookupError, TypeError) as error:
            message = f"not what a learner wrote: {error}"
            raise ValueError(message) from None
        return cls(facts, arrays)


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """Rows as networks that learn record by record read them.

    Both grow on the right alone: a new column gets a new place, a new category a new unit, and what
    was learned stays where it is.

    Parameters
    ----------
    numbers
        float64 [N, P], as they came, not standardised; NaN where missing.
    units
        int32 [N, Q]: for each column of categories the unit of the cell's value, counted over all
        columns in order of first sight; -1 where missing.
    """

    numbers: NDArray[np.float64]
    units: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)


@final
@dataclass(frozen=True, slots=True)
class Script:
    """Some rows, and in which order they are predicted and learned from.

    Parameters
    ----------
    rows
        The rows [N] as they were when they were predicted.
    inputs
        The same rows [N] for networks that learn record by record.
    targets
        float64 [N]: the code of the class, from 0 in order of first sight, or the number; NaN where
        it is not known.
    steps
        int64 [M]: ``r`` predicts row r, ``~r`` learns from row r, which was predicted before, in
        this script or in an earlier one.
    classes
        How many classes have been seen so far, these rows' included; 0 for numbers.
    arrays
        The same rows [N] as the trained network reads them; None where there is none.
    first
        What the trained model says of these rows, [N] or [N, classes], where that is known already.
    """

    rows: pa.RecordBatch
    inputs: Inputs
    targets: NDArray[np.float64]
    steps: NDArray[np.int64]
    classes: int
    arrays: Arrays | None = None
    first: NDArray[np.float64] | None = None

    @property
    def width(self) -> int:
        """How many numbers an expert says of a row: a probability for each class, or one number."""
        return max(1, self.classes)

    def part(self, start: int, stop: int) -> Script:
        """Give the same rows with some of the steps."""
        return replace(self, steps=self.steps[start:stop])


@final
@dataclass(frozen=True, slots=True)
class News:
    """What is known every so many labels: see `Expert.settle`.

    Parameters
    ----------
    labels
        How many labels have come so far.
    stretch
        How many of the last ones the detector of drift takes for one stretch without change.
    drift
        Whether a change was confirmed since the last news.
    """

    labels: int
    stretch: int
    drift: bool = False


class Expert(ABC):
    """Predicts rows and learns from those whose labels have come, in a script's order.

    What it says depends on its seed and on the steps so far alone: how they were cut into scripts
    does not matter, down to the last bit where no trained network is asked (there, within 1e-5).

    Attributes
    ----------
    name
        The word that people read.
    """

    name: ClassVar[str]

    def prepare(self, script: Script) -> None:
        """Look at a whole script before any part of it is run: what never learns answers here."""

    @abstractmethod
    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """Take a script's steps.

        Parameters
        ----------
        script
            What to do.
        said
            float64 [N, width]: what it said of rows that were predicted earlier; to be filled for
            each row that is predicted now: probabilities of the
            classes (0 for those that this expert has not seen), or a number. NaN: it says nothing
            of this row, and the hedge asks the others.
        """

    def settle(self, news: News) -> None:
        """Do what is done every so many labels: the budgeted work, and what answers a drift."""

    @abstractmethod
    def state(self) -> State:
        """Give all that it has learned; arrays are copies."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Be what `state` gave, down to the last bit."""
