from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from thalweg.core.progress import Silent
from thalweg.lab.importance import permutation_importance

KINDS = {"large": "number", "small": "number", "idle": "number"}


def table(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table({name: random.normal(size=rows) for name in KINDS})


def predict(rows: pa.Table) -> NDArray[np.float64]:
    return 3 * rows["large"].to_numpy() + rows["small"].to_numpy()


def test_values_are_those_that_theory_gives() -> None:
    """Shuffling b*x adds 2 b^2 to the squared error: from 1 to 1 + 2 b^2."""
    rows = table(4000)
    truth = predict(rows) + np.random.default_rng(1).normal(size=4000)
    found = {
        one.column: one for one in permutation_importance(predict, rows, truth, "regression", KINDS)
    }
    assert list(found) == ["large", "small", "idle"]
    for column, factor in (("large", 3), ("small", 1)):
        one = found[column]
        expected = np.sqrt(1 + 2 * factor**2) - 1
        assert one.value == pytest.approx(expected, rel=0.06)
        assert one.low <= expected <= one.high
        assert one.high - one.low < expected
    assert (found["idle"].value, found["idle"].low, found["idle"].high) == (0, 0, 0)


def test_a_score_that_falls_counts_as_positive() -> None:
    rows = table(500)
    truth = (predict(rows) > 0).astype(int)

    def shares(some: pa.Table) -> NDArray[np.float64]:
        chance = 1 / (1 + np.exp(-predict(some)))
        return np.stack([1 - chance, chance], axis=1)

    found = permutation_importance(shares, rows, truth, "binary", KINDS)
    assert [one.column for one in found] == ["large", "small", "idle"]
    assert found[0].low > found[1].high > 0
    assert found == permutation_importance(shares, rows, truth, "binary", KINDS)
    assert found != permutation_importance(shares, rows, truth, "binary", KINDS, seed=1)


def test_at_most_so_many_rows_are_predicted_and_all_shuffles_are_told() -> None:
    seen: list[int] = []

    class Counting(Silent.__mro__[1]):  # the abstract contract, so that nothing is left out
        done = 0

        def start(self, stage: str, total: int | None, unit: str) -> None:
            assert (stage, total, unit) == ("importance", 6, "shuffles")

        def advance(self, amount: int, figures: object = None) -> None:
            self.done += amount

        def note(self, message: str) -> None: ...

        def stop(self) -> None: ...

    def counted(rows: pa.Table) -> NDArray[np.float64]:
        seen.append(len(rows))
        return predict(rows)

    progress, rows = Counting(), table(300)
    permutation_importance(
        counted,
        rows,
        predict(rows),
        "regression",
        KINDS,
        repeats=2,
        most_rows=120,
        progress=progress,
    )
    assert seen == [120] * 7
    assert progress.done == 6


def test_the_rows_given_are_left_alone() -> None:
    rows = table(100)
    before = rows.to_pydict()
    permutation_importance(predict, rows, predict(rows), "regression", KINDS, repeats=1)
    assert rows.to_pydict() == before


def test_undefined_metrics_give_nothing() -> None:
    shares = np.full((10, 2), 0.5)
    found = permutation_importance(lambda _: shares, table(10), np.zeros(10, int), "binary", KINDS)
    assert found == []
