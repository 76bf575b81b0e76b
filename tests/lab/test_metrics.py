from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as known

from thalweg.kinds.classes import decide
from thalweg.lab.metrics import (
    LEADING,
    METRICS,
    better,
    bins_for,
    confusion,
    equal_bins,
    losses,
    reliability,
    score,
    scorer,
)


def classes(seed: int, rows: int, count: int, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Truth and rounded probabilities, so that there are ties."""
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(count), random.integers(count, size=rows - count)])
    logits = random.normal(size=(rows, count))
    logits[np.arange(rows), truth] += 1
    shares = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), digits) + 1e-3
    return truth, shares / shares.sum(1, keepdims=True)


def expected_binary(truth: np.ndarray, shares: np.ndarray, threshold: float | None) -> dict:
    chosen, scores = decide(shares, threshold), shares[:, 1]
    return {
        "roc_auc": known.roc_auc_score(truth, scores),
        "average_precision": known.average_precision_score(truth, scores),
        "log_loss": known.log_loss(truth, shares),
        "accuracy": known.accuracy_score(truth, chosen),
        "precision": known.precision_score(truth, chosen, zero_division=0),
        "recall": known.recall_score(truth, chosen),
        "f1": known.f1_score(truth, chosen),
    }


@pytest.mark.parametrize("threshold", [None, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_binary_metrics_are_those_of_scikit_learn(seed: int, threshold: float | None) -> None:
    truth, shares = classes(seed, 200, 2)
    found = score("binary", truth, shares, threshold=threshold)
    for name, value in expected_binary(truth, shares, threshold).items():
        assert found[name] == pytest.approx(value), name


@pytest.mark.parametrize("seed", range(5))
def test_multiclass_metrics_are_macro_averages_of_scikit_learn(seed: int) -> None:
    truth, shares = classes(seed, 200, 4)
    chosen = shares.argmax(1)
    found = score("multiclass", truth, shares)
    macro = {"average": "macro", "zero_division": 0}
    rest = {
        "roc_auc": known.roc_auc_score(truth, shares, multi_class="ovr"),
        "average_precision": known.average_precision_score(np.eye(4)[truth], shares),
        "log_loss": known.log_loss(truth, shares),
        "accuracy": known.accuracy_score(truth, chosen),
        "precision": known.precision_score(truth, chosen, **macro),
        "recall": known.recall_score(truth, chosen, **macro),
        "f1": known.f1_score(truth, chosen, **macro),
    }
    for name, value in rest.items():
        assert found[name] == pytest.approx(value), name


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = 1e6 + random.normal(size=300)
    guess = truth + random.normal(size=300) / 2
    found = score("regression", truth, guess, bounds=(guess - 1, guess + 0.5))
    assert found["rmse"] == pytest.approx(known.root_mean_squared_error(truth, guess))
    assert found["mae"] == pytest.approx(known.mean_absolute_error(truth, guess))
    assert found["r2"] == pytest.approx(known.r2_score(truth, guess))
    inside = (guess - 1 <= truth) & (truth <= guess + 0.5)
    assert found["coverage"] == pytest.approx(inside.mean())
    assert list(found) == list(METRICS["regression"])


@settings(max_examples=40, deadline=None)
@given(
    truth=arrays(np.int64, 12, elements=st.integers(0, 2)),
    shares=arrays(np.float64, (12, 3), elements=st.sampled_from([0.1, 0.2, 0.5, 1.0])),
    counts=arrays(np.int64, 12, elements=st.integers(0, 3)),
    count=st.sampled_from([2, 3]),
)
def test_counting_rows_is_repeating_them(
    truth: np.ndarray, shares: np.ndarray, counts: np.ndarray, count: int
) -> None:
    """A resample given by counts measures as the repeated rows do, undefined or not."""
    counts[0] += 1
    truth, shares = np.minimum(truth, count - 1), shares[:, :count]
    shares = shares / shares.sum(1, keepdims=True)
    task = "binary" if count == 2 else "multiclass"
    # A calibration error's bins are cut once, on the whole: it is no function of the repeated rows.
    names = [name for name in METRICS[task] if name != "calibration_error"]
    found = scorer(task, truth, shares).measure(counts[None].astype(float), names)
    again = score(task, truth.repeat(counts), shares.repeat(counts, axis=0))
    for name in names:
        assert found[name][0] == pytest.approx(again.get(name, np.nan), nan_ok=True), name


def test_what_one_class_does_not_define_is_left_out() -> None:
    shares = np.array([[0.7, 0.3], [0.4, 0.6]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score("binary", np.array([0, 0]), shares)
    assert set(found) == {"log_loss", "accuracy", "calibration_error"}
    assert set(score("regression", np.ones(3), np.arange(3.0))) == {"rmse", "mae"}
    assert score("regression", np.ones(0), np.ones(0)) == {}


def test_a_class_without_rows_does_not_count() -> None:
    truth, shares = classes(0, 100, 3)
    wider = np.concatenate([shares, np.zeros((100, 1))], axis=1)
    assert score("multiclass", truth, wider) == pytest.approx(score("multiclass", truth, shares))


def test_probabilities_of_zero_cost_a_finite_loss() -> None:
    found = losses("binary", np.array([1]), np.array([[1.0, 0.0]]))
    assert found[0] == pytest.approx(36.04, abs=0.01)


def test_calibration_error_by_hand() -> None:
    """Forty rows, two bins of twenty: claims of 0.1 and 0.8, of which 5 and 10 come true."""
    claims = np.repeat([0.1, 0.8], 20)
    truth = np.concatenate([np.arange(20) < 5, np.arange(20) < 10]).astype(int)
    found = score("binary", truth, np.stack([1 - claims, claims], axis=1))
    assert found["calibration_error"] == pytest.approx((abs(0.1 - 0.25) + abs(0.8 - 0.5)) / 2)
    curve = reliability(truth == 1, claims)
    assert curve.x == pytest.approx([0.1, 0.8])
    assert curve.y == pytest.approx([0.25, 0.5])
    assert curve.weight == [20, 20]


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)), st.integers(1, 15))
def test_equal_values_share_a_bin(values: np.ndarray, bins: int) -> None:
    places = equal_bins(values, bins)
    assert places.max() < bins
    for value in np.unique(values):
        assert len(np.unique(places[values == value])) == 1
    order = np.argsort(values)
    assert (np.diff(places[order]) >= 0).all()


def test_confusion_is_scikit_learns() -> None:
    truth, shares = classes(1, 100, 3)
    chosen = shares.argmax(1)
    assert confusion(truth, chosen, 3) == known.confusion_matrix(truth, chosen).tolist()


def test_names_and_directions() -> None:
    assert dict(LEADING) == {
        "regression": "rmse",
        "binary": "roc_auc",
        "multiclass": "log_loss",
        "multilabel": "micro_f1",
        "anomaly": "roc_auc",
    }
    assert [better(name) for name in ("rmse", "mae", "log_loss", "calibration_error")] == [
        "lower"
    ] * 4
    assert {better(name) for name in ("r2", "f1", "roc_auc", "accuracy")} == {"higher"}
    assert bins_for(5) == 1
    assert bins_for(10_000) == 15
