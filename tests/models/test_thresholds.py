from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from thalweg.models.calibration import Calibration
from thalweg.models.thresholds import fit_label_thresholds, fit_threshold


def drawn(rows: int, rates: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of some labels and what came of them."""
    random = np.random.default_rng(seed)
    rates_of = np.array(rates)
    likely = random.beta(4 * rates_of, 4 * (1 - rates_of), size=(rows, len(rates)))
    return likely, random.random(likely.shape) < likely


def micro_f1(chosen: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (chosen & truth).sum() / (chosen.sum() + truth.sum())


def test_common_labels_go_their_own_way_and_rare_ones_follow_all() -> None:
    likely, truth = drawn(4000, [0.5, 0.3, 0.002])
    together = fit_threshold(likely.reshape(-1), truth.reshape(-1), "f1")
    found = fit_label_thresholds(likely, truth, "f1")
    alone = [fit_threshold(likely[:, at], truth[:, at], "f1") for at in range(3)]
    moved, whole = (logit(np.array(some)) - logit(together) for some in (found, alone))
    assert moved[0] / whole[0] > 0.9
    assert 0 < moved[2] / whole[2] < 0.25


def test_they_serve_f1_on_other_rows() -> None:
    likely, truth = drawn(600, [0.4, 0.3, 0.2, 0.1])
    others, came = drawn(20_000, [0.4, 0.3, 0.2, 0.1], seed=1)
    found = fit_label_thresholds(likely, truth, "f1")
    assert micro_f1(others >= found, came) > micro_f1(others >= 0.5, came) + 0.02


def test_a_number_is_everybodys_threshold() -> None:
    likely, truth = drawn(50, [0.5, 0.5])
    assert fit_label_thresholds(likely, truth, 0.25) == (0.25, 0.25)


def test_labels_that_no_row_has() -> None:
    likely, truth = drawn(50, [0.5, 0.1])
    truth[:, 1] = False
    assert all(0 < least < 1 for least in fit_label_thresholds(likely, truth, "f1"))
    nobody = fit_label_thresholds(likely[:0], truth[:0], "f1")
    assert nobody == pytest.approx((0.5, 0.5))


def test_labels_are_calibrated_each_on_its_own() -> None:
    likely, truth = drawn(3000, [0.4, 0.1])
    odds = np.log(likely / (1 - likely))
    bold = 1 / (1 + np.exp(-3 * odds))
    learned = Calibration.fit("multilabel", bold, truth.astype(np.uint8))
    assert learned.temperature == pytest.approx(3, rel=0.15)
    np.testing.assert_allclose(learned.probabilities(bold), likely, atol=0.05)
    assert isinstance(learned.threshold, tuple)
    assert len(learned.threshold) == 2
    again = Calibration.model_validate_json(learned.model_dump_json())
    assert again == learned
    # Probabilities of labels do not add up to 1, and are left as they are where nothing helps.
    kept = learned.model_copy(update={"temperature": 1.0})
    np.testing.assert_array_equal(kept.probabilities(bold), bold)
