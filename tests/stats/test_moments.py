"""Times are read alike wherever rows come from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from thalweg.stats.moments import NO_TIME, read_moments

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND

TIMES = [
    ("1970-01-01T00:00:01Z", SECOND),
    ("2023-11-14T22:13:20Z", NOW),
    ("2023-11-14 22:13:20.5", NOW + SECOND // 2),
    ("2023-11-14T23:13:20+01:00", NOW),
    ("0001-01-01T00:00:00Z", -62_135_596_800 * SECOND),
    ("9999-12-31T23:59:59Z", 253_402_300_799 * SECOND),
    ("-62135596800", -62_135_596_800 * SECOND),
    ("1700000000", NOW),
    ("1700000000.5", NOW + SECOND // 2),
    ("1700000000000", NOW),
    ("1700000000000000", NOW),
    ("1700000000000000000", NOW),
    ("0", 0),
    ("-1", -SECOND),
    ("soon", None),
    ("", None),
    (None, None),
    ("1e300", None),
    ("NaN", None),
    ("inf", None),
]


def test_times_as_they_are_written() -> None:
    micros = read_moments(pa.array([text for text, _ in TIMES]))
    assert micros.dtype == np.int64
    for (text, wanted), found in zip(TIMES, micros.tolist(), strict=True):
        assert (None if found == NO_TIME else found) == wanted, text


@pytest.mark.parametrize("scale", [1, 1000, 10**6, 10**9])
def test_numbers_are_times_by_their_size(scale: int) -> None:
    seconds = np.array([1_000_000_000, 1_700_000_000, 4_000_000_000])
    for kind in (pa.int64(), pa.float64()):
        micros = read_moments(pa.array(seconds * scale).cast(kind, safe=False))
        assert np.abs(micros - seconds * SECOND).max() <= 1


def test_each_time_is_read_by_itself() -> None:
    """No neighbour decides how a text is read."""
    together = read_moments(pa.array([text for text, _ in TIMES]))
    for place, (text, _) in enumerate(TIMES):
        alone = read_moments(pa.array([text], pa.string()))
        assert alone[0] == together[place], text
