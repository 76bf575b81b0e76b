from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from thalweg.stats.tails import FEWEST, TailFit, fit_pareto, survival

FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_the_curve_is_found(shape: float) -> None:
    excesses = stats.genpareto.rvs(shape, scale=2, size=20_000, random_state=0)
    found = fit_pareto(excesses)
    assert found == pytest.approx((shape, 2), abs=0.06)
    np.testing.assert_allclose(
        survival(excesses[:50], *found),
        stats.genpareto.sf(excesses[:50], shape, scale=2),
        atol=0.02,
    )


def test_few_excesses_make_an_exponential_curve() -> None:
    assert fit_pareto([1.0, 3.0]) == (0.0, 2.0)
    assert fit_pareto([]) == (0.0, 1.0)
    assert fit_pareto(np.ones(FEWEST))[1] > 0


@pytest.mark.parametrize("name", ["norm", "expon", "gumbel_r", "t"])
def test_false_alarms_on_fresh_values_are_as_wanted(name: str) -> None:
    spread = stats.t(5) if name == "t" else getattr(stats, name)()
    tail = TailFit.of(spread.rvs(5_000, random_state=1))
    fresh = spread.rvs(200_000, random_state=2)
    for wanted in (0.05, 0.01, 0.001):
        alarms = (fresh > tail.value(wanted)).mean()
        assert wanted / 2 < alarms < 2 * wanted


@given(st.lists(FLOATS, min_size=1, max_size=80), st.lists(FLOATS, min_size=2, max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_higher_value_is_no_likelier(seen: list[float], asked: list[float]) -> None:
    tail = TailFit.of(np.array(seen))
    likely = tail.probability(np.sort(np.array(asked)))
    assert (np.diff(likely) <= 1e-12).all()
    assert ((likely > 0) & (likely <= 1)).all()


@given(st.lists(FLOATS, min_size=1, max_size=80), st.randoms())
@settings(max_examples=30, deadline=None)
def test_order_does_not_matter_and_json_keeps_every_bit(seen: list[float], random: object) -> None:
    tail = TailFit.of(np.array(seen))
    assert TailFit.of(np.array(seen[::-1])) == tail
    assert TailFit.from_json(json.loads(json.dumps(tail.to_json()))) == tail


def test_value_turns_probability_round() -> None:
    tail = TailFit.of(np.random.default_rng(0).gamma(3, size=3_000))
    for wanted in (0.5, 0.2, 0.05, 0.01, 1e-4):
        assert tail.probability(np.array([tail.value(wanted)]))[0] == pytest.approx(wanted)
    moved = tail.moved(5.0)
    assert moved.value(0.01) == pytest.approx(tail.value(0.01) + 5)


def test_nothing_is_rare_where_nothing_was_seen() -> None:
    assert TailFit().probability(np.array([1e9])).tolist() == [1.0]
    assert TailFit().value(0.01) == np.inf


def test_equal_values_are_not_rare() -> None:
    tail = TailFit.of(np.array([0.0] * 95 + [1.0] * 5))
    assert tail.probability(np.array([0.0]))[0] == 1
    assert tail.probability(np.array([1.0]))[0] <= 0.05
