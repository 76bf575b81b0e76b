from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from thalweg.lab.intervals import figures
from thalweg.lab.label_scorer import LabelScorer, label_losses
from thalweg.lab.metrics import METRICS, better, losses, score


def drawn(rows: int = 300, labels: int = 70) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    likely = random.beta(0.5, 1.5, size=(rows, labels)).round(2)
    return (random.random(likely.shape) < likely).astype(np.int64), likely


def test_metrics_are_scikit_learns() -> None:
    truth, likely = drawn()
    chosen = likely >= 0.4
    found = score("multilabel", truth, likely, threshold=0.4)
    assert list(found) == list(METRICS["multilabel"])
    assert found["micro_f1"] == pytest.approx(theirs.f1_score(truth, chosen, average="micro"))
    assert found["macro_f1"] == pytest.approx(theirs.f1_score(truth, chosen, average="macro"))
    assert found["mean_average_precision"] == pytest.approx(
        theirs.average_precision_score(truth, likely, average="macro")
    )
    assert found["hamming_loss"] == pytest.approx(theirs.hamming_loss(truth, chosen))
    assert found["subset_accuracy"] == pytest.approx(theirs.accuracy_score(truth, chosen))
    safe = np.clip(likely, 1e-15, 1 - 1e-15)
    expected = np.mean(
        [theirs.log_loss(truth[:, at], safe[:, at], labels=[0, 1]) for at in range(70)]
    )
    assert found["log_loss"] == pytest.approx(expected, rel=1e-3)


def test_resamples_are_measured_as_if_they_were_the_rows() -> None:
    truth, likely = drawn(40, 3)
    counts = np.random.default_rng(1).integers(0, 3, size=(5, 40)).astype(float)
    found = LabelScorer(truth, likely, (0.2, 0.5, 0.8)).measure(counts)
    for place, row in enumerate(counts.astype(int)):
        again = score(
            "multilabel",
            truth.repeat(row, axis=0),
            likely.repeat(row, axis=0),
            threshold=(0.2, 0.5, 0.8),
        )
        for name, value in again.items():
            assert found[name][place] == pytest.approx(value), name


def test_what_rows_do_not_define_is_left_out() -> None:
    nothing = np.zeros((5, 2), int)
    found = score("multilabel", nothing, np.full((5, 2), 0.1))
    assert set(found) == {"log_loss", "subset_accuracy", "hamming_loss"}
    assert found["subset_accuracy"] == 1


def test_intervals_hold_the_figures() -> None:
    truth, likely = drawn(200, 4)
    for name, figure in figures("multilabel", truth, likely).items():
        assert figure.low < figure.value < figure.high, name
        assert better(name) == ("lower" if "loss" in name else "higher")


def test_each_label_has_a_row_of_the_table() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 0], [1, 0]])
    likely = np.array([[0.9, 0.1], [0.3, 0.2], [0.8, 0.1], [0.7, 0.9]])
    first, second = LabelScorer(truth, likely, (0.5, 0.4)).labels(["a", "b"], (0.5, 0.4))
    assert (first.name, first.support, first.threshold) == ("a", 3, 0.5)
    assert (first.precision, first.recall) == pytest.approx((2 / 3, 2 / 3))
    assert first.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert (second.support, second.precision, second.recall, second.f1) == (0, 0, 0, 0)
    assert second.average_precision is None


def test_a_rows_loss_is_the_mean_of_its_labels() -> None:
    truth, likely = drawn(10, 3)
    np.testing.assert_array_equal(losses("multilabel", truth, likely), label_losses(truth, likely))
    assert np.isfinite(label_losses(1 - (likely > 0.5), (likely > 0.5).astype(float))).all()
