"""Numbers: amounts, ages, prices, counts. As a target: regression."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import OptionError, TargetError
from thalweg.kinds.base import (
    Encoded,
    Head,
    Kind,
    LossOptions,
    Options,
    Raw,
    RawCell,
    Role,
    State,
    Task,
    Threshold,
    Written,
)
from thalweg.kinds.cells import (
    are_codes,
    common,
    gone_cell,
    places_of,
    present,
    require_flat,
    unread,
)
from thalweg.kinds.graph import Graph, any_of, look_up_cells
from thalweg.kinds.scaling import HUGE, fit_edges, fit_scaling, scaled_columns, write_scaled
from thalweg.stats import ColumnSummary, NumberSummary
from thalweg.stats.arrays import plain, sort_of
from thalweg.stats.parsing import read_numbers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LEAST_SPIKE: Final = 5
"""How many rows must share a value before it is known exactly."""

LEAST_ROWS: Final = 10_000
"""Smaller tables learn noise from exact values."""

MARGIN: Final = 0.05
"""How far beyond the training range a prediction may go, as a share of that range."""

EXACT: Final = 2**53
LEAST: Final = -EXACT
"""Between these every whole number is a float64."""

NEARLY: Final = 1e-7
"""What differs by less from 1 is 1."""

DIGITS: Final = 15
"""Any text of so few digits is read exactly."""

Outliers = Literal["clip", "flag", "drop", "none"]


@final
class NumberOptions(Options):
    """What may be said about a number.

    Parameters
    ----------
    missing
        What stands in for a missing cell, beside the flag that it is missing: the ``median``
        (default), the ``mean`` or the ``constant``. ``drop`` sets the row aside. ``interpolate``
        reads it from a curve ``along`` another column; see `thalweg.data.interpolate`.
    constant
        The stand-in for ``missing=constant``.
    along
        The column that orders this one, for ``missing=interpolate``.
    outliers
        What happens to values beyond the fences (see `thalweg.kinds.scaling.fit_scaling`):
        ``clip`` (default) moves them to the fence, infinite ones too; ``flag`` leaves them and
        adds a field; ``drop`` sets the row aside; ``none`` leaves them. Unless clipped, an
        infinite value counts as missing. A target is never altered: of these, it knows ``drop``.
    bins
        The most bins of the network's piecewise-linear encoding. Default 128, in tables of fewer
        than 10,000 rows 48.
    spikes
        The most values that are also told apart exactly, like levels of a category; see
        `fit_spikes`. Default 256.
    """

    missing: Literal["median", "mean", "constant", "interpolate", "drop"] = "median"
    constant: float | None = None
    along: str | None = None
    outliers: Outliers = "clip"
    bins: Annotated[int, Field(ge=1, le=1024)] | None = None
    spikes: Annotated[int, Field(ge=0, le=4096)] = 256


@final
class NumberState(State):
    """What is learned about a number, in the column's own units unless said otherwise.

    Parameters
    ----------
    role
        Whether the column is read or predicted.
    fill
        What stands in for missing cells.
    drops_missing
        Whether rows with missing cells are set aside.
    outliers
        What happens beyond the fences.
    lower, upper
        The fences.
    centre, scale
        What becomes 0 and what becomes 1. For a target: mean and standard deviation.
    edges
        The bins' edges, in scaled units.
    spikes
        Values that occur again and again, in order; see `fit_spikes`.
    mean, deviation, minimum, maximum
        Over the training rows.
    robust
        For a target: whether large errors count less than their square. Not where many rows share
        one value, as counts of claims do: there the rare large values are what matters.
    """

    role: Role
    fill: float
    drops_missing: bool
    outliers: Outliers
    lower: float
    upper: float
    centre: float
    scale: float
    edges: tuple[float, ...]
    spikes: tuple[float, ...]
    mean: float
    deviation: float
    minimum: float
    maximum: float
    robust: bool = True


@final
class Number(Kind[NumberState, NumberOptions]):
    """Numbers: amounts, ages, prices, counts.

    Fields: ``values`` float32 [N, C], scaled; ``missing`` uint8 [N, C]; where any column has
    spikes, ``spike`` uint16 [N, C], which of its column's a cell is, from 1 (0: none); and, where
    any asks for it, ``outlier`` uint8 [N, C]. A target's only field is ``value`` float32 [N, 1],
    standardised by the exact mean and standard deviation.
    """

    name = "number"
    description = "Numbers: amounts, ages, prices, counts. As a target: regression."
    foretells = True
    compiles = True
    state_type = NumberState
    options_type = NumberOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column holds numbers: 95% or more of its cells read as one."""
        share = (summary.numbers.count + summary.infinite) / max(1, present(summary))
        if share < 0.95 or are_codes(summary):
            return 0.05 * share
        return 0.9 * share if summary.texts else 0.95

    def fit(self, summary: ColumnSummary, options: NumberOptions, role: Role) -> NumberState:
        """Learn centre, scale, fences and bins."""
        numbers = summary.numbers if not summary.booleans else _with_booleans(summary)
        if options.missing == "constant" and options.constant is None:
            raise OptionError("missing=constant", "a constant as well", "Add constant=0.")
        if options.missing == "interpolate" and options.along is None:
            raise OptionError("missing=interpolate", "a column to go along", "Add along=COLUMN.")
        scaling = fit_scaling(numbers)
        mean = _cut(numbers.mean if numbers.count else 0.0)
        deviation = _cut(float(np.sqrt(numbers.variance)) if numbers.count else 0.0)
        fills = {"mean": mean, "constant": options.constant or 0.0}
        centre, scale = scaling.centre, scaling.scale
        if role == "target":
            _require_target(numbers.count, constant=scaling.constant)
            centre, scale = mean, deviation
        return NumberState(
            role=role,
            fill=fills.get(options.missing, scaling.centre),
            drops_missing=options.missing == "drop" or role == "target",
            outliers=options.outliers,
            lower=scaling.lower,
            upper=scaling.upper,
            centre=centre,
            scale=scale,
            edges=fit_edges(numbers, scaling, options.bins or _bins(numbers.count)),
            spikes=fit_spikes(summary, options.spikes) if role == "feature" else (),
            mean=mean,
            deviation=deviation,
            minimum=_cut(numbers.minimum if numbers.count else 0.0),
            maximum=_cut(numbers.maximum if numbers.count else 0.0),
            robust=_spread_out(summary),
        )

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[NumberState]) -> Encoded:
        """Fill, clip and scale; see the class for the fields."""
        columns = [_read_column(array) for array in arrays]
        unreadable = np.zeros((len(arrays[0]), len(states)), dtype=bool)
        for column, (_, unread_cells) in enumerate(columns):
            if unread_cells is not None:
                unreadable[:, column] = unread_cells
        marks, dropped = _marks([values for values, _ in columns], states)
        target = states[0].role == "target"
        clips = [state.outliers == "clip" and not target for state in states]
        kept = [
            values if clip else _without_infinite(values, unreadable[:, column])
            for column, ((values, _), clip) in enumerate(zip(columns, clips, strict=True))
        ]
        coordinates, missing = scaled_columns(kept, *_scalings(states, clips))
        drops = [state.drops_missing for state in states]
        if any(drops):
            dropped |= (missing & np.array(drops)).any(axis=1)
        if target:
            return Encoded({"value": coordinates}, dropped, unreadable)
        fields: dict[str, NDArray[Any]] = {"values": coordinates, "missing": missing.view(np.uint8)}
        return Encoded(fields | marks, dropped, unreadable)

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: NumberState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Give ``prediction`` (float64) in the column's own units.

        It is kept within the training range widened by 5% of it on each side: a network that
        leaves it extrapolates, and does so badly.
        """
        margin = MARGIN * (state.maximum - state.minimum)
        answers = outputs[:, 0].astype(np.float64) * state.deviation + state.mean
        answers = np.clip(answers, state.minimum - margin, state.maximum + margin)
        return {"prediction": pa.array(answers)}

    def restore(self, encoded: Encoded, column: int, state: NumberState) -> pa.Array:
        """Give float64 in the column's own units, to float32's precision; missing is null."""
        name = "value" if state.role == "target" else "values"
        values = encoded.fields[name][:, column].astype(np.float64) * state.scale + state.centre
        gone = encoded.dropped
        if state.role == "feature":
            gone = encoded.fields["missing"][:, column].astype(bool)
        return pa.array(values, mask=gone)

    def task(self, state: NumberState) -> Task | None:
        """Name the task: regression."""
        return "regression"

    def encoder(self, states: Sequence[NumberState], width: int, pairs: int = 0) -> nn.Module:
        """Build a piecewise-linear embedding of every column."""
        from thalweg.blocks.embedding import NumberEmbedding

        flagged = any(state.outliers == "flag" for state in states)
        flags = ("missing", "outlier") if flagged else ("missing",)
        spikes = [len(state.spikes) for state in states]
        return NumberEmbedding([state.edges for state in states], spikes, width, flags, pairs)

    def unbounded(self, state: NumberState) -> NumberState:
        """Clip nothing."""
        return state.model_copy(update={"outliers": "none"})

    def choices(self, states: Sequence[NumberState]) -> nn.Module:
        """Build bins, fine where rows are many and towards the ends."""
        from thalweg.blocks.choices import BinnedNumbers

        return BinnedNumbers(len(states))

    def head(self, state: NumberState, options: LossOptions) -> Head | None:
        """Build the head of a regression; it ignores the options."""
        return RegressionHead(robust=state.robust)

    def raw(self, arrays: Sequence[pa.Array], states: Sequence[NumberState]) -> Raw:
        """Give float64, infinite values too."""
        shape = len(arrays[0]), len(states)
        values, unreadable = np.empty(shape), np.zeros(shape, dtype=bool)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            values[:, column], unread_cells = _read_column(array)
            if unread_cells is not None:
                unreadable[:, column] = unread_cells
            if state.outliers != "clip":
                unreadable[:, column] |= np.isinf(values[:, column])
        return Raw(values, unreadable)

    def reader(self, state: NumberState) -> Callable[[object], RawCell | None]:
        """Read numbers as they are, and texts of digits or words for missing."""
        return _read_cell

    def graph(self, graph: Graph, raw: str, states: Sequence[NumberState]) -> Written:
        """Write what `encode` does."""
        sorts = [state.outliers for state in states]
        clips = [sort == "clip" for sort in sorts]
        gone = graph.add("IsNaN", [raw])
        if not all(clips):
            infinite = graph.add("IsInf", [raw])
            lost = graph.add("And", [infinite, ~np.array(clips)])
            gone = graph.add("Or", [gone, lost])
        fields = {
            "values": write_scaled(graph, raw, gone, *_scalings(states, clips)),
            "missing": graph.cast(gone, np.int64),
        }
        if any(state.spikes for state in states):
            tables = [{v: at for at, v in enumerate(state.spikes, 1)} for state in states]
            fields["spike"] = look_up_cells(graph, raw, tables, 0)
        drops: list[str] = []
        if not set(sorts) <= {"clip", "none"}:
            outlier = _write_outliers(graph, raw, states)
            if "flag" in sorts:
                fields["outlier"] = graph.cast(_some(graph, outlier, sorts, "flag"), np.int64)
            if "drop" in sorts:
                drops.append(_some(graph, outlier, sorts, "drop"))
        if any(state.drops_missing for state in states):
            words = ["drop" if state.drops_missing else "" for state in states]
            drops.append(_some(graph, gone, words, "drop"))
        return Written(fields, any_of(graph, *drops))

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make log-normal amounts with gaps and a few absurd values."""
        random = np.random.default_rng(seed)
        values = random.lognormal(3, 1, rows).round(2)
        values[random.random(rows) < 0.02] *= -50
        return pa.array(values, mask=random.random(rows) < 0.1)


def _with_booleans(summary: ColumnSummary) -> NumberSummary:
    """Give a column's numbers, true as 1 and false as 0 among them."""
    numbers = summary.numbers.copy()
    counts = dict(summary.top())
    for value, text in enumerate(("false", "true")):
        if text in counts:
            numbers.update(np.array([float(value)]), np.array([counts[text]]))
    return numbers


def fit_spikes(summary: ColumnSummary, most: int) -> tuple[float, ...]:
    """Find the values that occur again and again: 0 of a capital gain, 40 hours a week.

    A value at which the target jumps cannot be told from its neighbours by straight lines. So
    in a column of few whole numbers, and with rows enough to learn each, the values that five
    rows or more share are also known exactly.

    Parameters
    ----------
    summary
        The column's statistics.
    most
        The most distinct values that such a column has.

    Returns
    -------
    tuple of float
        In order; empty where the column is none.
    """
    numbers = summary.numbers
    if numbers.count < LEAST_ROWS or numbers.whole < numbers.count or summary.distinct() > most:
        return ()
    counts: dict[float, int] = {}
    for text, count in common(summary, most):
        with contextlib.suppress(ValueError):
            counts[float(text)] = counts.get(float(text), 0) + count
    kept = sorted(v for v, count in counts.items() if count >= LEAST_SPIKE and abs(v) <= HUGE)
    return tuple(kept) if len(kept) > 1 else ()


def _bins(rows: int) -> int:
    """Give as many bins as there are rows to fit them."""
    return 128 if rows >= LEAST_ROWS else 48


def _marks(
    columns: Sequence[NDArray[Any]], states: Sequence[NumberState]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Say of columns [N] which spike and which outlier each cell is, and which rows to drop."""
    shape = len(columns[0]), len(states)
    marks: dict[str, NDArray[Any]] = {}
    if any(state.spikes for state in states):
        marks["spike"] = np.zeros(shape, dtype=np.uint16)
    if any(state.outliers == "flag" for state in states):
        marks["outlier"] = np.zeros(shape, dtype=np.uint8)
    dropped = np.zeros(shape[0], dtype=bool)
    for column, (values, state) in enumerate(zip(columns, states, strict=True)):
        if state.spikes:
            marks["spike"][:, column] = places_of(values, state.spikes)
        if state.outliers in {"flag", "drop"}:
            # In float64, whatever the column's own type: a fence may be beyond what it can hold.
            lower, upper = np.float64(state.lower), np.float64(state.upper)
            with np.errstate(invalid="ignore"):
                outlier = (values < lower) | (values > upper)
            if state.outliers == "flag":
                marks["outlier"][:, column] = outlier
            else:
                dropped |= outlier
    return marks, dropped


def _scalings(
    states: Sequence[NumberState], clips: Sequence[bool]
) -> tuple[NDArray[np.float64], ...]:
    """Give each column's centre, scale, fences and fill; without clipping there are no fences."""
    centre, scale, lower, upper, fill = (
        np.array([getattr(state, name) for state in states])
        for name in ("centre", "scale", "lower", "upper", "fill")
    )
    # ONNX Runtime leaves out a division by what is 1 as float32.
    scale = np.where(np.abs(scale - 1) < NEARLY, 1.0, scale)
    return centre, scale, np.where(clips, lower, -np.inf), np.where(clips, upper, np.inf), fill


def _write_outliers(graph: Graph, raw: str, states: Sequence[NumberState]) -> str:
    """Write the nodes that say what is beyond the fences; a filled cell never is."""
    lower, upper = (
        np.array([getattr(state, name) for state in states]) for name in ("lower", "upper")
    )
    return graph.add("Or", [graph.add("Less", [raw, lower]), graph.add("Greater", [raw, upper])])


def _some(graph: Graph, flags: str, words: Sequence[str], word: str) -> str:
    """Write the node that keeps the flags [N, C] of the columns that a word stands for."""
    return graph.add("And", [flags, np.array([each == word for each in words])])


def _read_cell(cell: object) -> float | None:
    """Read one plain cell; None where that takes care. NaN is missing."""
    if isinstance(cell, float):
        return cell if cell - cell == 0 else None
    if isinstance(cell, int):
        return float(cell) if LEAST <= cell <= EXACT else None
    if isinstance(cell, str) and cell.isdigit() and len(cell) <= DIGITS and cell.isascii():
        return float(cell)
    return gone_cell(cell)


def _read_column(array: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Read one column [N] as numbers, NaN where there is none, and say which were unreadable.

    Infinite values stay, so that they can be clipped; true is 1. The numbers may be the array's
    own memory: integers without gaps, and floats. None says that all were readable.
    """
    require_flat(array)
    types = pa.types
    if not (types.is_integer(array.type) or types.is_floating(array.type)):
        array = plain(array)
        if types.is_dictionary(array.type) and sort_of(array.type) != "text":
            array = array.dictionary_decode()
        if types.is_boolean(array.type):
            array = array.cast(pa.int8())
    if types.is_integer(array.type) or types.is_floating(array.type):
        numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return numbers, None
    values, read = read_numbers(array)
    return values, unread(array, read)


def _without_infinite(values: NDArray[Any], unreadable: NDArray[np.bool_]) -> NDArray[Any]:
    """Give NaN for infinite values [N], and mark them as unreadable, in place."""
    infinite = np.isinf(values)
    if not infinite.any():
        return values
    unreadable |= infinite
    return np.where(infinite, np.nan, values)


def _require_target(count: int, *, constant: bool) -> None:
    """Refuse a target that nothing can be learned from."""
    if count == 0 or constant:
        raise TargetError(
            "the target has no number at all" if count == 0 else "the target is always the same",
            "numbers that differ",
            "Choose another target.",
        )


def _spread_out(summary: ColumnSummary) -> bool:
    """Say whether no value holds more than a fifth of the rows."""
    top = common(summary, 1)
    return not top or top[0][1] <= 0.2 * summary.numbers.count


def _cut(value: float) -> float:
    """Keep a statistic finite."""
    return float(np.clip(np.nan_to_num(value), -HUGE, HUGE))


@final
class RegressionHead(Head):
    """One number, the standardised target.

    Parameters
    ----------
    robust
        Whether the loss is Huber's, so that outliers do not rule, or the squared error.
    """

    def __init__(self, *, robust: bool = True) -> None:
        self._delta = 1.0 if robust else math.inf

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def start(self) -> torch.Tensor:
        """Give 0, the mean of a standardised target."""
        import torch

        return torch.zeros(1)

    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give the loss of each member on each row, [members, N]."""
        from thalweg.blocks.losses import huber_loss

        return huber_loss(outputs, target["value"], self._delta)

    def combine(self, outputs: Tensor) -> Tensor:
        """Give the members' mean, [N, 1]."""
        return outputs.float().mean(0)
