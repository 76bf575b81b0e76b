from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from thalweg.core.errors import OptionError
from thalweg.kinds.classes import decide
from thalweg.models.calibration import (
    Calibration,
    fit_radius,
    fit_scaling,
    fit_threshold,
    read_threshold,
)


def log_loss(shares: np.ndarray, truth: np.ndarray) -> float:
    return -float(np.log(np.clip(shares[np.arange(len(truth)), truth], 1e-30, None)).mean())


def drawn(seed: int, rows: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are too sharp by a factor, and truth."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)) * 1.5
    honest = softmax(logits, axis=1)
    truth = (honest.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1).clip(0, classes - 1)
    return softmax(logits * sharpness, axis=1), truth


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_that_bent_them_is_found(classes: int, sharpness: float) -> None:
    answers, truth = drawn(0, 20_000, classes, sharpness)
    temperature, bias = fit_scaling(answers, truth)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert bias == ()


def test_the_bias_of_resampled_rows_is_undone() -> None:
    """Oversampling the second class nine times adds log 9 to its logit."""
    answers, truth = drawn(1, 20_000, 2, 1.0)
    logits = np.log(answers) + np.array([0, math.log(9)])
    learned = Calibration.fit("binary", softmax(logits, axis=1), truth, bias=True)
    assert learned.bias[1] - learned.bias[0] == pytest.approx(-math.log(9), abs=0.1)
    honest = learned.probabilities(softmax(logits, axis=1))
    assert honest[:, 1].mean() == pytest.approx(truth.mean(), abs=0.005)
    without = Calibration.fit("binary", softmax(logits, axis=1), truth)
    assert without.bias == ()


@settings(max_examples=60, deadline=None)
@given(
    logits=arrays(np.float64, (9, 3), elements=st.floats(-40, 40)),
    truth=arrays(np.int64, 9, elements=st.integers(0, 2)),
    bias=st.booleans(),
)
def test_calibration_never_worsens_the_validation_log_loss(
    logits: np.ndarray, truth: np.ndarray, bias: bool
) -> None:
    answers = softmax(logits, axis=1)
    learned = Calibration.fit("multiclass", answers, truth, bias=bias)
    assert 1 / 20.001 <= learned.temperature <= 20.001
    after = learned.probabilities(answers)
    assert log_loss(after, truth) <= log_loss(answers, truth) + 1e-9
    assert after.sum(axis=1) == pytest.approx(np.ones(9))
    if not bias:
        np.testing.assert_array_equal(
            np.take_along_axis(after, answers.argmax(axis=1)[:, None], 1)[:, 0], after.max(axis=1)
        )


@settings(max_examples=60, deadline=None)
@given(
    scores=arrays(np.float32, 20, elements=st.floats(0, 1, width=32)),
    temperature=st.floats(0.05, 20),
    bias=st.floats(-5, 5),
)
def test_calibrated_probabilities_keep_the_order(
    scores: np.ndarray, temperature: float, bias: float
) -> None:
    learned = Calibration(temperature=temperature, bias=(0.0, bias))
    after = learned.probabilities(np.stack([1 - scores, scores], axis=1))[:, 1]
    assert (np.diff(after[np.argsort(scores, kind="stable")]) >= -1e-12).all()


def test_a_few_right_answers_do_not_make_a_model_certain() -> None:
    truth = np.array([0, 1] * 10)
    answers = np.where(truth[:, None] == [0, 1], 0.9, 0.1)
    learned = Calibration.fit("binary", answers, truth)
    assert 0.9 < learned.probabilities(answers).max() < 0.99


def test_certain_and_wrong_is_finite() -> None:
    answers = np.array([[1.0, 0.0]] * 10)
    learned = Calibration.fit("binary", answers, np.array([0, 1] * 5))
    assert learned.temperature == pytest.approx(20, rel=1e-3)
    assert np.isfinite(np.log(learned.probabilities(answers))).all()


def test_no_rows_leave_answers_as_they_are() -> None:
    answers = np.array([[0.3, 0.7]])
    learned = Calibration.fit("binary", answers[:0], np.zeros(0, int))
    np.testing.assert_array_equal(learned.probabilities(answers), answers)
    assert learned.threshold == 0.5
    nothing = Calibration.fit("regression", np.zeros(0), np.zeros(0))
    assert nothing.interval(np.zeros(3)) is None


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("rows", [19, 200])
def test_intervals_hold_their_share_of_exchangeable_rows(
    rows: int, spread: bool, level: float
) -> None:
    """Over many draws the share is between level and level + 1/(rows + 1), whatever the errors."""
    random = np.random.default_rng(0)
    held = []
    for _ in range(600):
        scale = random.lognormal(size=rows + 20)
        errors = scale * random.standard_t(3, rows + 20)
        guess = random.normal(size=rows + 20)
        told = scale * random.lognormal(sigma=0.3, size=rows + 20) if spread else None
        learned = Calibration.fit(
            "regression",
            guess[:rows, None],
            guess[:rows] + errors[:rows],
            spread=None if told is None else told[:rows],
            level=level,
        )
        low, high = learned.interval(guess[rows:], None if told is None else told[rows:])
        truth = guess[rows:] + errors[rows:]
        held.append(((low <= truth) & (truth <= high)).mean())
    error = 3.5 * np.std(held) / math.sqrt(len(held))
    # The floor is learned from the same rows, which costs a little with few of them.
    assert level - error - 0.01 <= np.mean(held) <= level + 1 / (rows + 1) + error


def test_intervals_are_wider_where_members_disagree() -> None:
    random = np.random.default_rng(0)
    spread = random.choice([0.1, 1.0], 2000)
    truth = spread * random.normal(size=2000)
    learned = Calibration.fit("regression", np.zeros(2000), truth, spread=spread)
    low, high = learned.interval(np.zeros(2), np.array([0.1, 1.0]))
    widths = high - low
    assert widths[1] > 1.5 * widths[0]
    assert (low == -high).all()


def test_members_of_one_mind_are_not_listened_to() -> None:
    radius, floor = fit_radius(np.zeros(100), np.arange(100.0), np.zeros(100), 0.9)
    assert (radius, floor) == (90.0, None)


def test_the_radius_is_the_right_error() -> None:
    errors = np.arange(1.0, 10.0)
    assert fit_radius(np.zeros(9), errors, None, 0.9) == (9.0, None)
    assert fit_radius(np.zeros(8), errors[:8], None, 0.9) == (8.0, None)
    assert fit_radius(np.zeros(9), -errors, None, 0.5) == (5.0, None)


def test_it_survives_json() -> None:
    random = np.random.default_rng(0)
    answers, truth = drawn(0, 100, 2, 2.0)
    for learned in (
        Calibration.fit("binary", answers, truth, bias=True),
        Calibration.fit(
            "regression", random.normal(size=50), random.normal(size=50), spread=np.ones(50)
        ),
    ):
        assert Calibration.model_validate_json(learned.model_dump_json()) == learned


def worth(objective: object, chosen: np.ndarray, truth: np.ndarray) -> float:
    hit, false = float((chosen & truth).sum()), float((chosen & ~truth).sum())
    missed, right = float((~chosen & truth).sum()), float((~chosen & ~truth).sum())
    match objective:
        case "f1":
            return 2 * hit / (2 * hit + false + missed)
        case "accuracy":
            return hit + right
        case "balanced_accuracy":
            return hit / (hit + missed) + right / (right + false)
        case (costs_false, costs_missed):
            return -costs_false * false - costs_missed * missed
    raise AssertionError


@settings(max_examples=80, deadline=None)
@given(
    scores=arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])),
    truth=arrays(np.bool_, 12),
    objective=st.sampled_from(["f1", "accuracy", "balanced_accuracy", (1.0, 5.0), (3.0, 1.0)]),
)
def test_no_threshold_is_better(scores: np.ndarray, truth: np.ndarray, objective: object) -> None:
    found = fit_threshold(scores, truth, objective)
    if truth.all() or not truth.any():
        assert found == 0.5
        return
    shares = np.stack([1 - scores, scores], axis=1)
    best = worth(objective, decide(shares, found) == 1, truth)
    for other in (0.0, 0.05, 0.2, 0.4, 0.7, 0.95, 1.5):
        assert worth(objective, scores >= other, truth) <= best + 1e-9


def test_thresholds_stand_halfway_between_scores() -> None:
    scores = np.array([0.2, 0.2, 0.3, 0.7, 0.7, 0.8])
    truth = np.array([False, False, False, True, True, True])
    for objective in ("f1", "accuracy", "balanced_accuracy", (1.0, 1.0)):
        assert fit_threshold(scores, truth, objective) == pytest.approx(0.5)
    close = np.array([0.5, np.nextafter(0.5, 1)])
    assert fit_threshold(close, np.array([False, True]), "f1") == close[1]


def test_costs_move_the_threshold_where_theory_says() -> None:
    """With honest probabilities the best threshold is c_fp / (c_fp + c_fn) (Elkan 2001)."""
    random = np.random.default_rng(0)
    scores = random.random(200_000)
    truth = random.random(200_000) < scores
    for costs, expected in (((1.0, 4.0), 0.2), ((4.0, 1.0), 0.8), ((1.0, 1.0), 0.5)):
        assert fit_threshold(scores, truth, costs) == pytest.approx(expected, abs=0.05)


def test_the_threshold_is_of_calibrated_probabilities() -> None:
    logits = np.linspace(-8, 8, 400)
    answers = np.stack([expit(-logits), expit(logits)], axis=1)
    truth = (np.random.default_rng(0).random(400) < expit(logits / 4)).astype(int)
    learned = Calibration.fit("binary", answers, truth, threshold="accuracy")
    after = decide(learned.probabilities(answers), learned.threshold)
    assert (after == truth).mean() >= (answers.argmax(axis=1) == truth).mean()
    assert Calibration.fit("binary", answers, truth, threshold=0.3).threshold == 0.3
    assert Calibration.fit("multiclass", answers, truth).threshold is None


@pytest.mark.parametrize(
    "threshold", ["f2", "1.5", -0.1, "1:0", "1:2:3", (1.0, math.inf), "", "nan"]
)
def test_a_threshold_that_cannot_be(threshold: object) -> None:
    with pytest.raises(OptionError, match="threshold is"):
        read_threshold(threshold)


def test_near_names_are_suggested() -> None:
    with pytest.raises(OptionError, match="Did you mean 'accuracy'"):
        read_threshold("acuracy")
