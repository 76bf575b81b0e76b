from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.windows.reference import SCHEMA, Row, batch, compare, windows_of
from thalweg.core.errors import ArtifactError, ColumnError
from thalweg.stats import ColumnSummary
from thalweg.stats.hashing import hash_text
from thalweg.stats.windows import Windows, WindowSpec

MS = 1_000
TIMES = st.one_of(
    st.integers(-40 * MS, 60 * MS),
    st.integers(-40, 60).map(lambda time: time * MS),  # so that bounds are met exactly
)
NUMBERS = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.1, 1e16, -1e16, float("inf"), float("nan")]),
    st.integers(-500, 500).map(float),
    st.floats(-1e6, 1e6, width=32),
)
ROWS = st.lists(
    st.builds(
        Row,
        TIMES,
        st.sampled_from(["a", "b", "10", "9", None]),
        st.sampled_from([1, 2, None]),
        NUMBERS,
        st.sampled_from(["u", "v", "w", "x", "y", "z", None]),
    ),
    max_size=60,
)
BY = st.sampled_from([(), ("key",), ("key", "side")])
SPECS = st.one_of(
    st.builds(WindowSpec.tumbling, st.sampled_from([5 * MS, 16 * MS]), BY),
    st.builds(
        WindowSpec.sliding,
        st.sampled_from([12 * MS, 10 * MS]),
        st.sampled_from([4 * MS, 3 * MS]),
        BY,
    ),
    st.builds(WindowSpec.session, st.sampled_from([1 * MS, 4 * MS]), BY),
)
CUTS = st.lists(st.integers(0, 60), max_size=5)


def _measured(spec: WindowSpec) -> WindowSpec:
    return WindowSpec(spec.kind, spec.size, spec.slide, spec.by, ("x", "label"))


def _pieces(rows: list[Row], cuts: list[int]) -> list[list[Row]]:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [rows[low:high] for low, high in pairwise(bounds)]


def _again(windows: Windows) -> Windows:
    meta, tables = windows.state()
    return Windows.from_state(
        json.loads(json.dumps(meta)), {name: _stored(table) for name, table in tables.items()}
    )


def _stored(table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


@settings(deadline=None, max_examples=40)
@given(SPECS, ROWS, CUTS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_any_cut_and_order_give_what_plain_python_gives(spec, rows, cuts, saved, random) -> None:
    spec = _measured(spec)
    whole = Windows(spec, SCHEMA)
    assert not whole.take(*batch(rows)).any()
    expected = whole.flush()
    compare(spec, rows, expected)

    shuffled = [*rows]
    random.shuffle(shuffled)
    pieces = _pieces(shuffled, cuts)
    windows, parts = Windows(spec, SCHEMA), []
    for number, piece in enumerate(pieces):
        late = windows.take(*batch(piece))
        assert not late.any()
        rest = [row.time for later in pieces[number + 1 :] for row in later]
        parts.append(windows.close(min(rest, default=70 * MS)))  # nothing that is to come is late
        if number == saved:
            windows = _again(windows)
    parts.append(windows.flush())
    assert pa.Table.from_batches(parts).combine_chunks().to_batches() == (
        pa.Table.from_batches([expected]).combine_chunks().to_batches()
    )
    assert (windows.open, windows.flush().num_rows) == (0, 0)


@settings(deadline=None, max_examples=40)
@given(SPECS, ROWS, CUTS, st.lists(TIMES, min_size=6, max_size=6), st.integers(0, 6))
def test_late_rows_are_told_and_nothing_else_is_lost(spec, rows, cuts, marks, saved) -> None:
    spec = _measured(spec)
    windows, closed, lost = Windows(spec, SCHEMA), -(2**63), 0
    given_back, held = 0, []
    for number, (piece, mark) in enumerate(zip(_pieces(rows, cuts), marks, strict=False)):
        late = windows.take(*batch(piece))
        if spec.kind != "session":
            start = [row.time // spec.slide * spec.slide for row in piece]
            assert late.tolist() == [one + spec.size <= closed for one in start]
        else:
            assert all(
                row.time + spec.size <= closed
                for row, is_late in zip(piece, late.tolist(), strict=True)
                if is_late
            )
        lost += int(late.sum())
        held += [row for row, is_late in zip(piece, late.tolist(), strict=True) if not is_late]
        closed = max(closed, mark)
        found = windows.close(mark)
        assert all(end <= closed for end in found["window_end"].cast(pa.int64()).to_pylist())
        given_back += sum(found["rows"].to_pylist())
        if number == saved:
            windows = _again(windows)
    given_back += sum(windows.flush()["rows"].to_pylist())
    if spec.size == spec.slide:  # every row is in one window
        assert given_back + lost == len(rows)
    assert given_back <= sum(len(own) for own in windows_of(spec, held).values())


def test_zero_is_zero_beside_numbers_that_are_not_whole() -> None:
    windows = Windows(WindowSpec.tumbling(MS))
    windows.take(pa.record_batch({"x": [-0.5, 0.0, -0.0, 2.5]}), np.zeros(4, dtype=np.int64))
    assert windows.flush().to_pylist()[0]["x_p50"] == 0.0


def test_a_row_counts_in_its_open_windows_only() -> None:
    windows = Windows(WindowSpec.sliding(10 * MS, 5 * MS, columns=("x",)), SCHEMA)
    assert windows.close(12 * MS).num_rows == 0
    late = windows.take(*batch([Row(t * MS, "a", 1, 1.0, "u") for t in (4, 6, 13)]))
    assert late.tolist() == [True, False, False]  # 4 lies in windows to 5 and 10 only
    found = windows.flush()
    assert found["window_end"].cast(pa.int64()).to_pylist() == [15 * MS, 20 * MS]
    assert found["rows"].to_pylist() == [2, 1]


def test_a_late_row_joins_two_sessions() -> None:
    windows = Windows(WindowSpec.session(10 * MS, by=("key",), columns=("x",)), SCHEMA)
    windows.take(*batch([Row(t * MS, "a", 1, float(t), "u") for t in (0, 18, 60)]))
    assert windows.open == 3
    assert windows.close(9 * MS).num_rows == 0
    windows.take(*batch([Row(9 * MS, "a", 1, 9.0, "u"), Row(9 * MS, "b", 1, 5.0, "u")]))
    assert windows.open == 3
    found = windows.close(28 * MS).to_pylist()
    assert [(one["key"], one["rows"], one["x_sum"]) for one in found] == [
        ("b", 1, 5.0),
        ("a", 3, 27.0),
    ]
    assert windows.take(*batch([Row(18 * MS, "a", 1, 0.0, "u")])).tolist() == [True]
    assert windows.take(*batch([Row(19 * MS, "a", 1, 0.0, "u")])).tolist() == [False]


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e9])
def test_it_says_what_a_column_summary_says(scale: float) -> None:
    random = np.random.default_rng(3)
    number = 20_000
    columns = {
        "price": (random.lognormal(3, 1.2, number) * scale).round(2 if scale == 1.0 else 12),
        "whole": random.integers(-(10**6), 10**6, number),
        "level": random.normal(1.7e9, 20.0, number),
        "city": random.choice(["Ulm", "Bonn", "01", "1.0", "1", ""], number),
        "paid": random.random(number) < 0.3,
    }
    rows = pa.record_batch({**columns, "key": random.integers(0, 3, number)})
    windows = Windows(WindowSpec.tumbling(60 * MS, by=("key",)))
    windows.take(rows, random.integers(0, 60 * MS, number))
    for one in windows.flush().to_pylist():
        own = rows.filter(pa.array(columns_of(rows, "key") == one["key"]))
        for name in columns:
            summary = ColumnSummary()
            summary.update(own[name])
            assert one[f"{name}_count"] == summary.rows - summary.nulls
            if name in ("city", "paid"):
                top = [(item["value"], item["count"]) for item in one[f"{name}_top"]]
                assert top == summary.top(5)
                assert one[f"{name}_distinct"] == summary.distinct()
                continue
            numbers = summary.numbers
            assert one[f"{name}_mean"] == numbers.mean
            assert one[f"{name}_min"] == numbers.minimum
            assert one[f"{name}_max"] == numbers.maximum
            assert one[f"{name}_deviation"] == pytest.approx(numbers.deviation, rel=1e-14)
            for share, quantile in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
                truth = np.quantile(own[name].to_numpy(), share)
                assert one[f"{name}_{quantile}"] == pytest.approx(truth, rel=2.0**-7)


def columns_of(rows: pa.RecordBatch, name: str) -> np.ndarray:
    return rows[name].to_numpy()


def test_more_distinct_values_than_are_kept_are_estimated_the_same_in_any_order() -> None:
    number = 30_000
    texts = [f"v{at}" for at in range(number)]
    heavy = texts[int(hash_text(pa.array(texts, pa.large_string())).argmin())]  # it is kept
    rows = pa.array([*texts, *[heavy] * 9])
    found = []
    for order in (np.arange(number + 9), np.random.default_rng(1).permutation(number + 9)):
        windows = Windows(WindowSpec.sliding(4 * MS, 2 * MS))
        for at, part in enumerate(np.array_split(order, 7)):
            windows.take(pa.record_batch({"t": rows.take(pa.array(part))}), part % (4 * MS))
            if at == 3:
                windows = _again(windows)
        found.append(windows.flush())
    assert found[0].equals(found[1])
    middle = found[0].to_pylist()[1]
    assert middle["t_count"] == middle["rows"]
    assert abs(middle["t_distinct"] / number - 1) < 0.05
    assert middle["t_top"][0] == {"value": heavy, "count": 10}


def test_memory_is_given_back() -> None:
    random = np.random.default_rng(0)
    windows, sizes = Windows(WindowSpec.sliding(6 * MS, 2 * MS, by=("key",))), []
    for step in range(60):
        keys = pa.array([f"k{step}-{at}" for at in range(2000)])  # new ones for ever
        labels = pa.array([f"t{step}-{at}" for at in range(2000)])
        rows = pa.record_batch({"key": keys, "x": random.normal(size=2000), "label": labels})
        windows.take(rows, step * MS + random.integers(0, MS, 2000))
        windows.close(step * MS)
        sizes.append(windows.nbytes)
    assert max(sizes[30:]) < 1.6 * max(sizes[10:30])
    assert windows.keys < 40_000
    _, tables = windows.state()
    assert tables["slots"].num_rows <= 9 * 2000
    windows.flush()
    windows.state()
    assert windows.keys == 0


def test_late_rows_of_ever_new_keys_take_no_memory() -> None:
    windows = Windows(WindowSpec.tumbling(MS, by=("key",)))
    windows.close(10 * MS)
    for step in range(40):
        rows = pa.record_batch({"key": [f"{step}-{at}" for at in range(1000)]})
        assert windows.take(rows, np.zeros(1000, dtype=np.int64)).all()
    assert windows.keys <= 6000


@pytest.mark.parametrize("kind", ["tumbling", "sliding", "session"])
def test_times_at_the_ends_of_the_world(kind: str) -> None:
    size = 86_400_000_000
    spec = WindowSpec(kind, size, size // 4 if kind == "sliding" else size)
    windows = Windows(spec, pa.schema([("x", pa.int64())]))
    year_1, year_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999
    times = np.array([-(2**63), year_1, 0, year_9999, 2**63 - 1])
    assert not windows.take(pa.record_batch({"x": [1, 2, 3, 4, 5]}), times).any()
    windows = _again(windows)
    some = windows.close(2**62)
    assert some.num_rows > 0
    found = windows.flush()
    rows = sum(some["rows"].to_pylist()) + sum(found["rows"].to_pylist())
    assert rows == (20 if kind == "sliding" else 5)
    assert windows.open == 0


def test_columns_that_are_chosen_and_columns_that_cannot_be() -> None:
    schema = pa.schema([("a", pa.list_(pa.int64())), ("t", pa.timestamp("ms")), ("n", pa.int8())])
    windows = Windows(WindowSpec.tumbling(MS))
    names = [
        "window_start",
        "window_end",
        "rows",
        *(
            f"n_{name}"
            for name in ("count", "mean", "sum", "min", "max", "deviation", "p50", "p95", "p99")
        ),
    ]
    assert windows.schema(schema).names == names
    chosen = Windows(WindowSpec.tumbling(MS, columns=("t",)), schema)
    rows = pa.record_batch({"a": [[1]], "t": pa.array([5], pa.timestamp("ms")), "n": [1]})
    chosen.take(rows, np.zeros(1, dtype=np.int64))
    assert chosen.flush().to_pylist()[0]["t_distinct"] == 1
    with pytest.raises(ColumnError, match="'m'"):
        Windows(WindowSpec.tumbling(MS, by=("m",)), schema)
    with pytest.raises(ColumnError, match="list"):
        Windows(WindowSpec.tumbling(MS, columns=("a",)), schema)
    with pytest.raises(ColumnError, match="without column 'n'"):
        Windows(WindowSpec.tumbling(MS), schema).take(rows.select(["t"]), np.zeros(1, np.int64))
    with pytest.raises(ColumnError, match="n_count"):
        Windows(WindowSpec.tumbling(MS, by=("n_count",), columns=("n",))).schema(
            pa.schema([("n", pa.int64()), ("n_count", pa.int64())])
        )


def test_a_dictionary_is_what_it_holds() -> None:
    plain = pa.record_batch({"key": ["a", None, "b", "a"], "t": ["x", "y", None, "x"]})
    coded = pa.record_batch({name: plain[name].dictionary_encode() for name in ("key", "t")})
    found = []
    for rows in (plain, coded):
        windows = Windows(WindowSpec.tumbling(MS, by=("key",)))
        windows.take(rows, np.zeros(4, dtype=np.int64))
        found.append(windows.flush())
    assert found[0].equals(found[1])


def test_another_version_is_refused() -> None:
    meta, tables = Windows(WindowSpec.tumbling(MS)).state()
    assert Windows.from_state(meta, tables).flush().num_rows == 0
    with pytest.raises(ArtifactError, match="version 99"):
        Windows.from_state(meta | {"version": 99}, tables)


def test_a_single_row_costs_no_more_with_more_open_windows() -> None:
    few, many = _single_row(20), _single_row(20_000)
    assert many < 10 * few  # whatever looks at every open window costs hundreds of times more


def _single_row(keys: int) -> float:
    """Seconds that one row takes where so many keys have open windows."""
    random = np.random.default_rng(0)
    windows = Windows(WindowSpec.sliding(60_000 * MS, 10_000 * MS, by=("key",)))
    rows = pa.record_batch({"key": random.integers(0, keys, 40_000), "x": random.random(40_000)})
    times = np.arange(40_000)
    windows.take(rows, times)
    costs = []
    for at in range(200):
        start = time.process_time()
        windows.take(rows.slice(at, 1), times[at : at + 1])
        windows.close(at)
        costs.append(time.process_time() - start)
    return float(np.quantile(costs, 0.1))  # others may slow the machine down


@pytest.mark.soak
def test_twenty_million_events_of_a_hundred_thousand_keys() -> None:
    random = np.random.default_rng(0)
    windows = Windows(WindowSpec.sliding(60_000 * MS, 10_000 * MS, by=("key",)))
    size, cost, sizes, given_back, late = 100_000, 0.0, [], 0, 0
    for start in range(0, 20_000_000, size):
        keys = random.integers(0, 100_000, size)
        rows = pa.record_batch({"key": keys, "x": random.lognormal(3, 1.2, size).round(2)})
        times = np.arange(start, start + size) * 10 + random.integers(0, 2_000_000, size)
        begin = time.process_time()
        late += int(windows.take(rows, times).sum())
        found = windows.close(start * 10)
        cost += time.process_time() - begin
        given_back += sum(found["rows"].to_pylist())
        sizes.append(windows.nbytes)
    given_back += sum(windows.flush()["rows"].to_pylist())
    assert late == 0
    assert given_back == 6 * 20_000_000
    quarter = len(sizes) // 4  # the first half fills the windows
    assert max(sizes[3 * quarter :]) < 1.05 * max(sizes[2 * quarter : 3 * quarter])
    assert 20_000_000 / cost > 500_000, f"{20_000_000 / cost:,.0f} rows a second"
