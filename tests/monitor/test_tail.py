from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import OptionError
from thalweg.monitor.tail import BLOCK, Tail
from thalweg.stats.tails import TailFit


def scores(count: int = 4_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(3, size=count)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_cut_into_batches_gives_the_same(cuts: list[int]) -> None:
    given_scores = scores(2_200)
    whole = Tail(TailFit.of(scores(500, 1)))
    wanted = whole.take(given_scores)
    cut = Tail(TailFit.of(scores(500, 1)))
    found, done = [], 0
    for count in [*cuts, 2_200]:
        found.append(cut.take(given_scores[done : done + count]))
        done += count
    assert np.array_equal(np.concatenate(found), wanted)
    assert cut.state() == whole.state()


@pytest.mark.parametrize("at", [0, 10, BLOCK, 1_777])
def test_what_was_restored_goes_on_bit_for_bit(at: int) -> None:
    one = Tail(alarm=0.005)
    one.take(scores()[:at])
    other = Tail.restore(json.loads(json.dumps(one.state(), allow_nan=False)))
    assert np.array_equal(other.take(scores()[at:]), one.take(scores()[at:]))
    assert other.state() == one.state()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("drift", [0.0, 8.0])
def test_false_alarms_are_as_wanted_while_ordinary_changes(drift: float, *, started: bool) -> None:
    tail = Tail(TailFit.of(scores(1_000, 5)) if started else None, alarm=0.01)
    moving = scores(60_000) + np.linspace(0, drift, 60_000)
    likely = tail.take(moving)[20_000:]
    assert 0.006 < (likely <= 0.01).mean() < 0.015


def test_without_taking_the_drift_off_a_rise_is_an_alarm() -> None:
    rising = scores(60_000) + np.linspace(0, 20, 60_000)
    alarms = [
        (Tail(TailFit.of(scores(1_000, 5)), drifts=drifts).take(rising) <= 0.01).mean()
        for drifts in (True, False)
    ]
    assert alarms[1] > 1.3 * alarms[0]


def test_gross_anomalies_teach_nothing() -> None:
    clean, dirty = Tail(), Tail()
    some = scores(6_000)
    clean.take(some)
    spoilt = some.copy()
    spoilt[1_000::50] = 1e4
    likely = dirty.take(spoilt)
    assert (likely[1_000::50] < 1e-4).all()
    assert dirty.fit.value(0.001) < 1.3 * clean.fit.value(0.001)


def test_a_level_shift_is_an_alarm_and_then_ordinary() -> None:
    tail = Tail()
    tail.take(scores(5_000))
    shifted = tail.take(scores(5_000, 3) + 50)
    assert (shifted[:200] < 0.01).all()
    assert (shifted[2_000:] < 0.01).mean() < 0.05


def test_odd_scores_do_no_harm() -> None:
    tail = Tail()
    tail.take(scores(1_000))
    likely = tail.take(np.array([np.nan, np.inf, -np.inf]))
    assert likely[0] == 1
    assert likely[1] < 1e-6
    assert likely[2] == 1
    again = Tail.restore(json.loads(json.dumps(tail.state(), allow_nan=False)))
    assert np.array_equal(again.take(scores(2_000, 4)), tail.take(scores(2_000, 4)))


def test_memory_does_not_grow() -> None:
    tail = Tail(kept=2_000)
    sizes = set()
    for seed in range(12):
        tail.take(scores(1_000, seed))
        sizes.add(len(tail.state()["ordinary"]))
    assert max(sizes) <= 2_000


def test_an_alarm_is_a_share() -> None:
    with pytest.raises(OptionError, match="the alarm is 1"):
        Tail(alarm=1.0)
