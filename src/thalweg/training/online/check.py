"""What every expert must do: a suite that shows it. It can be used for one's own experts too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.training.online.base import Expert, Inputs, News, Script, State

Maker = Callable[[], Expert]
"""Makes an expert that knows nothing, the same each time."""

EVERY: Final = 256
"""Labels between two settles."""

CLOSE: Final = 1e-5
"""How far apart answers of a trained network may be where rows were cut otherwise."""


@final
@dataclass(frozen=True, slots=True)
class Played:
    """What came of a stream.

    Parameters
    ----------
    said
        float64 [N, width]: what was said of each row; NaN for nothing.
    state
        What was known at the end.
    """

    said: NDArray[np.float64]
    state: State


def stream(rows: int, classes: int, seed: int = 0, *, delay: int = 0, odd: bool = False) -> Script:
    """Make a stream with a change in its middle.

    Parameters
    ----------
    rows
        How many rows there are; each is predicted, and most get their label.
    classes
        How many classes; 0 for numbers.
    seed
        Draws it.
    delay
        How many rows are predicted before a label comes.
    odd
        Whether cells are missing, huge, infinite or never seen.
    """
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(rows, 3))
    units = np.stack([draw.integers(0, 3, rows), 3 + draw.integers(0, 4, rows)], axis=1)
    score = numbers[:, 0] + (units[:, 0] == 1) - 0.5 * numbers[:, 1]
    score[rows // 2 :] *= -1
    if classes:
        cuts = np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1])
        targets = np.searchsorted(cuts, score).astype(np.float64)
    else:
        targets = 40 + 10 * score
    batch = pa.record_batch(
        {"a": numbers[:, 0], "b": numbers[:, 1], "c": numbers[:, 2], "town": units[:, 0]}
    )
    if odd:
        numbers[draw.random(numbers.shape) < 0.1] = np.nan
        for value in (np.inf, -np.inf, 1e300, -1e300, 1e-300):
            numbers[draw.random(numbers.shape) < 0.01] = value
        units[draw.random(units.shape) < 0.1] = -1
        targets[draw.random(rows) < 0.05] = np.nan
    steps = [row for row in range(rows + delay) for row in _moment(row, rows, delay)]
    learned = np.array([step >= 0 or step % 10 != 0 for step in steps])
    return Script(
        batch,
        Inputs(numbers, units.astype(np.int32)),
        targets,
        np.array(steps, dtype=np.int64)[learned],
        classes,
    )


def _moment(row: int, rows: int, delay: int) -> Iterable[int]:
    if row < rows:
        yield row
    if row >= delay:
        yield ~(row - delay)


def play(
    expert: Expert,
    script: Script,
    cuts: Sequence[int] = (),
    *,
    drifts: Sequence[int] = (),
    labels: int = 0,
    earlier: NDArray[np.float64] | None = None,
) -> Played:
    """Let an expert take a stream.

    Parameters
    ----------
    expert
        Learns.
    script
        The stream.
    cuts
        Steps at which it is cut into scripts of their own, each with copies of its rows alone.
    drifts
        After which settles, counted from 1, a change is told of.
    labels
        How many labels came before.
    earlier
        float64 [N, width]: what was said of rows that were predicted before.
    """
    said = np.full((len(script.targets), script.width), np.nan)
    if earlier is not None:
        said[:] = earlier
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(script.steps)), len(script.steps)]
    for start, stop in pairwise(bounds):
        part, rows = _own(script.part(start, stop))
        own = said[rows]
        expert.prepare(part)
        learned = np.cumsum(part.steps < 0) + labels
        ends = np.flatnonzero((part.steps < 0) & (learned % EVERY == 0)) + 1
        before = 0
        for end in ends:
            expert.run(part.part(before, int(end)), own)
            count = int(learned[end - 1])
            expert.settle(News(count, min(count, 1000), count // EVERY in drifts))
            before = int(end)
        expert.run(part.part(before, len(part.steps)), own)
        labels = int(learned[-1]) if len(learned) else labels
        predicted = np.unique(part.steps[part.steps >= 0])
        said[rows[predicted]] = own[predicted]
    return Played(said, expert.state())


def _own(script: Script) -> tuple[Script, NDArray[np.int64]]:
    """Give a script with the rows alone that it speaks of, and which rows these are."""
    named = np.where(script.steps < 0, ~script.steps, script.steps)
    rows, places = np.unique(named, return_inverse=True)
    inputs = Inputs(script.inputs.numbers[rows].copy(), script.inputs.units[rows].copy())
    part = Script(
        script.rows.take(pa.array(rows)),
        inputs,
        script.targets[rows],
        np.where(script.steps < 0, ~places, places).astype(np.int64),
        script.classes,
        None if script.arrays is None else script.arrays.take(rows),
    )
    return part, rows


def require_any_cut(make: Maker, script: Script, cuts: Sequence[int], close: float = 0.0) -> None:
    """See the same said and known however a stream is cut.

    Raises
    ------
    AssertionError
        Where it is not.
    """
    whole = play(make(), script, drifts=(2,))
    parts = play(make(), script, cuts, drifts=(2,))
    np.testing.assert_allclose(parts.said, whole.said, rtol=0, atol=close)
    require_equal(parts.state, whole.state)


def require_survival(make: Maker, script: Script, cut: int, close: float = 0.0) -> None:
    """See what is known survive JSON and arrays, and go on bit for bit.

    Raises
    ------
    AssertionError
        Where it does not.
    """
    whole = play(make(), script, drifts=(2,))
    first = make()
    early = play(first, script.part(0, cut), drifts=(2,))
    again = make()
    again.restore(through_disk(early.state))
    require_equal(again.state(), early.state)
    labels = int((script.steps[:cut] < 0).sum())
    rest = script.part(cut, len(script.steps))
    late = play(again, rest, drifts=(2,), labels=labels, earlier=early.said)
    require_equal(late.state, whole.state)
    np.testing.assert_allclose(late.said, whole.said, rtol=0, atol=close)


def require_no_learning(make: Maker, script: Script) -> None:
    """See that predicting changes nothing, and that rows never learned leave no trace.

    Raises
    ------
    AssertionError
        Where it does.
    """
    expert, half = make(), len(script.steps) // 2
    play(expert, script.part(0, half))
    before = through_disk(expert.state())
    said = np.full((len(script.targets), script.width), np.nan)
    predicted = script.steps[half:][script.steps[half:] >= 0]
    only = replace(script, steps=predicted)
    expert.prepare(only)
    expert.run(only, said)
    require_equal(expert.state(), before)
    blind, clean = make(), make()
    learned = np.unique(~script.steps[script.steps < 0])
    part = np.isin(np.where(script.steps < 0, ~script.steps, script.steps), learned)
    with_all = play(blind, script)
    without = play(clean, replace(script, steps=script.steps[part]))
    require_equal(with_all.state, without.state)


def require_sense(make: Maker, script: Script) -> None:
    """See probabilities and finite numbers, whatever comes, where anything is said.

    Raises
    ------
    AssertionError
        Where they are not.
    """
    said = play(make(), script, drifts=(1,)).said
    spoken = ~np.isnan(said).any(axis=1)
    _require(np.isnan(said[~spoken]).all(), "a row is half said")
    _require(np.isfinite(said[spoken]).all(), "something infinite is said")
    if script.classes:
        _require((said[spoken] >= 0).all(), "a probability is below 0")
        np.testing.assert_allclose(said[spoken].sum(axis=1), 1, rtol=0, atol=1e-6)


def require_growth(make: Maker, script: Script) -> None:
    """See that new classes, columns and units change nothing before they come.

    Raises
    ------
    AssertionError
        Where they do.
    """
    rows, inputs = len(script.targets), script.inputs
    narrow = play(make(), script)
    wider = Inputs(
        np.concatenate([inputs.numbers, np.full((rows, 2), np.nan)], axis=1),
        np.concatenate([inputs.units, np.full((rows, 1), -1, dtype=np.int32)], axis=1),
    )
    more = script.classes + 2 if script.classes else 0
    wide = play(make(), replace(script, inputs=wider, classes=more))
    width = script.width
    np.testing.assert_array_equal(wide.said[:, :width], narrow.said)
    spoken = ~np.isnan(narrow.said).any(axis=1)
    _require((wide.said[spoken, width:] == 0).all(), "classes to come are spoken of")


def through_disk(state: State) -> State:
    """Give a state as it is after it was written and read."""
    return State.from_bytes(state.to_bytes())


def require_equal(one: State, other: State) -> None:
    """See that two states are the same, bit for bit.

    Raises
    ------
    AssertionError
        Where they are not.
    """
    told, wanted = json.dumps(one.facts), json.dumps(other.facts)
    _require(told == wanted, f"{told[:300]} is not {wanted[:300]}")
    _require(sorted(one.arrays) == sorted(other.arrays), "the arrays' names differ")
    for name, array in one.arrays.items():
        there = other.arrays[name]
        _require(array.dtype == there.dtype, f"{name} is of another type")
        _require(array.shape == there.shape, f"{name} is of another size")
        _require(array.tobytes() == there.tobytes(), f"{name} is another")


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
