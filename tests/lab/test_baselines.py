from __future__ import annotations

import inspect
import os
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import OptionError
from thalweg.data.infer import fit_schema
from thalweg.kinds.base import Design, Task
from thalweg.lab import baselines
from thalweg.lab.baselines import BASELINES, check_names, fit_baselines
from thalweg.lab.design import design, one_hot, ranks
from thalweg.lab.metrics import score
from thalweg.lab.rivals import Setting, held_out
from thalweg.stats import TableSummary

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
# Two threads on busy cores wait for one another.
fit = partial(fit_baselines, threads=1)
NAMES = ["constant", "linear", "forest", "boosting"]


def some(seed: int, rows: int) -> tuple[Design, np.ndarray]:
    """Rows whose target is a number plus what the code says, with gaps."""
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 3)).astype(np.float32)
    codes = random.choice(5, size=(rows, 1), p=[0.05, 0.4, 0.3, 0.2, 0.05]).astype(np.int32)
    target = 2 * numbers[:, 0] + np.array([0.0, 3.0, -3.0, 1.0, 5.0])[codes[:, 0]]
    numbers[random.random((rows, 3)) < 0.02] = np.nan
    return Design(numbers, codes), 1e5 + 1e3 * (target + random.normal(size=rows) / 2)


def test_each_kind_says_how_it_is_to_be_read() -> None:
    table = pa.table(
        {
            "size": [1.0, None, 3.0, 4.0] * 10,
            "town": ["Aalen", "Bonn", None, "Bonn"] * 10,
            "tags": [["a"], ["a", "b"], [], None] * 10,
            "price": (np.arange(40) / 3).tolist(),
        }
    )
    summary = TableSummary()
    summary.update(table)
    schema = fit_schema(summary, "price")
    features = schema.encode(table).fields
    made = design(features, schema)
    assert made.numbers.dtype == np.float32
    assert np.isnan(made.numbers[:4]).any(axis=1).tolist() == [False, True, False, False]
    assert made.codes.dtype == np.int32
    assert made.codes[:4, 0].tolist() == [3, 2, 0, 2]
    # What is missing, and each label, stands last: the list of kinds says the order.
    assert made.numbers[:4, -3:].tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert made.texts == ()


def test_a_design_without_numbers_or_codes() -> None:
    codes, numbers = np.ones((4, 2), np.int32), np.ones((4, 2), np.float32)
    only_codes = Design(np.empty((4, 0), np.float32), codes)
    only_numbers = Design(numbers, np.empty((4, 0), np.int32))
    for made in (only_codes, only_numbers):
        train = made.take(np.arange(4).repeat(10))
        found = fit(train, np.arange(40.0), made, "regression")
        assert all(np.isfinite(result.prediction).all() for result in found.values())


def test_every_rival_answers_for_each_label() -> None:
    train, numbers = some(0, 1000)
    test, others = some(1, 400)
    targets = [
        np.stack([values > 1e5, values > 1.02e5, values > 1e9], axis=1).astype(np.int64)
        for values in (numbers, others)
    ]
    found = fit(train, targets[0], test, "multilabel", 3, names=NAMES)
    for name, result in found.items():
        assert result.prediction.shape == (400, 3)
        assert (result.prediction[:, 2] == 0).all()
        least = {"constant": 0.3}.get(name, 0.85)
        measured = score("multilabel", targets[1], result.prediction)
        assert measured["mean_average_precision"] > least, name


def test_rivals_leave_very_many_labels_alone() -> None:
    train, _ = some(0, 50)
    target = np.random.default_rng(0).integers(0, 2, (50, 60))
    assert list(fit(train, target, train, "multilabel", 60, names=NAMES)) == ["constant", "linear"]


def test_ranks_follow_training_frequency_and_unseen_codes_come_last() -> None:
    train = Design(np.empty((6, 0), np.float32), np.array([[9, 9, 9, 4, 4, 7]], np.int32).T)
    test = Design(np.empty((4, 0), np.float32), np.array([[7, 9, 8, 100]], np.int32).T)
    own, other = ranks(train, test)
    assert own.ravel().tolist() == [0, 0, 0, 1, 1, 2]
    assert other.ravel().tolist() == [2, 0, 3, 3]


def test_the_linear_form_is_standardised_by_the_training_rows() -> None:
    train, _ = some(0, 500)
    test, _ = some(1, 50)
    rows, asked = one_hot(train, test)
    dense = rows.toarray()
    known = ~np.isnan(train.numbers)
    for column in range(3):
        values = dense[known[:, column], column]
        assert values.mean() == pytest.approx(0, abs=1e-6)
        assert values.std() == pytest.approx(1, abs=1e-6)
    assert (dense[~known[:, 0], 0] == 0).all()
    np.testing.assert_array_equal(dense[:, 3:6], ~known)
    assert (dense[:, 6:].sum(axis=1) == 1).all()
    assert asked.shape == (50, dense.shape[1])


def test_more_codes_than_are_told_apart() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 400, size=(1200, 1)).astype(np.int32)
    train = Design(np.empty((1200, 0), np.float32), codes)
    rows, _ = one_hot(train, train)
    assert rows.shape[1] == 100
    found = fit(train, codes[:, 0] % 2, train, "binary", 2, names=NAMES)
    assert all(np.isfinite(result.prediction).all() for result in found.values())


@pytest.mark.parametrize("name", [*BASELINES])
def test_every_rival_learns_numbers(name: str) -> None:
    pytest.importorskip(BASELINES[name].package)
    train, target = some(0, 1500)
    test, truth = some(1, 500)
    found = fit(train, target, test, "regression", names=[name])[name]
    measured = score("regression", truth, found.prediction)
    least = {"constant": -0.05, "linear": 0.9}.get(name, 0.85)
    assert measured["r2"] > least
    assert found.prediction.dtype == np.float64
    assert found.rows == 1500
    assert found.seconds > 0


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("name", [*BASELINES])
def test_every_rival_learns_classes(name: str, task: Task) -> None:
    """One class has no training row: its probability is there, and 0."""
    pytest.importorskip(BASELINES[name].package)
    count = 2 if task == "binary" else 4
    train, numbers = some(0, 1500)
    test, others = some(1, 500)
    cuts = [1e5] if task == "binary" else [0.98e5, 1.02e5]
    target, truth = np.digitize(numbers, cuts), np.digitize(others, cuts)
    found = fit(train, target, test, task, count, names=[name])[name].prediction
    assert found.shape == (500, count)
    assert found.sum(axis=1) == pytest.approx(np.ones(500))
    if task == "multiclass":
        assert (found[:, 3] == 0).all()
    measured = score(task, truth, found)
    assert measured["accuracy"] > (0.3 if name == "constant" else 0.8)


def test_the_constant_is_the_mean_or_the_shares() -> None:
    rows = Design(np.zeros((4, 1), np.float32), np.zeros((4, 0), np.int32))
    found = fit(rows, np.arange(4.0), rows, "regression", names=["constant"])
    assert found["constant"].prediction.tolist() == [1.5] * 4
    target = np.array([0, 1, 1, 1])
    found = fit(rows, target, rows, "binary", 2, names=["constant"])
    assert found["constant"].prediction[0].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("target", [np.zeros(40, int), np.array([0] * 39 + [1])])
def test_one_class_or_one_row_of_a_class(target: np.ndarray) -> None:
    train, _ = some(0, 40)
    found = fit(train, target, train, "binary", 2)
    for name, result in found.items():
        assert np.isfinite(result.prediction).all(), name
        assert (result.prediction[:, 0] > 0.5).mean() > 0.9, name


def test_the_same_seed_gives_the_same_answers() -> None:
    train, target = some(0, 200)
    one, again = (fit(train, target, train, "regression", names=NAMES, seed=3) for _ in range(2))
    for name in NAMES:
        # The forest adds up its trees in whichever order its threads come to an end.
        np.testing.assert_allclose(one[name].prediction, again[name].prediction, rtol=1e-12)


def test_large_tables_are_sampled_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines.Forest, "most_rows", 300)
    train, target = some(0, 1000)
    found = fit(train, target, train, "regression", names=["constant", "forest"])
    assert found["forest"].rows == 300
    assert found["constant"].rows == 1000


def test_a_tenth_of_each_class_is_held_out_but_never_all() -> None:
    target = np.array([0] * 100 + [1] * 15 + [2])
    held, kept = held_out(target, Setting("multiclass", 3, 0, 1))
    assert np.bincount(target[held], minlength=3).tolist() == [10, 2, 0]
    assert sorted([*held, *kept]) == list(range(116))


def test_rows_that_are_said_to_be_held_out_are() -> None:
    target = np.array([0, 1] * 20 + [2])
    aside = np.arange(41) >= 30
    held, kept = held_out(target, Setting("multiclass", 3, 0, 1, aside))
    # The only row of a class is learned from.
    assert held.tolist() == list(range(30, 40))
    assert kept.tolist() == [*range(30), 40]
    numbers = Setting("regression", 0, 0, 1, aside)
    assert held_out(target, numbers)[0].tolist() == list(range(30, 41))
    for useless in (np.zeros(41, bool), np.ones(41, bool)):
        held, kept = held_out(target, Setting("regression", 0, 0, 1, useless))
        assert (len(held), len(kept)) == (4, 37)


@pytest.mark.parametrize("name", ["linear", "boosting", "catboost"])
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_held_out_rows_say_when_it_is_enough(name: str, task: Task) -> None:
    """A column that names groups overfits them: seen only where whole groups are held out."""
    pytest.importorskip(BASELINES[name].package)
    if name == "boosting":
        fit_of = pytest.importorskip("sklearn.ensemble").HistGradientBoostingRegressor.fit
        if "X_val" not in inspect.signature(fit_of).parameters:
            pytest.skip("this scikit-learn chooses the rows by itself")
    random = np.random.default_rng(0)
    group = random.integers(0, 60, 2400)
    strange = random.normal(size=60)[group] + random.normal(size=2400) / 9
    rows = Design(
        np.stack([random.normal(size=60)[group], random.normal(size=2400)], 1).astype(np.float32),
        np.zeros((2400, 0), np.int32) if name != "linear" else group[:, None].astype(np.int32),
    )
    target = strange if task == "regression" else (strange > 0).astype(np.int64)
    held = group >= 50

    def certainty(aside: np.ndarray | None) -> float:
        found = fit(rows, target, rows, task, 2, names=[name], held=aside)[name].prediction
        answers = found if task == "regression" else found[:, 1]
        return float(answers[~held].std())

    assert certainty(held) < 0.95 * certainty(None)


def test_unknown_and_absent_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="Did you mean 'forest'"):
        check_names(["forrest"])
    monkeypatch.setattr(baselines, "find_spec", lambda name: name != "catboost" or None)
    assert check_names(None) == NAMES
    with pytest.raises(OptionError, match=r"pip install 'thalweg\[catboost\]'"):
        check_names(["catboost"])


@pytest.mark.skipif(not DATA.exists(), reason="the real tables are not here")
def test_trees_beat_the_line_on_california() -> None:
    """Published: ridge is near 69,000 dollars, boosted trees near 46,000."""
    table = pq.read_table(DATA / "tabular" / "california_housing.parquet")
    target = table["median_house_value"].to_numpy()
    places = table["ocean_proximity"].combine_chunks().dictionary_encode().indices
    numbers = [
        table[name].cast(pa.float32()).to_numpy()
        for name in table.column_names
        if name not in ("median_house_value", "ocean_proximity")
    ]
    whole = Design(np.stack(numbers, axis=1), places.to_numpy()[:, None].astype(np.int32))
    order = np.random.default_rng(0).permutation(len(target))
    train, test = order[4000:], order[:4000]
    found = fit(
        whole.take(train),
        target[train],
        whole.take(test),
        "regression",
        names=["linear", "boosting"],
    )
    errors = {
        name: score("regression", target[test], result.prediction)["rmse"]
        for name, result in found.items()
    }
    assert 60_000 < errors["linear"] < 75_000
    assert 40_000 < errors["boosting"] < 48_000
