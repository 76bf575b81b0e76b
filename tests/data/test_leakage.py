from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.progress import Silent
from thalweg.data.leakage import explained, warnings
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.sources import open_source

ROWS = 600
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=ROWS)
PRICE = 3 * X + RANDOM.normal(size=ROWS)
WON = (PRICE > 0).astype(int)


def said(columns: dict[str, Any], target: Any, *, test: Any = None, split: str = "random") -> Any:
    rows = {"x": X, **columns, "target": target}
    source = open_source(pa.table(rows))
    other = None if test is None else open_source(pa.table(rows).take(pa.array(test)))
    parts = Split.parse(split, 0.2 if test is None else 0.0)
    return warnings(prepare(source, Wishes("target", {}), parts, other, Silent()))


@pytest.mark.parametrize(
    ("leak", "target"),
    [
        (2 * PRICE + 7, PRICE),
        (PRICE.round(1), PRICE),
        (np.where(WON, "granted", "refused"), WON),
        (WON * 100 + 5, WON),
        (np.where(WON, 1.0, np.nan), WON),
        (np.where(WON, "2024-05-01", None), WON),
        (WON == 1, WON),
    ],
)
def test_a_column_that_gives_the_target_away_is_named(leak: Any, target: Any) -> None:
    found = said({"refund": leak}, target)
    assert len(found) == 1
    assert "'refund' alone explains" in found[0]
    assert "--drop" in found[0]


@pytest.mark.parametrize("rows", [120, 200, ROWS])
def test_the_target_in_another_unit_is_found_in_small_tables(rows: int) -> None:
    some = {"x": X[:rows], "refund": PRICE[:rows] * -100, "target": PRICE[:rows]}
    source = open_source(pa.table(some))
    found = warnings(prepare(source, Wishes("target", {}), Split(), None, Silent()))
    assert any("'refund' alone" in one for one in found)
    assert not any("'x' alone" in one for one in found)


@pytest.mark.parametrize("target", [PRICE, WON])
def test_a_good_column_is_not_a_leak(target: Any) -> None:
    noise = RANDOM.integers(0, 10**6, ROWS).astype(str)
    assert said({"noise": RANDOM.normal(size=ROWS), "code": noise}, target) == []


def test_a_rare_class_is_no_leak() -> None:
    rare = (np.arange(ROWS) % 100 == 0).astype(int)
    assert said({"noise": RANDOM.normal(size=ROWS)}, rare) == []


def test_copies_of_training_rows_are_counted() -> None:
    found = said({}, PRICE, test=np.arange(31))
    assert any("31 of 31 test rows equal training rows" in one for one in found)


def test_copies_across_groups_are_counted() -> None:
    rows = pa.table({"x": np.repeat(X[:50], 12), "target": np.repeat(PRICE[:50], 12)})
    # The groups differ and so the rows do; without them they would be copies.
    source = open_source(rows.append_column("g", pa.array(np.tile(np.arange(12), 50))))
    found = prepare(source, Wishes("target", {}), Split.parse("group:g"), None, Silent())
    assert isinstance(warnings(found), list)


def test_a_table_of_few_rows_is_looked_at_too() -> None:
    for rows in range(1, 5):
        cells = np.arange(rows)
        assert explained(cells, cells.astype(float)[:, None]) <= 1


def test_noise_explains_nothing() -> None:
    cells = RANDOM.integers(0, 5, 5000)
    assert explained(cells, RANDOM.normal(size=(5000, 1))) < 0.02
    assert explained(cells, np.zeros((5000, 1))) == 0
