"""Importance: how much worse a model becomes when one column is shuffled (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.progress import Progress, Silent
from thalweg.core.seeds import derive
from thalweg.kinds.base import Task, Threshold
from thalweg.lab.intervals import draws, interval
from thalweg.lab.metrics import LEADING, better, score, scorer
from thalweg.models.record import Importance

MOST_ROWS: Final = 5_000
FEW_ROWS: Final = 1_000
"""Where the network looks at pictures, sounds or long texts, which takes its time."""

REPEATS: Final = 5
RESAMPLES: Final = 200


def permutation_importance(
    predict: Callable[[pa.Table], NDArray[Any]],
    table: pa.Table,
    truth: NDArray[Any],
    task: Task,
    kinds: Mapping[str, str],
    *,
    threshold: Threshold = None,
    seed: int = 0,
    repeats: int = REPEATS,
    most_rows: int = MOST_ROWS,
    progress: Progress | None = None,
) -> list[Importance]:
    """Measure what each raw column is worth to a model.

    Where two columns say the same, shuffling one of them shows little: the model reads the other.

    Parameters
    ----------
    predict
        Gives numbers [N] or probabilities [N, classes or labels] for raw rows [N].
    table
        Raw rows [N] that the model never saw.
    truth, task
        See `thalweg.lab.metrics.score`.
    kinds
        Column -> kind, of the columns to be measured.
    threshold
        See `thalweg.lab.metrics.score`; for a leading metric that is of decisions.
    seed
        Chooses rows and shuffles them.
    repeats
        How often each column is shuffled. Default 5.
    most_rows
        How many rows are looked at, chosen at random where there are more. Default 5,000.
    progress
        Told of every shuffle.

    Returns
    -------
    list of Importance
        The most important first. The value is by how much the task's leading metric gets worse,
        so 0 is no use at all and less than 0 is noise; the interval (95%, bootstrap) is over
        rows and shuffles. Empty where the rows do not define the metric.

    Examples
    --------
    >>> rows = pa.table({"read": np.arange(50.0), "unread": np.arange(50.0)})
    >>> found = permutation_importance(
    ...     lambda some: some["read"].to_numpy(), rows, np.arange(50.0), "regression",
    ...     {"read": "number", "unread": "number"})
    >>> [one.column for one in found], found[1].value
    (['read', 'unread'], 0.0)
    """
    progress = progress or Silent()
    metric = LEADING[task]
    if len(truth) > most_rows:
        random = np.random.default_rng(derive(seed, "importance"))
        chosen = np.sort(random.choice(len(truth), most_rows, replace=False))
        table, truth = table.take(pa.array(chosen)), truth[chosen]
    table = table.combine_chunks()
    rows = len(truth)
    usual = predict(table)
    whole = score(task, truth, usual, threshold=threshold).get(metric)
    if whole is None:
        return []
    sign = 1 if better(metric) == "lower" else -1
    resampled = list(draws(rows, RESAMPLES, seed))
    once = np.ones((1, rows))

    def measured(prediction: NDArray[Any]) -> NDArray[np.float64]:
        """Give the metric of all rows, then of each resample: [1 + resamples]."""
        prepared = scorer(task, truth, prediction, threshold=threshold)
        pieces = [prepared.measure(counts, [metric])[metric] for counts in (once, *resampled)]
        return sign * np.concatenate(pieces)

    before = measured(usual)
    found = []
    progress.start("importance", len(kinds) * repeats, "shuffles")
    for column, kind in kinds.items():
        losses = np.empty((repeats, len(before)))
        for repeat in range(repeats):
            losses[repeat] = measured(predict(_shuffled(table, column, seed, repeat))) - before
            progress.advance(1)
        value = float(losses[:, 0].mean())
        # A resample of rows goes with a resample of shuffles: both are but a few of many.
        random = np.random.default_rng(derive(seed, "repeats", column))
        taken = random.integers(repeats, size=(repeats, RESAMPLES))
        means = losses[taken, np.arange(1, RESAMPLES + 1)].mean(axis=0)
        low, high = interval(value, means - value, rows)
        found.append(
            Importance(
                column=column, kind=kind, value=value, low=min(low, value), high=max(high, value)
            )
        )
    progress.stop()
    return sorted(found, key=lambda one: -one.value)


def _shuffled(table: pa.Table, column: str, seed: int, repeat: int) -> pa.Table:
    """Shuffle one column of rows [N]; the same column is shuffled in the same way everywhere."""
    order = np.random.default_rng(derive(seed, "shuffle", column, repeat)).permutation(len(table))
    place = table.column_names.index(column)
    moved = table.column(place).take(pa.array(order))
    return table.set_column(place, table.schema.field(place), moved)
