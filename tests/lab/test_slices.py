from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from thalweg.lab.metrics import score
from thalweg.lab.slices import worst_slices
from thalweg.models.record import Slice


def rows(seed: int = 0, count: int = 4000) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "town": random.choice(["Aalen", "Bonn", "Celle"], count, p=[0.5, 0.3, 0.2]),
        "age": random.integers(18, 90, count),
        "income": random.normal(3000, 500, count),
        "member": random.random(count) < 0.5,
    }


def find(table: dict | pa.Table, scale: np.ndarray, **options: object) -> list[Slice]:
    """Look for slices where the guesses' errors have a larger scale."""
    error = np.random.default_rng(99).normal(size=len(scale)) * scale
    table = table if isinstance(table, pa.Table) else pa.table(table)
    return worst_slices(table, error**2, "regression", 0 * error, error, **options)


def test_a_planted_group_of_one_column_comes_alone() -> None:
    table = rows()
    scale = np.where(table["town"] == "Celle", 2.0, 1.0)
    found = find(table, scale)
    assert [group.where for group in found] == ["town = 'Celle'"]
    error = np.random.default_rng(99).normal(size=4000) * scale
    inside = table["town"] == "Celle"
    assert found[0].rows == inside.sum()
    assert found[0].loss == pytest.approx((error[inside] ** 2).mean())
    assert found[0].rest == pytest.approx((error[~inside] ** 2).mean())
    assert found[0].value == pytest.approx(
        score("regression", 0 * error[inside], error[inside])["rmse"]
    )


def test_a_planted_pair_is_found_and_comes_first() -> None:
    table = rows()
    bad = (table["town"] == "Bonn") & table["member"]
    found = find(table, np.where(bad, 3.0, 1.0))
    assert found[0].where == "town = 'Bonn' and member = 'true'"
    assert found[0].rows == bad.sum()


def test_a_planted_range_of_numbers_is_found() -> None:
    table = rows()
    eighth = np.quantile(table["age"], 1 / 8, method="higher")
    found = find(table, np.where(table["age"] < eighth, 3.0, 1.0))
    assert [group.where for group in found] == [f"age in [18, {eighth})"]


def test_missing_cells_are_a_group() -> None:
    table = rows()
    gone = np.arange(4000) % 20 == 0
    cells = {"income": pa.array(table["income"], mask=gone), "town": table["town"]}
    found = find(cells, np.where(gone, 3.0, 1.0))
    assert found[0].where == "income is missing"
    assert found[0].rows == 200


def test_times_and_numbers_kept_as_text_are_cut_where_their_kind_is_known() -> None:
    start = datetime(2024, 1, 1)
    days = [(start + timedelta(days=int(day))).isoformat() for day in range(2000)]
    table = {"day": days, "size": [str(size) for size in range(2000)]}
    scale = np.where(np.arange(2000) < 250, 3.0, 1.0)
    kinds = {"day": "datetime", "size": "number"}
    found = find(table, scale, kinds=kinds)
    assert len(found) == 1
    assert found[0].where in {"day in [2024-01-01, 2024-09-07)", "size in [0, 250)"}
    assert find(table, scale) == []


def test_the_same_group_under_two_names_is_told_once() -> None:
    table = rows()
    table["copy"] = np.char.upper(table["town"])
    assert len(find(table, np.where(table["town"] == "Celle", 2.5, 1.0))) == 1


def test_even_losses_give_no_group() -> None:
    """Hundreds of groups are tried: without adjustment some would look bad by chance."""
    found = [find(rows(seed), np.ones(4000)) for seed in range(10)]
    assert sum(map(len, found)) <= 1


def test_probabilities_are_welchs_adjusted() -> None:
    table = {"town": np.repeat(["Aalen", "Bonn"], 100)}
    scale = np.repeat([1.0, 1.7], 100)
    error = np.random.default_rng(99).normal(size=200) * scale
    loss = error**2
    alone = stats.ttest_ind(loss[100:], loss[:100], equal_var=False, alternative="greater").pvalue
    # Two groups were tried, and the other one is no worse.
    assert find(table, scale)[0].probability == pytest.approx(2 * alone)


def test_small_groups_are_not_looked_at() -> None:
    table = {"town": np.array(["Bonn"] * 29 + ["Aalen"] * 1000)}
    scale = np.where(table["town"] == "Bonn", 10.0, 1.0)
    assert find(table, scale) == []
    table["town"][29] = "Bonn"
    assert find(table, np.where(table["town"] == "Bonn", 10.0, 1.0))[0].rows == 30


def test_a_group_of_one_class_has_no_leading_metric() -> None:
    town = np.repeat(["Aalen", "Bonn"], 200)
    truth = np.array([0, 1] * 100 + [1] * 200)
    chance = np.where(town == "Bonn", 0.2, np.where(truth == 1, 0.8, 0.2))
    chance = chance + np.random.default_rng(0).random(400) / 100
    shares = np.stack([1 - chance, chance], axis=1)
    loss = -np.log(shares[np.arange(400), truth])
    found = worst_slices(pa.table({"town": town}), loss, "binary", truth, shares)
    assert found[0].where == "town = 'Bonn'"
    assert found[0].value is None


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([[1]] * 100),
        pa.nulls(100),
        pa.array([None] * 100, pa.float64()),
        pa.array([float("nan"), float("inf")] * 50),
        pa.array(["x"] * 100).dictionary_encode(),
        pa.array([b"x"] * 100),
        pa.array([f"only {place}" for place in range(100)]),
    ],
    ids=["list", "null", "no number", "infinite", "dictionary", "bytes", "distinct"],
)
def test_any_column_goes_through(cells: pa.Array) -> None:
    assert isinstance(find(pa.table({"odd": cells}), np.ones(100)), list)
    assert find(pa.table({"odd": cells}), np.zeros(100)) == []
