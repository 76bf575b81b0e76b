"""Cells that no column expects: what tests throw at a kind, and streams do too."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa

TEXTS: Final = (
    *("", " ", "\t", "?", " ?", "NA", "nan", "NaN", "null", "None", "-", "."),
    *("inf", "-inf", "1e999", "1e308", "-1e308", "5e-324", "-0.0", "007", "0x1F", "1,234", "12%"),
    *("0001-01-01", "9999-12-31T23:59:59.999999", "99999-01-01", "2020-13-45", "24:00", "-1-1-1"),
    *("true", "FALSE", "yes.", "on", "x" * 10_000, "ünïcödé 🙂", "\x00", "a\nb", "never seen"),
)
"""Texts."""


def odd_columns() -> Iterator[pa.Array]:
    """Give columns of every flat Arrow type, at its extremes and with gaps; bytes; lists."""
    yield pa.nulls(4)
    texts = [*TEXTS, None]
    for text in (pa.string(), pa.large_string(), pa.string_view()):
        yield pa.array(texts, text)
    yield pa.array(texts).dictionary_encode()
    yield pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, None]), pa.nulls(2))
    yield pa.array([b"\xff\xfe", b"", b"1", None])
    yield pa.array([True, False, None])
    for number in (pa.int8(), pa.int64(), pa.uint8(), pa.uint64()):
        info = np.iinfo(number.to_pandas_dtype())
        yield pa.array([info.min, 0, 1, info.max, None], number)
    wild = [np.inf, -np.inf, np.nan, 0.0, -0.0, 5e-324, None]
    yield pa.array([*wild, 1.7e308, -1.7e308], pa.float64())
    yield pa.array(wild, pa.float32())
    yield pa.array(np.array([np.inf, np.nan, 6e4], dtype=np.float16))
    yield pa.array([Decimal(10) ** 36, Decimal("-0.5"), None], pa.decimal128(38, 1))
    ends = pa.array([-(2**63) + 1, 0, 2**63 - 1, None], pa.int64())
    for unit in ("s", "ms", "us", "ns"):
        yield ends.cast(pa.timestamp(unit))
        yield ends.cast(pa.timestamp(unit, "Europe/Berlin"))
        yield ends.cast(pa.duration(unit))
    yield pa.array([-(2**31), 0, 2**31 - 1, None], pa.int32()).cast(pa.date32())
    yield pa.array([0, 86_399, None], pa.int32()).cast(pa.time32("s"))
    yield pa.array([b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WAVE", b"\xff" * 1000, b"", None])
    yield pa.array([[1.0, float("nan")], [], None, [3e300] * 5])
    yield pa.array([["a", None, ""], [], None, ["a", "b"]])
    yield pa.array([[1, 2], [3, None], None], pa.list_(pa.int32(), 2))
