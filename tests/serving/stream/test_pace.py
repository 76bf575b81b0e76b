"""Batches are as small as the load allows and as large as the time limit allows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thalweg.serving.stream.pace import LEAST, MOST, Latencies, Pace


def test_behind_batches_grow_to_half_the_limit() -> None:
    pace = Pace(1.0)
    for _ in range(20):
        pace.took(pace.most, 0.01 + pace.most * 20e-6)
    took = 0.01 + pace.most * 20e-6
    assert 0.4 < took < 0.6


def test_where_rows_are_dear_batches_shrink() -> None:
    pace = Pace(0.1)
    for _ in range(30):
        pace.took(pace.most, pace.most * 1e-4)
    assert 400 <= pace.most <= 600


@pytest.mark.parametrize(("seconds", "most"), [(0.0, MOST), (1e9, LEAST)])
def test_bounds(seconds: float, most: int) -> None:
    pace = Pace(1.0)
    for _ in range(10):
        pace.took(pace.most, seconds)
    assert pace.most == most


def test_a_quiet_stream_teaches_nothing_wrong() -> None:
    """A batch of one row takes as long as it takes: that says nothing of a thousand rows."""
    pace = Pace(1.0)
    for _ in range(20):
        pace.took(pace.most, pace.most * 10e-6)
    before = pace.most
    for _ in range(1000):
        pace.took(1, 0.005)
    assert pace.most == before
    pace.took(0, 5.0)
    assert pace.most == before


def test_shares_of_latencies() -> None:
    random = np.random.default_rng(0)
    seconds = random.lognormal(-5, 1.5, 20_000)
    some = Latencies()
    for part in np.array_split(seconds, 7):
        some.take(part)
    for share in (0.01, 0.5, 0.99):
        assert some.share(share) == pytest.approx(np.quantile(seconds, share), rel=0.05)
    assert math.isnan(Latencies().share(0.5))


def test_shares_of_what_came_since() -> None:
    some = Latencies()
    some.take(np.full(1000, 0.001))
    before = some.counts()
    assert math.isnan(some.share(0.5, before))
    some.take(np.full(10, 0.1))
    assert some.share(0.5, before) == pytest.approx(0.1, rel=0.05)
    assert some.share(0.5) == pytest.approx(0.001, rel=0.05)


def test_latencies_that_cannot_be() -> None:
    """A clock that ran backwards, and a record that waited for years."""
    some = Latencies()
    some.take(np.array([-5.0, 0.0, 1e9]))
    assert some.share(0.5) == pytest.approx(1e-5, rel=0.05)
    assert some.share(1.0) > 9_000
    some.take(np.zeros(0))
    assert math.isfinite(some.share(0.99))
