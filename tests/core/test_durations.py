"""Durations are read as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.durations import LONGEST, read_duration, write_duration
from thalweg.core.errors import OptionError


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("250ms", 250_000),
        ("30s", 30_000_000),
        (" 1 m ", 60_000_000),
        ("2h", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("1w", 604_800_000_000),
        ("1.5h", 5_400_000_000),
        (".5s", 500_000),
    ],
)
def test_durations(text: str, micros: int) -> None:
    assert read_duration(text) == micros


@pytest.mark.parametrize(
    "text", ["", "1", "s", "-1s", "0s", "1 year", "1e3s", "0.1ms", "nan s", "١s", "9999999999w"]
)
def test_what_is_no_read_duration(text: str) -> None:
    with pytest.raises(OptionError, match=r"--window is .*Write it as 250ms, 30s"):
        read_duration(text, "--window")


@given(st.integers(1, LONGEST // 1000))
def test_written_and_read_again(milliseconds: int) -> None:
    assert read_duration(write_duration(1000 * milliseconds)) == 1000 * milliseconds
