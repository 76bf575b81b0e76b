"""Windows in plain Python, row by row: what the fast ones are compared with."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from thalweg.stats.windows import WindowSpec

SCHEMA = pa.schema(
    [("key", pa.string()), ("side", pa.int64()), ("x", pa.float64()), ("label", pa.string())]
)


@dataclass(frozen=True)
class Row:
    time: int
    key: str | None
    side: int | None
    x: float | None
    label: str | None


def batch(rows: list[Row]) -> tuple[pa.RecordBatch, np.ndarray]:
    columns = [[getattr(row, name) for row in rows] for name in SCHEMA.names]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    times = np.array([row.time for row in rows], dtype=np.int64)
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), times


def windows_of(spec: WindowSpec, rows: list[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """(end, start, key values) -> rows."""
    by_key = defaultdict(list)
    for row in rows:
        by_key[tuple(getattr(row, name) for name in spec.by)].append(row)
    found = defaultdict(list)
    for key, own in by_key.items():
        if spec.kind == "session":
            own.sort(key=lambda row: row.time)
            parts = [[own[0]]]
            for row in own[1:]:
                if row.time - parts[-1][-1].time < spec.size:
                    parts[-1].append(row)
                else:
                    parts.append([row])
            for part in parts:
                found[(part[-1].time + spec.size, part[0].time, key)] = part
            continue
        for row in own:
            start = row.time // spec.slide * spec.slide
            while start + spec.size > row.time:
                found[(start + spec.size, start, key)].append(row)
                start -= spec.slide
    return found


def compare(spec: WindowSpec, rows: list[Row], result: pa.RecordBatch | pa.Table) -> None:
    """Check results, and their order, against the rows that the windows should hold."""
    expected = windows_of(spec, rows)
    last = (1, "")
    order = sorted(
        expected, key=lambda at: (at[0], [last if part is None else (0, part) for part in at[2]])
    )
    starts = result["window_start"].cast(pa.int64()).to_pylist()
    ends = result["window_end"].cast(pa.int64()).to_pylist()
    given = result.to_pylist()
    found = [
        (end, start, tuple(one[name] for name in spec.by))
        for end, start, one in zip(ends, starts, given, strict=True)
    ]
    assert found == order
    for at, one in zip(order, given, strict=True):
        own = expected[at]
        assert one["rows"] == len(own)
        _check_numbers(one, [row.x for row in own if row.x is not None and np.isfinite(row.x)])
        _check_labels(one, Counter(row.label for row in own if row.label is not None))


def _check_numbers(one: dict[str, Any], values: list[float]) -> None:
    assert one["x_count"] == len(values)
    if not values:
        assert all(one[f"x_{name}"] is None for name in ("mean", "sum", "min", "deviation", "p50"))
        return
    exact = sum(map(Fraction, values))
    assert one["x_sum"] == float(exact)
    assert one["x_mean"] == float(exact / len(values))
    assert (one["x_min"], one["x_max"]) == (min(values), max(values))
    mean = exact / len(values)
    variance = float(sum((Fraction(v) - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    assert abs(one["x_deviation"] - variance**0.5) <= 1e-12 * variance**0.5
    ordered = sorted(values)
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        place = share * (len(values) - 1)
        below = ordered[int(place)]
        above = ordered[min(int(place) + 1, len(values) - 1)]
        room = 2.0**-7 * max(abs(below), abs(above))
        assert below - room <= one[f"x_{name}"] <= above + room
        truth = float(np.quantile(values, share))
        assert abs(one[f"x_{name}"] - truth) <= room


def _check_labels(one: dict[str, Any], counts: Counter[str]) -> None:
    assert one["label_count"] == counts.total()
    assert one["label_distinct"] == len(counts)
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    assert one["label_top"] == [{"value": text, "count": count} for text, count in top]
