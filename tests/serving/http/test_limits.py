from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import OptionError
from thalweg.serving.http.limits import Limits, Rate, RateLimit, client, read_rate, retry_after


def test_limits_are_above_nothing() -> None:
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="limit of head seconds"):
            Limits(head_seconds=wrong)


@pytest.mark.parametrize("text", ["", "100", "0/s", "-1/s", "1/d", "1.5/s", "1/s/s"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(OptionError, match="expected such as 100/s"):
        read_rate(text)


def test_rates() -> None:
    assert read_rate(" 5 / s ") == Rate(5.0, 5)
    assert read_rate("3600/h") == Rate(1.0, 360)
    assert read_rate("1/h") == Rate(1 / 3600, 1)
    with pytest.raises(OptionError, match="numbers above 0"):
        Rate(1.0, 0)


@given(
    st.integers(1, 20),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(
    burst: int, a_second: float, pauses: list[float]
) -> None:
    now = [1000.0]
    limit = RateLimit(Rate(a_second, burst), clock=lambda: now[0])
    taken: list[float] = []
    for pause in pauses:
        now[0] += pause
        wait = limit.take("a")
        if not wait:
            taken.append(now[0])
            continue
        # Who waits as long as it was told is let in, who comes earlier is not.
        now[0] += wait * 0.9
        assert limit.take("a") > 0
        now[0] += wait * 0.1 + 1e-6
        assert limit.take("a") == 0
        taken.append(now[0])
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            most = burst + (taken[last] - taken[first]) * a_second
            assert last - first + 1 <= most + 1e-3


def test_a_pause_fills_the_bucket_and_no_more() -> None:
    now = [0.0]
    limit = RateLimit(Rate(2.0, 3), clock=lambda: now[0])
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.take("b") == 0
    now[0] = 1000.0
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_memory_is_bounded_and_the_busiest_stay() -> None:
    now = [0.0]
    limit = RateLimit(Rate(1.0, 10), clients=100, clock=lambda: now[0])
    for _ in range(10):
        limit.take("busy")
    assert limit.take("busy") > 0
    for number in range(10_000):
        limit.take(f"passing {number}")
        assert len(limit) <= 100
    assert limit.take("busy") > 0
    now[0] = 100.0
    for number in range(101):
        limit.take(f"later {number}")
    assert limit.take("busy") == 0


def test_clients() -> None:
    assert client("2001:db8:1:2:3::4") == client("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert client("fe80::1%eth0") == "fe80::/64"
    assert client("not an address") == client("/run/socket") == "unknown"


def test_waiting_is_told_in_whole_seconds() -> None:
    assert [retry_after(one) for one in (0.0, 0.001, 1.0, 1.001, 59.5)] == [
        "1",
        "1",
        "1",
        "2",
        "60",
    ]
