from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError
from thalweg.stats.windows import Watermark

S = 1_000_000
HOUR = 3600 * S


def test_it_is_the_lateness_behind_the_partition_that_lags_most() -> None:
    mark = Watermark(lateness=2 * S)
    assert mark.advance(100 * S) == -(2**63)
    mark.observe("a", 50 * S, 100 * S)
    mark.observe("b", 90 * S, 100 * S)
    assert mark.advance(100 * S) == 48 * S
    mark.observe("a", 60 * S, 101 * S)
    mark.observe("a", 55 * S, 101 * S)  # an earlier row changes nothing
    assert mark.advance(101 * S) == 58 * S


def test_a_silent_partition_is_not_waited_for() -> None:
    mark = Watermark(lateness=2 * S, idle=5 * S)
    mark.observe("a", 50 * S, 100 * S)
    mark.observe("b", 90 * S, 104 * S)
    assert mark.advance(104 * S + 999_999) == 48 * S
    assert mark.advance(105 * S) == 88 * S
    mark.observe("a", 51 * S, 106 * S)
    assert mark.advance(106 * S) == 88 * S  # it never goes back


def test_where_all_is_silent_event_time_goes_on_with_the_clock() -> None:
    mark = Watermark(lateness=10 * S, idle=5 * S)
    mark.observe("a", 50 * S, 100 * S)
    assert mark.advance(104 * S) == 40 * S
    assert mark.advance(105 * S) == 45 * S
    assert mark.advance(160 * S) == 100 * S  # so every window closes at last
    mark.observe("a", 70 * S, 161 * S)
    assert mark.advance(162 * S) == 100 * S


def test_a_partition_that_is_expected_is_waited_for() -> None:
    mark = Watermark(idle=5 * S)
    mark.expect("a", 100 * S)
    mark.observe("b", 90 * S, 100 * S)
    assert mark.advance(104 * S) == -(2**63)
    assert mark.advance(105 * S) == 95 * S
    mark.observe("a", 96 * S, 106 * S)
    mark.observe("b", 97 * S, 106 * S)
    for partition in "ab":  # nobody listened for an hour
        mark.expect(partition, HOUR)
    mark.observe("b", 200 * S, HOUR)
    assert mark.advance(HOUR) == 96 * S
    mark.forget("a")
    assert mark.advance(HOUR) == 200 * S


def test_rows_from_the_future_do_not_move_it() -> None:
    mark = Watermark(ahead=HOUR)
    times = np.array([-(2**63), 0, 10 * S + HOUR, 10 * S + HOUR + 1, 2**63 - 1])
    assert mark.credible(times, 10 * S).tolist() == [True, True, True, False, False]
    assert mark.credible(times, 2**63 - 1).all()
    mark.observe("a", 2**63 - 1, 10 * S)
    assert mark.advance(10 * S) == -(2**63)
    mark.observe("a", 5 * S, 10 * S)
    assert mark.advance(10 * S) == 5 * S


def test_the_ends_of_time() -> None:
    mark = Watermark(lateness=HOUR)
    mark.observe("a", -(2**63), 0)
    assert mark.advance(0) == -(2**63)
    mark.observe("a", 2**63 - 1, 2**63 - 1)
    assert mark.advance(2**63 - 1) == 2**63 - 1 - HOUR


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 100 * S)),
        st.integers(0, 200 * S),
    ),
    max_size=20,
)


@given(EVENTS, st.integers(0, 20))
def test_it_never_goes_back_and_a_replay_gives_the_same(events, saved: int) -> None:
    one, other, last = Watermark(lateness=S), Watermark(lateness=S), -(2**63)
    for number, (partition, event, clock) in enumerate(events):
        for mark in (one, other):
            mark.observe(partition, event, clock)
        if number == saved:
            other = Watermark.from_json(json.loads(json.dumps(other.to_json())))
        found = one.advance(clock)
        assert found == other.advance(clock) == one.value
        assert last <= found <= 2**63 - 1
        last = found


def test_another_version_is_refused() -> None:
    with pytest.raises(ArtifactError, match="version 7"):
        Watermark.from_json(Watermark().to_json() | {"version": 7})
