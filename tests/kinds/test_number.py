from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds.base import Encoded
from thalweg.kinds.check import fit, summarise
from thalweg.kinds.evidence import rows, same
from thalweg.kinds.number import Number, NumberOptions, NumberState
from thalweg.kinds.scaling import BLOCK, scaled

NUMBER = Number()


def fitted(cells: pa.Array, role="feature", **options: object) -> NumberState:
    return NUMBER.fit(summarise([cells]), NumberOptions.model_validate(options), role)


def encoded(cells: pa.Array, state: NumberState) -> Encoded:
    return NUMBER.encode([cells], [state])


def test_a_column_is_centred_on_its_median_and_scaled_by_its_quartiles() -> None:
    cells = pa.array(np.random.default_rng(0).normal(50, 7, 20_000))
    values = encoded(cells, fitted(cells)).fields["values"]
    assert values.dtype == np.float32
    assert abs(float(np.median(values))) < 1e-4
    assert abs(float(values.std()) - 1) < 0.02


def test_one_number_is_read_alike_however_it_is_written() -> None:
    state = fitted(pa.array([1.0, 2.0, 3.0, 4.0]))
    ways = [
        pa.array([3]),
        pa.array([3.0]),
        pa.array([3.0], pa.float32()),
        pa.array(["3"]),
        pa.array([" 3.00 "]),
        pa.array([3], pa.uint8()),
        pa.array([3.0]).cast(pa.decimal128(5, 2)),
        pa.array(["3"]).dictionary_encode(),
    ]
    bits = {encoded(way, state).fields["values"].tobytes() for way in ways}
    assert len(bits) == 1


def test_true_is_one_and_false_is_zero() -> None:
    state = fitted(pa.array([0, 1, 2, 3]))
    both = encoded(pa.array([True, False]), state), encoded(pa.array([1, 0]), state)
    assert np.array_equal(both[0].fields["values"], both[1].fields["values"])


def test_a_column_of_booleans_can_be_said_to_be_a_number() -> None:
    state = fitted(pa.array([True, False, None, True]), "target")
    assert state.mean == pytest.approx(2 / 3)
    assert (state.minimum, state.maximum) == (0, 1)


def test_gaps_are_filled_and_flagged_and_nonsense_is_reported() -> None:
    state = fitted(pa.array([1.0, 2.0, 9.0]))
    got = encoded(pa.array(["?", None, " ", "NA", "soon", "2"]), state)
    assert got.fields["missing"][:, 0].tolist() == [1, 1, 1, 1, 1, 0]
    assert got.fields["values"][:, 0].tolist() == [0.0] * 6  # 2 is the median
    assert got.unreadable[:, 0].tolist() == [False, False, False, False, True, False]
    assert not got.dropped.any()


@pytest.mark.parametrize(
    ("options", "fill"),
    [
        ({}, 2.0),
        ({"missing": "mean"}, 4.0),
        ({"missing": "constant", "constant": "-1"}, -1.0),
        ({"missing": "drop"}, 2.0),
    ],
)
def test_what_stands_in_for_a_gap(options: dict[str, str], fill: float) -> None:
    state = fitted(pa.array([-2.0, 2.0, 12.0]), **options)
    got = encoded(pa.array([None, fill], pa.float64()), state)
    assert got.fields["values"][0, 0] == got.fields["values"][1, 0]
    assert got.dropped.tolist() == [options.get("missing") == "drop", False]


def test_a_constant_must_be_given() -> None:
    with pytest.raises(OptionError, match="constant"):
        fitted(pa.array([1.0, 2.0]), missing="constant")


SPOILT = pa.array([*np.random.default_rng(1).normal(0, 1, 999).tolist(), 1e9])


def test_a_lone_wild_value_is_clipped_to_the_fence() -> None:
    state = fitted(SPOILT)
    values = encoded(pa.array([1e9, np.inf, -np.inf, 1.0]), state).fields["values"][:, 0]
    assert 8 < values[0] < 20
    assert values[0] == values[1] == -1 * -values[1]
    assert values[2] < -8
    assert state.upper < 20


def test_wild_values_can_be_flagged_dropped_or_left() -> None:
    cells = pa.array([1e9, 0.5, np.inf])
    flagged = encoded(cells, fitted(SPOILT, outliers="flag"))
    assert flagged.fields["outlier"][:, 0].tolist() == [1, 0, 1]
    assert flagged.fields["missing"][:, 0].tolist() == [0, 0, 1]
    assert flagged.unreadable[:, 0].tolist() == [False, False, True]
    dropped = encoded(cells, fitted(SPOILT, outliers="drop"))
    assert dropped.dropped.tolist() == [True, False, True]
    left = encoded(cells, fitted(SPOILT, outliers="none"))
    assert left.fields["values"][0, 0] == 1e6
    assert list(left.fields) == ["values", "missing"]
    assert left.fields["missing"][:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_an_honest_heavy_tail_is_hardly_cut(sigma: float) -> None:
    amounts = np.random.default_rng(0).lognormal(0, sigma, 50_000)
    state = fitted(pa.array(amounts))
    assert (amounts > state.upper).mean() < 1e-4
    assert (amounts < state.lower).sum() == 0


def test_a_rare_honest_value_beside_a_spike_survives() -> None:
    amounts = np.zeros(10_000)
    amounts[:3] = [500, 900, 20_000]
    state = fitted(pa.array(amounts))
    values = encoded(pa.array(amounts[:4]), state).fields["values"][:, 0]
    assert len(set(values.tolist())) == 4


@pytest.mark.parametrize(
    "cells",
    [
        [5.0] * 50,
        [0.0] * 50,
        np.float32(0.1) + np.arange(50) * 1e-9,
        1e8 + np.arange(50) * 1e-3,
        [0.0] * 99 + [5e-324],
        np.concatenate([np.zeros(80), np.random.default_rng(0).random(20) * 1e-14]),
        [-1.7e308, 1.7e308, 0.0, 1.0],
    ],
    ids=["constant", "zero", "rounding", "offset", "denormal", "dust", "overflow"],
)
def test_degenerate_columns_are_safe(cells) -> None:
    state = fitted(pa.array(cells, pa.float64()))
    probes = [-1e308, -1.0, 0.0, 1e-300, 0.1, 5.0, 1e8, 1e308]
    values = encoded(pa.array([*list(cells), *probes], pa.float64()), state).fields["values"]
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 1e6
    edges = np.array(state.edges)
    assert len(edges) >= 2
    assert np.diff(edges).min() >= 1e-4
    assert np.array_equal(edges, edges.astype(np.float32))


def test_large_whole_numbers_that_differ_by_little_are_told_apart() -> None:
    seconds = pa.array(1_700_000_000 + np.arange(600))
    values = encoded(seconds, fitted(seconds)).fields["values"][:, 0]
    assert len(np.unique(values)) == 600
    assert 1 < np.abs(values).max() < 3


def test_few_distinct_values_are_the_edges() -> None:
    ratings = pa.array([1, 2, 3, 4, 5] * 40)
    state = fitted(ratings)
    values = encoded(ratings, state).fields["values"][:, 0]
    assert sorted(set(values.tolist())) == list(state.edges)


def test_edges_are_quantiles_of_the_rows() -> None:
    cells = pa.array(np.random.default_rng(0).normal(0, 1, 5_000))
    state = fitted(cells, bins=48)
    counts, _ = np.histogram(encoded(cells, state).fields["values"], np.array(state.edges))
    assert len(counts) == 48
    assert counts.min() > 80
    assert len(fitted(cells, bins=5).edges) == 6


def test_a_spike_leaves_bins_to_the_rest() -> None:
    random = np.random.default_rng(0)
    gains = np.where(random.random(20_000) < 0.95, 0, random.lognormal(8, 1, 20_000).round())
    state = fitted(pa.array(gains), bins=48)
    assert len(state.edges) > 40
    assert len(state.edges) <= 49


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=10),
    st.sampled_from(["clip", "flag", "drop", "none"]),
)
def test_any_floats_give_finite_float32(cells, probes, outliers) -> None:
    state = fitted(pa.array(cells, pa.float64()), outliers=outliers)
    got = encoded(pa.array(probes, pa.float64()), state)
    assert got.fields["values"].dtype == np.float32
    assert np.isfinite(got.fields["values"]).all()
    edges = np.array(state.edges)
    assert (np.diff(edges) > 0).all()


def test_a_list_can_never_be_a_number() -> None:
    state = fitted(pa.array([1.0, 2.0]))
    with pytest.raises(ColumnError, match="list"):
        encoded(pa.array([[1], [2]]), state)


def test_a_target_is_standardised_exactly_and_never_altered() -> None:
    prices = np.random.default_rng(0).lognormal(3, 1, 1_000)
    prices[0] = 1e5
    state = fitted(pa.array(prices), "target")
    got = encoded(pa.array([*prices, None, "?"][:1000]), state)
    value = got.fields["value"]
    assert list(got.fields) == ["value"]
    assert value.shape == (1000, 1)
    assert abs(float(value.mean(dtype=np.float64))) < 1e-6
    assert abs(float(value.std(dtype=np.float64, ddof=1)) - 1) < 1e-6
    assert value[0, 0] > 20
    assert encoded(pa.array([None, 3.0]), state).dropped.tolist() == [True, False]
    assert encoded(pa.array(["?", "x", "3"]), state).unreadable[:, 0].tolist() == [
        False,
        True,
        False,
    ]


def test_a_prediction_is_in_the_target_s_own_units_and_near_its_range() -> None:
    state = fitted(pa.array([10.0, 20.0, 30.0]), "target")
    answers = NUMBER.decode(np.array([[0.0], [1e9], [-1e9]], np.float32), state)["prediction"]
    assert answers.type == pa.float64()
    assert answers.to_pylist() == [20.0, 31.0, 9.0]


@pytest.mark.parametrize(
    "cells", [pa.nulls(9), pa.array([3.0] * 9), pa.array(["a", "b"]), pa.array([0.1, 0.1 + 1e-12])]
)
def test_a_target_must_differ(cells: pa.Array) -> None:
    with pytest.raises(TargetError):
        fit(NUMBER, cells, "target")


@pytest.mark.parametrize(
    ("cells", "number"),
    [
        (pa.array([1, 2, 3]), True),
        (pa.array(["1", "2.5", "?", "1e3"]), True),
        (pa.array(["01234", "98765", "00001"]), False),
        (pa.array(["a", "b", "3"]), False),
        (pa.array(["2021-01-01", "2021-01-02"]), False),
        (pa.nulls(3), False),
    ],
)
def test_what_is_taken_for_a_number(cells: pa.Array, number: bool) -> None:
    assert (NUMBER.sniff(summarise([cells])) > 0.5) == number


WILD = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, 2.0, 1e300, -1e300, 5e-324])


@given(st.lists(WILD, min_size=3, max_size=30), st.lists(WILD, min_size=1, max_size=30))
@settings(max_examples=200)
def test_one_cut_is_a_cut_at_the_fence_and_then_at_the_limit(
    seen: list[float], values: list[float]
) -> None:
    state = fitted(pa.array(seen))
    got = encoded(pa.array(values), state).fields["values"][:, 0]
    cut = np.clip(np.array(values), state.lower, state.upper)
    filled = np.where(np.isnan(cut), state.fill, cut)
    np.testing.assert_array_equal(got, scaled(filled, state.centre, state.scale))


@pytest.mark.parametrize("outliers", ["clip", "flag", "drop", "none"])
def test_rows_far_apart_in_a_long_batch_are_encoded_as_alone(outliers: str) -> None:
    random = np.random.default_rng(0)
    values = random.lognormal(0, 3, 2 * BLOCK + 5)
    values[::7] = np.nan
    values[1::7_000] = np.inf
    beside = pa.array(random.integers(0, 50, len(values)), pa.int16())
    cells = pa.array(values, mask=random.random(len(values)) < 0.01)
    states = [fitted(cells, outliers=outliers), fitted(beside)]
    assert states[1].spikes
    whole = NUMBER.encode([cells, beside], states)
    for start in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK - 2, 2 * BLOCK + 1):
        part = NUMBER.encode([cells.slice(start, 3), beside.slice(start, 3)], states)
        same(rows(whole, slice(start, start + 3)), part, NUMBER, f"row {start}")


def test_columns_without_spikes_have_no_field_for_them() -> None:
    cells = pa.array(np.random.default_rng(0).normal(size=20_000))
    assert list(encoded(cells, fitted(cells)).fields) == ["values", "missing"]
    counts = pa.array(np.arange(20_000) % 9)
    fields = NUMBER.encode([cells, counts], [fitted(cells), fitted(counts)]).fields
    assert fields["spike"].dtype == np.uint16
    assert not fields["spike"][:, 0].any()
    assert fields["spike"][:, 1].tolist() == (np.arange(20_000) % 9 + 1).tolist()


def test_floats_in_a_dictionary_are_the_floats_themselves() -> None:
    cells = pa.array([1.0, np.inf, -np.inf, np.nan, None, 2.0])
    state = fitted(pa.array([1.0, 2.0, 3.0]))
    same(encoded(cells, state), encoded(cells.dictionary_encode(), state), NUMBER, "a dictionary")
