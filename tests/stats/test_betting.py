from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.stats.betting import Contest


def losses(seed: int, rows: int, champion: float, challenger: float) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    return (draw.random(rows) < champion) * 1.0, (draw.random(rows) < challenger) * 1.0


def test_equal_ones_are_promoted_in_one_of_a_hundred_though_looked_at_after_every_event() -> None:
    verdicts = [Contest(least=1).take(*losses(seed, 4000, 0.2, 0.2)) for seed in range(300)]
    assert verdicts.count("promote") <= 3
    assert verdicts.count("reject") <= 3


def test_nothing_is_assumed_of_how_losses_hang_together() -> None:
    wrong = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        level = np.repeat(draw.random(40), 100)  # both fail together, by stretches
        a, b = (draw.random(4000) < level) * 1.0, (draw.random(4000) < level) * 1.0
        # A challenger that was worse at first, and is as good as the other since.
        b[:1000] = np.maximum(b[:1000], draw.random(1000) < 0.05)
        wrong += Contest().take(a, b) == "promote"
    assert wrong <= 3


@pytest.mark.parametrize(("challenger", "within"), [(0.20, 1500), (0.25, 5000)])
def test_a_better_one_is_found(challenger: float, within: int) -> None:
    found = []
    for seed in range(40):
        contest = Contest()
        assert contest.take(*losses(seed, 40_000, 0.30, challenger)) == "promote"
        found.append(contest.standing().decided)
    assert np.median(found) <= within


def test_a_worse_one_is_rejected_and_one_without_proof_at_last() -> None:
    assert Contest().take(*losses(0, 4000, 0.2, 0.3)) == "reject"
    contest = Contest(most=2000)
    assert contest.take(*losses(1, 1999, 0.2, 0.2)) is None
    assert contest.take(*losses(2, 1, 0.2, 0.2)) == "reject"
    assert contest.standing().decided == 2000


def test_no_verdict_before_enough_pairs() -> None:
    contest = Contest(least=256)
    assert contest.take(np.ones(255), np.zeros(255)) is None
    assert contest.take(np.ones(1), np.zeros(1)) == "promote"
    assert contest.standing().decided == 256


@given(st.lists(st.integers(1, 3000), max_size=6), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_any_cut_gives_the_same(cuts: list[int], seed: int) -> None:
    a, b = losses(seed, 3000, 0.3, 0.24)
    a[::7] *= 0.37
    whole, parts = Contest(), Contest()
    whole.take(a, b)
    places = [0, *sorted(cuts), 3000]
    for start, stop in pairwise(places):
        parts.take(a[start:stop], b[start:stop])
        again = Contest()
        again.restore(json.loads(json.dumps(parts.state())))
        parts = again
    assert parts.state() == whole.state()
    assert parts.standing() == whole.standing()


def test_the_bounds_hold_at_every_moment() -> None:
    missed = 0
    for seed in range(40):
        contest, outside = Contest(alpha=0.05), False
        a, b = losses(seed, 2000, 0.30, 0.25)
        for start in range(0, 2000, 100):
            contest.take(a[start : start + 100], b[start : start + 100])
            said = contest.standing()
            outside |= not said.low <= 0.05 <= said.high
            assert said.low <= said.difference <= said.high
        missed += outside
    assert missed <= 2


def test_wild_losses_are_clipped_and_missing_ones_left_out() -> None:
    contest = Contest(bound=2.0)
    contest.take(np.array([np.inf, np.nan, 5.0, 1.0]), np.array([0.0, 1.0, np.nan, -3.0]))
    said = contest.standing()
    assert said.pairs == 2
    assert said.difference == pytest.approx(1.5)
    assert Contest().standing().low == -1.0
    assert Contest().standing().evidence == 1.0
