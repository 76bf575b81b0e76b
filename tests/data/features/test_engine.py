from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError
from thalweg.data.features import answers, groups
from thalweg.data.features.declare import Feature, Features
from thalweg.data.features.engine import Engine
from thalweg.data.features.order import Reorder
from thalweg.stats.moments import NO_TIME

DECLARED = [
    "n = count() by card over 5ms",
    "s = sum(amount) by card over 5ms",
    "m = mean(amount) by card over 3ms",
    "high = max(amount) by card over 5ms",
    "low = min(amount) by card over 7ms",
    "shops = distinct(shop) by card over 5ms",
    "amounts = distinct(amount) by card over 3ms",
    "was = last(shop) by card over 4ms",
    "ever = last(shop) by card",
    "amount_ever = last(amount) by card",
    "quiet = since() by card",
    "quiet_3 = since() by card over 3ms",
    "all = sum(amount) over 6ms",
    "pair = count() by card, shop over 9ms",
    "pair_sum = sum(amount) by shop, card over 2ms",
    "everywhere = last(amount)",
]
SCHEMA = pa.schema({"card": pa.string(), "amount": pa.float64(), "shop": pa.string()})
WITH_TIME = SCHEMA.append(pa.field("at", pa.timestamp("us")))
FEATURES = Features.parse(DECLARED, "card").of(SCHEMA)
MS = 1_000


def brute(rows: Sequence[dict[str, Any]], times: Sequence[int], feature: Feature) -> list[Any]:
    """What a feature is, row by row."""
    return [_one(rows, times, feature, at) for at in range(len(rows))]


def _one(rows: Sequence[dict[str, Any]], times: Sequence[int], one: Feature, at: int) -> Any:
    key = [rows[at][name] for name in one.by]
    if None in key or times[at] == NO_TIME:
        return None
    low = -math.inf if one.over is None else times[at] - one.over
    seen = [
        (when, None if one.column is None else row[one.column])
        for row, when in zip(rows, times, strict=True)
        if [row[name] for name in one.by] == key and low <= when < times[at] and when != NO_TIME
    ]
    valued = [(when, value) for when, value in seen if value is not None and value != math.inf]
    values = [value for _, value in valued]
    match one.function:
        case "count":
            return len(seen)
        case "sum":
            return math.fsum(values)
        case "mean":
            return math.fsum(values) / len(values) if values else None
        case "max":
            return max(values, default=None)
        case "min":
            return min(values, default=None)
        case "distinct":
            return len(set(values))
        case "last":
            return max(valued)[1] if valued else None
        case "since":
            return (times[at] - max(seen)[0]) / 1e6 if seen else None
    raise AssertionError


def cut(
    rows: pa.RecordBatch, times: NDArray[np.int64], sizes: Sequence[int]
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    at = 0
    for size in [*sizes, len(times)]:
        yield rows.slice(at, size), times[at : at + size]
        at = min(at + size, len(times))


def whole(parts: Sequence[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(parts).combine_chunks()


def require_equal(found: pa.Table, wanted: dict[str, list[Any]]) -> None:
    for name, values in wanted.items():
        for mine, right in zip(found.column(name).to_pylist(), values, strict=True):
            close = isinstance(right, float) and mine == pytest.approx(right, rel=1e-9, abs=0)
            assert mine == right or close, (name, mine, right)


amounts = st.one_of(
    st.none(),
    st.sampled_from([1.0, -2.5, 0.1, 0.0, -0.0, 3e300, 1e-300, math.inf]),
    st.floats(-1e6, 1e6),
)
events = st.lists(
    st.tuples(
        st.integers(0, 25),
        st.sampled_from(["a", "b", "7", None]),
        amounts,
        st.sampled_from(["x", "y", "z", "10", "9", None]),
    ),
    max_size=40,
)


@pytest.mark.parametrize("small", [True, False])
@settings(max_examples=30)
@given(events, st.lists(st.integers(0, 9), max_size=20), st.data())
def test_any_cut_and_any_order_within_the_lateness_gives_what_brute_force_gives(
    small: bool,
    table: list[tuple[int, str | None, float | None, str | None]],
    sizes: list[int],
    data: st.DataObject,
) -> None:
    with ExitStack() as stack:
        if small:  # so that few rows are treated as many are
            stack.enter_context(patch.multiple(answers, _LOOKED=0, _EACH=0))
            stack.enter_context(patch.multiple(groups, _TAIL=3))
        require_one_answer(table, sizes, data)


def require_one_answer(
    table: list[tuple[int, str | None, float | None, str | None]],
    sizes: list[int],
    data: st.DataObject,
) -> None:
    table.sort(key=lambda row: row[0])
    plain = [dict(zip(("card", "amount", "shop"), row[1:], strict=True)) for row in table]
    rows = pa.RecordBatch.from_pylist(plain, schema=SCHEMA)
    times = np.array([row[0] * MS for row in table], dtype=np.int64)
    wanted = {one.name: brute(plain, times.tolist(), one) for one in FEATURES.features}

    at_once = Engine(FEATURES).compute(rows, times)
    require_equal(whole([at_once]), wanted)

    engine = Engine(FEATURES)
    parts = []
    for some, when in cut(rows, times, sizes):
        if data.draw(st.booleans()):
            engine = Engine.from_state(FEATURES, engine.state())
        parts.append(engine.compute(some, when))
    assert whole(parts).equals(whole([at_once])), "the cut makes a difference"

    late = data.draw(st.integers(0, 6)) * MS
    moved = [int(when) + data.draw(st.integers(0, late)) for when in times]
    arrival = np.argsort(np.array(moved, dtype=np.int64), kind="stable")
    numbered = rows.append_column("row", pa.array(np.arange(len(times))))
    order, engine, newest = Reorder(late), Engine(FEATURES), -1
    parts, numbers = [], []
    for some, when in cut(numbered.take(pa.array(arrival)), times[arrival], sizes):
        newest = max([newest, *when.tolist()])
        # What comes at the watermark itself is not late.
        ready, ready_times = order.take(some, when, newest - late)
        order = Reorder.from_state(order.state())
        parts.append(engine.compute(ready, ready_times, newest - late))
        numbers.append(ready.column("row"))
    if (rest := order.flush()) is not None:
        parts.append(engine.compute(*rest))
        numbers.append(rest[0].column("row"))
    back = np.argsort(pa.chunked_array(numbers).to_numpy(), kind="stable")
    if late or not len(times):
        assert whole(parts).take(pa.array(back)).equals(whole([at_once]))


def test_what_comes_late_gets_the_same_however_often_the_state_was_saved() -> None:
    rng = np.random.default_rng(5)
    # Some come later than any window reaches back.
    times = (np.arange(6_000) * MS // 200 + rng.integers(-9, 9, 6_000) * MS).astype(np.int64)
    rows = pa.record_batch(
        {
            "card": rng.choice(["a", "b", "c"], 6_000),
            "amount": rng.normal(size=6_000),
            "shop": rng.choice(["x", "y", "z"], 6_000),
        }
    )
    one, other = Engine(FEATURES), Engine(FEATURES)
    for at in range(0, 6_000, 300):
        if at % 900 == 0:
            other = Engine.from_state(FEATURES, other.state())
        cuts = rows.slice(at, 300), times[at : at + 300]
        assert one.compute(*cuts).equals(other.compute(*cuts)), at


def test_memory_does_not_grow_with_what_no_window_sees() -> None:
    rng = np.random.default_rng(0)
    engine = Engine(FEATURES)
    sizes = []
    for step in range(30):
        times = np.sort(rng.integers(step * 20, step * 20 + 20, 2_000)) * MS
        cards = pa.array(rng.choice(["a", "b", "c"], 2_000))
        shops = pa.array(rng.choice(["x", "y", "z"], 2_000))
        rows = pa.record_batch({"card": cards, "amount": rng.normal(size=2_000), "shop": shops})
        engine.compute(rows, times)
        sizes.append((engine.remembered, engine.nbytes))
    assert max(sizes[15:]) <= (1.2 * max(sizes[:15])[0], 1.2 * max(sizes[:15])[1])
    assert sizes[-1][0] < 60_000


def test_a_state_of_other_features_is_refused() -> None:
    one = Features.parse(["a = sum(amount) by card over 1h"], "at").of(WITH_TIME)
    for text, said in [
        ("a = sum(amount) by shop over 1h", "state of features"),
        ("a = sum(amount) by card over 2h", "over 2h"),
        ("a = distinct(amount) by card over 1h", "hash:amount"),
    ]:
        other = Features.parse([text], "at").of(WITH_TIME)
        with pytest.raises(ArtifactError, match=said):
            Engine.from_state(other, Engine(one).state())


def test_times_without_an_order_of_magnitude_do_no_harm() -> None:
    times = np.array([-62_135_596_800_000_000, 0, 1, 253_402_300_799_999_999, NO_TIME, 2**62])
    cards = [f"card {one}" for one in range(300)]
    rows = pa.record_batch(
        {
            "card": pa.array([card for card in cards for _ in times]),
            "amount": pa.array([1.0] * 300 * len(times)),
            "shop": pa.array(["x"] * 300 * len(times)),
        }
    )
    engine = Engine(FEATURES)
    found = engine.compute(rows, np.tile(times, 300))
    assert found.column("n").to_pylist() == [0, 0, 1, 0, None, None] * 300
    again = engine.compute(rows.slice(0, 3), times[:3])
    assert again.column("amount_ever").to_pylist()[0] is None


def test_numbers_in_text_are_the_numbers_they_say() -> None:
    features = Features.parse(
        [
            "s = sum(amount) by card over 1h",
            "d = distinct(amount) by card over 1h",
            "low = min(amount) over 1h",
        ],
        "at",
    )
    numbers = pa.record_batch({"card": [7.0] * 4, "amount": [1.5, None, 2.0, 1.5]})
    texts = pa.record_batch({"card": ["7", " 7.0", "07", "7"], "amount": ["1.50", "?", "2", "9"]})
    times = np.arange(4) * MS
    found = [Engine(features).compute(rows, times).to_pydict() for rows in (numbers, texts)]
    assert found[0] == found[1]
    assert found[0] == {"s": [0, 1.5, 1.5, 3.5], "d": [0, 1, 1, 2], "low": [None, 1.5, 1.5, 1.5]}
