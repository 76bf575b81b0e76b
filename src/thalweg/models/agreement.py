"""Whether a compiled model says what the model says: the same rows, asked of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.schema import Column, Schema
from thalweg.kinds import KINDS
from thalweg.models.compiled import CompiledModel
from thalweg.models.decoder import Prediction
from thalweg.models.model import Model

CLOSE: Final = 1e-5
"""How far a compiled model in full precision may be from the model."""

MADE: Final = 1024
"""So many rows are made where nobody gives any."""


class DisagreementError(AssertionError):
    """A compiled model in full precision that says something else than the model: our own fault."""


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """How far two models are from each other.

    Parameters
    ----------
    rows
        How many rows were compared.
    largest
        The largest difference of an answer: of probabilities as they are, of numbers in standard
        deviations of the target, of scores as a share of them where they are above 1.
    column
        The answer's column of which it is; empty where nothing differs.
    decisions
        How many rows are answered by another class, other labels or another verdict.
    dropped
        How many rows only one of the two sets aside, or finds an unreadable cell in.
    """

    rows: int
    largest: float
    column: str
    decisions: int
    dropped: int

    def require(self) -> None:
        """Refuse to go on where a model in full precision differs.

        Raises
        ------
        DisagreementError
            Where answers differ by more than `CLOSE`, or other rows are set aside.
        """
        if self.largest > CLOSE or self.dropped:
            message = (
                f"the compiled model differs from the model by {self.largest:.2g} in "
                f"{self.column!r}, and in {self.dropped:,} rows that are set aside or unreadable, "
                f"of {self.rows:,} rows"
            )
            raise DisagreementError(message)


def check(
    model: Model,
    compiled: CompiledModel,
    rows: pa.RecordBatch | pa.Table,
    folder: Path | None = None,
) -> Difference:
    """Ask a model and a compiled one about the same rows [N].

    Parameters
    ----------
    model, compiled
        The two.
    rows, folder
        As both `predict` take them.
    """
    return difference(model, model.predict(rows, folder), compiled.predict(rows, folder))


def difference(model: Model, own: Prediction, other: Prediction) -> Difference:
    """Compare what a model and a compiled one say of the same rows [N]."""
    largest, column = 0.0, ""
    for name in own.columns.schema.names:
        left, right = own.columns.column(name), other.columns.column(name)
        if not pa.types.is_floating(left.type):
            continue
        apart = _apart(_numbers(left), _numbers(right), _unit(model))
        if apart > largest:
            largest, column = apart, name
    decided = own.columns.column("prediction")
    decisions = 0
    if not pa.types.is_floating(decided.type):
        theirs = other.columns.column("prediction").to_pylist()
        decisions = sum(one != two for one, two in zip(decided.to_pylist(), theirs, strict=True))
    return Difference(len(own.dropped), largest, column, decisions, _set_apart(own, other))


def _numbers(array: pa.Array) -> NDArray[np.float64]:
    """Give floats, NaN for null."""
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def _unit(model: Model) -> float | None:
    """Give what differences are measured in; None for their share of a large answer."""
    target = model.schema.target
    if model.task != "regression" or target is None:
        return None
    # One standard deviation in the target's own units: what the head's answer 1 is away from 0.
    ends = KINDS[target.kind].decode(np.array([[0.0], [1e-3]], np.float32), target.state)
    low, high = _numbers(ends["prediction"]).tolist()
    return float(max(abs(high - low) / 1e-3, 1e-300))


def _apart(left: NDArray[np.float64], right: NDArray[np.float64], unit: float | None) -> float:
    """Give the largest difference of two columns [N]; infinite where one of them has no answer."""
    if (np.isnan(left) != np.isnan(right)).any():
        return float(np.inf)
    measure = np.maximum(1.0, np.abs(left)) if unit is None else unit
    apart = np.abs(left - right) / measure
    return float(np.nanmax(apart, initial=0.0))


def _set_apart(own: Prediction, other: Prediction) -> int:
    """Count the rows that only one sets aside or finds unreadable."""
    odd = own.dropped != other.dropped
    nothing = np.zeros(len(odd), dtype=np.bool_)
    for left, right in ((own.unreadable, other.unreadable), (own.refused, other.refused)):
        for name in {*left, *right}:
            odd |= left.get(name, nothing) != right.get(name, nothing)
    return int(odd.sum())


def made_rows(schema: Schema, rows: int = MADE, seed: int = 0) -> pa.Table:
    """Make rows of a schema's columns: usual cells, and missing, unseen and odd ones.

    Parameters
    ----------
    schema
        The fitted columns.
    rows
        How many.
    seed
        The same one gives the same rows.
    """
    random = np.random.default_rng(seed)
    made = {column.name: _cells(column, random, rows) for column in schema.columns}
    along = [curve.along for curve in schema.curves if curve.along not in made]
    made |= {name: pa.array(random.normal(size=rows)) for name in along}
    return pa.table(made)


def _cells(column: Column, random: np.random.Generator, rows: int) -> pa.Array:
    """Make cells of a column: as its kind makes them, most of them of what this column has."""
    seed = int(random.integers(1 << 31))
    odd = KINDS[column.kind].sample(seed, rows)
    usual = _usual(column, random, rows)
    if usual is None or pa.types.is_nested(odd.type):
        return odd
    if not odd.type.equals(usual.type):
        odd, usual = odd.cast(pa.string()), usual.cast(pa.string())
    both = pa.concat_arrays([odd, usual])
    return both.take(pa.array(np.arange(rows) + rows * (random.random(rows) < 0.9)))


def _usual(column: Column, random: np.random.Generator, rows: int) -> pa.Array | None:
    """Draw cells of what a column was fitted on, where its state says something of that."""
    told = column.state.model_dump()
    levels: Sequence[Any] = told.get("levels") or ()
    if levels:
        return pa.array([str(levels[place]) for place in random.integers(len(levels), size=rows)])
    low, high = told.get("minimum"), told.get("maximum")
    if isinstance(low, float) and isinstance(high, float):
        # Some lie beyond what training has shown.
        shares = random.uniform(-0.1, 1.1, rows)
        return pa.array((low + shares * (high - low)).round(int(random.integers(0, 4))))
    return None
