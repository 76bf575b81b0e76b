"""Contributions: what each column of a row adds to its answer, beside a typical row's.

A column's contribution is its Shapley value (Strumbelj & Kononenko 2014, "Explaining prediction
models and individual predictions with feature contributions"): by how much the answer moves when
the column's cell takes the place of the typical one, on average over all orders in which the
columns may do so. They add up to the row's answer less the typical row's, in any order and so on
average. Few columns take all orders; more take a sample of them, each with its reverse, for what
one of the two misses the other tends to see ("antithetic": Mitchell, Cooper, Frank & Holmes 2022,
"Sampling permutations for Shapley value estimation").

**The typical row** is the baseline: numbers and times at their median, the commonest level of a
list, the commoner truth value; texts, pictures and all else are missing. It is one row that a
person can look at, known without any training rows; the price is that it may join what seldom goes
together, and that a column which says what the typical row says adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.core.seeds import derive
from thalweg.data.schema import Column, Schema
from thalweg.kinds.boolean import BooleanState
from thalweg.kinds.category import CategoryState
from thalweg.kinds.datetime import UNITS, DatetimeState
from thalweg.kinds.number import NumberState
from thalweg.models.compiled import CompiledModel, Inputs, Run
from thalweg.models.decoder import Decoder

ORDERS: Final = 16
"""How many orders of the columns are looked at where there are too many for all."""

EXACT: Final = 7
"""Up to so many columns all orders are looked at: 128 rows for each row that is explained."""

MOST_MIXED: Final = 8_192
"""About how many mixed rows a row may need; more columns are looked at in fewer orders."""

MOST_TOGETHER: Final = 4_096
"""How many rows a model is asked at once."""

MOST_ASKED: Final = 1 << 16
"""How many rows a model is asked at most to explain the rows of one request."""

Cell = bool | int | float | str | None


@final
@dataclass(frozen=True, slots=True)
class Contributions:
    """What each column adds to each answer.

    Parameters
    ----------
    columns
        The columns' names, C of them.
    values
        float64 [N, C]; a row's add up to its answer less its ``baseline``.
    baseline
        float64 [N]: the typical row's answer to what is explained of the row.
    of
        What is explained of each row, as a column of the answers: ``probability_>50K``,
        ``prediction``, ``anomaly_score``.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    baseline: NDArray[np.float64]
    of: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Orders:
    """Orders in which columns take their places, and the mixed rows that come up on the way.

    Parameters
    ----------
    held
        Bool [K, C]: of each mixed row, which columns are the row's own and not the typical
        row's. The first holds none and the last all; none is there twice.
    steps
        int64 [P, C + 1]: for each order the mixed rows that it goes through, from the first to
        the last.
    turns
        int64 [P, C]: for each order at which step each column comes in.
    """

    held: NDArray[np.bool_]
    steps: NDArray[np.int64]
    turns: NDArray[np.int64]

    @classmethod
    def of(cls, columns: int, orders: int = ORDERS, seed: int = 0) -> Self:
        """Choose orders of some columns: all where they are `EXACT` or fewer.

        Examples
        --------
        >>> Orders.of(2).held.astype(int).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
        >>> Orders.of(20, orders=4).held.shape
        (78, 20)
        """
        if columns <= EXACT:
            turns = np.array([*permutations(range(columns))], dtype=np.int64).reshape(-1, columns)
        else:
            random = np.random.default_rng(derive(seed, "contributions", columns))
            pairs = max(1, min(orders, MOST_MIXED // columns) // 2)
            half = np.argsort(random.random((pairs, columns)), axis=1)
            turns = np.concatenate([half, columns - 1 - half])
        passed = np.arange(columns + 1)[None, :, None] > turns[:, None, :]
        size = passed.sum(axis=2).reshape(-1, 1).astype(np.uint16)
        # By size first, so that the row itself comes last.
        keys = np.concatenate([size, passed.reshape(len(size), columns)], axis=1)
        found, steps = np.unique(keys, axis=0, return_inverse=True)
        return cls(found[:, 1:].astype(bool), steps.reshape(-1, columns + 1), turns)

    def contributions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give what each column adds, [N, C], of the answers [N, K] for the mixed rows."""
        added = np.diff(values[:, self.steps], axis=2)
        means: NDArray[np.float64] = np.take_along_axis(added, self.turns[None], 2).mean(axis=1)
        return means


@final
class Explainer:
    """Says what each column adds to the answers of one model.

    Who asks the model is left open, so that a server's own queue can:
    `blocks`, `mixed` and `contributions` are the parts of `explain`.

    Parameters
    ----------
    schema, decoder
        The model's.
    baseline
        The typical row as the model reads it: inputs [1, ...]; see `typical_row`.
    orders, seed
        How many orders are looked at where columns are many, and what chooses them. The same
        row always gets the same contributions.
    """

    def __init__(
        self,
        schema: Schema,
        decoder: Decoder,
        baseline: Inputs,
        *,
        orders: int = ORDERS,
        seed: int = 0,
    ) -> None:
        self._decoder = decoder
        self._baseline = baseline
        groups = schema.by_kind()
        self.columns = tuple(column.name for column in schema.columns)
        place = {name: index for index, name in enumerate(self.columns)}
        self._places = {
            name: np.array([place[column.name] for column in groups[name.partition(".")[0]]])
            for name in baseline
        }
        self._orders = Orders.of(len(self.columns), orders, seed)
        self._names = _answers(decoder)

    @classmethod
    def of(cls, model: CompiledModel) -> Self:
        """Explain a compiled model beside its typical row."""
        row = {name: [cell] for name, cell in typical_row(model.schema).items()}
        return cls(model.schema, model.decoder, model.feed(pa.table(row)).inputs)

    @property
    def each(self) -> int:
        """How many rows the model is asked for each row that is explained."""
        return len(self._orders.held)

    @property
    def most_rows(self) -> int:
        """How many rows can be explained at once."""
        return max(1, MOST_ASKED // self.each)

    def blocks(self, rows: int) -> list[range]:
        """Say in which portions the model is to be asked.

        Raises
        ------
        OptionError
            Where there are more rows than `most_rows`.
        """
        if rows > self.most_rows:
            raise OptionError(
                f"{rows:,} rows to explain",
                f"at most {self.most_rows:,} at once, each of which asks the model "
                f"{self.each:,} times",
                "Send fewer rows, or leave explain out.",
            )
        asked = rows * self.each
        return [range(at, min(at + MOST_TOGETHER, asked)) for at in range(0, asked, MOST_TOGETHER)]

    def mixed(self, inputs: Inputs, block: range) -> Inputs:
        """Mix rows [N] with the typical row: the inputs of one of the `blocks`."""
        rows, mixes = np.divmod(np.arange(block.start, block.stop), self.each)
        held = self._orders.held[mixes]
        return {
            name: _mixed(own[rows], self._baseline[name], held[:, self._places[name]])
            for name, own in inputs.items()
        }

    def contributions(self, answers: Sequence[Run]) -> Contributions:
        """Work out the contributions, of what the model says of each of the `blocks`."""
        found = [run.answers.prediction for run in answers]
        prediction = np.concatenate(found) if len(found) > 1 else found[0]
        table = prediction.reshape(-1, self.each, len(self._names))
        # Of two classes the second is the one that is spoken of.
        chosen = table[:, -1].argmax(axis=1)
        if self._decoder.task == "binary":
            chosen[:] = 1
        values = np.take_along_axis(table, chosen[:, None, None], axis=2)[..., 0]
        return Contributions(
            self.columns,
            self._orders.contributions(values),
            values[:, 0].copy(),
            tuple(self._names[place] for place in chosen.tolist()),
        )

    def explain(self, run: Callable[[Inputs], Run], inputs: Inputs, rows: int) -> Contributions:
        """Explain rows [N] with a model that answers at once, as `CompiledModel.run` does.

        Raises
        ------
        OptionError
            Where there are more rows than `most_rows`.
        """
        if not rows:
            nothing = np.empty((0, len(self.columns)))
            return Contributions(self.columns, nothing, np.empty(0), ())
        return self.contributions([run(self.mixed(inputs, block)) for block in self.blocks(rows)])


def typical_row(schema: Schema) -> dict[str, Cell]:
    """Give the row that others are measured by, as it could be sent: see the module.

    Numbers are rounded to a hundredth of their usual spread, so that a person can read them.

    Returns
    -------
    dict
        A cell for each of `Schema.names`; None is missing.
    """
    row: dict[str, Cell] = dict.fromkeys(schema.names)
    return row | {column.name: typical(column) for column in schema.columns}


def typical(column: Column) -> Cell:
    """Give a column's cell of the `typical_row`."""
    state = column.state
    if isinstance(state, NumberState):
        return readable(state.centre, state)
    if isinstance(state, CategoryState) and state.levels:
        level: Cell = state.values[0].as_py()
        return level
    if isinstance(state, BooleanState):
        return state.counts[1] > state.counts[0]
    if isinstance(state, DatetimeState):
        return readable_time(state.centre, state)
    return None


def readable(value: float, state: NumberState) -> int | float:
    """Round a number of a column to a hundredth of its usual spread; what often occurs stays."""
    whole = state.minimum.is_integer() and state.maximum.is_integer()
    if state.minimum < state.maximum and value not in state.spikes:
        places = 2 - math.floor(math.log10(state.scale))
        # Between whole bounds a column with some spread hardly ever holds fractions.
        value = round(value, min(places, 0) if whole and state.scale >= 2 else places)
        value = min(max(value, state.minimum), state.maximum)
    return int(value) if whole and value.is_integer() and abs(value) < 2**53 else value


def readable_time(seconds: float, state: DatetimeState) -> str | int:
    """Write seconds since 1970 as a column's cells are: a text in UTC, or a number of its unit."""
    fine = next((unit for unit in (86_400, 3_600, 60) if unit < state.scale / 100), 1)
    whole = round(seconds / fine) * fine
    if state.unit is not None:
        return round(whole / UNITS[state.unit])
    return f"{np.datetime64(whole, 's')}Z"


def _answers(decoder: Decoder) -> list[str]:
    """Name the numbers that answers are made of, as columns of the answers."""
    if decoder.task == "regression":
        return ["prediction"]
    if decoder.task == "anomaly":
        return ["anomaly_score"]
    return [f"probability_{name}" for name in decoder.classes]


def _mixed(own: NDArray[Any], typical_cells: NDArray[Any], held: NDArray[np.bool_]) -> NDArray[Any]:
    """Take rows' own cells [M, C, ...] where they are held [M, C], else the typical ones."""
    # What has no fixed length (the tokens of texts) is as long as the longest of a request.
    shape = np.maximum(own.shape[2:], typical_cells.shape[2:])
    mask = held.reshape(*held.shape, *[1] * (own.ndim - 2))
    return np.where(mask, _padded(own, shape), _padded(typical_cells.astype(own.dtype), shape))


def _padded(cells: NDArray[Any], shape: NDArray[np.int64]) -> NDArray[Any]:
    """Put zeros behind the ends of cells [N, C, ...]."""
    if cells.shape[2:] == tuple(shape):
        return cells
    ends = zip(shape.tolist(), cells.shape[2:], strict=True)
    return np.pad(cells, [(0, 0), (0, 0), *((0, wanted - there) for wanted, there in ends)])
