"""Two tables compared: quiet where nothing changes, loud where something does, bounded, quick."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from thalweg.stats import TableSummary
from thalweg.stats.drift import measures
from thalweg.stats.drift.compare import ColumnDrift, compare
from thalweg.stats.drift.reference import TOP, ColumnReference, Reference


def summed(*tables: pa.Table | pa.RecordBatch) -> TableSummary:
    summary = TableSummary()
    for table in tables:
        summary.update(table)
    return summary


def table(seed: int, rows: int, shift: float = 0.0, mix: float = 0.3) -> pa.Table:
    drawn = np.random.default_rng(seed)
    letters = np.array(list("abcdefgh"))
    return pa.table(
        {
            "number": drawn.normal(shift, 1, rows),
            "heaped": np.where(drawn.random(rows) < 0.5, 0.0, drawn.exponential(1, rows)),
            "whole": drawn.integers(0, 50, rows),
            "letter": letters[np.minimum(drawn.geometric(mix, rows) - 1, 7)],
            "many": [f"v{one}" for one in drawn.integers(0, 1000, rows)],
            "zipf": [f"v{one}" for one in drawn.zipf(1.3, rows) % 100_000],
            "flag": drawn.random(rows) < 0.2,
            "key": np.arange(rows),
            "text": [f"{'w' * one} {place}" for place, one in enumerate(drawn.poisson(20, rows))],
            "holes": pa.array([None if one < 0.1 else one for one in drawn.random(rows)]),
            "day": pa.array(np.arange(rows) * 1000 + seed * 10**9, pa.timestamp("s")),
            "list": pa.array([[1] * one for one in drawn.poisson(3, rows)]),
        }
    )


def by_name(found: list[ColumnDrift]) -> dict[str, ColumnDrift]:
    return {one.name: one for one in found}


def test_where_nothing_changes_hardly_a_column_is_flagged() -> None:
    found = [
        one
        for seed in range(12)
        for one in compare(summed(table(seed, 2000)), summed(table(seed + 100, 1500)))
    ]
    assert sum(one.drifted for one in found) <= 2
    assert sum(one.psi > one.psi_threshold for one in found) <= 2
    # The tests themselves keep their level: not the floor alone makes it quiet.
    assert np.mean([one.p < 0.05 for one in found]) < 0.06
    assert np.mean([one.p_missing < 0.05 for one in found]) < 0.06


def test_the_tests_are_those_of_scipy() -> None:
    drawn = np.random.default_rng(0)
    one, other = drawn.integers(0, 12, 900), drawn.integers(0, 13, 700)
    found = by_name(
        compare(*(summed(pa.table({"x": list(map(str, part))})) for part in (one, other)))
    )["x"]
    counts = [np.bincount(part, minlength=13) for part in (one, other)]
    assert found.p == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)
    numbers = drawn.normal(size=900), drawn.normal(0.1, 1, 700)
    found = by_name(compare(*(summed(pa.table({"x": part})) for part in numbers)))["x"]
    exact = stats.ks_2samp(*numbers)
    # At the reference's quantiles the distance may be smaller by what lies between two of them.
    assert 0 <= exact.statistic - found.distance < 1 / 64
    assert found.p == pytest.approx(
        stats.ks_2samp(*numbers, method="asymp").pvalue, rel=0.9, abs=0.05
    )
    p = measures.two_shares(np.array([0.1]), np.array([0.15]), 1000, 2000)
    both = stats.chi2_contingency([[100, 900], [300, 1700]], correction=True)
    assert p[0] == pytest.approx(both.pvalue, rel=0.01)
    many = drawn.random(50) ** 2
    assert measures.benjamini_hochberg(many) == pytest.approx(stats.false_discovery_control(many))


def test_what_changes_is_found_and_nothing_else() -> None:
    before, after = table(1, 4000), table(2, 3000, shift=0.4, mix=0.42)
    gone = pa.array([None if place % 3 == 0 else 1.5 * place for place in range(3000)])
    after = after.drop(["flag"]).append_column("fresh", pa.array(range(3000)))
    after = after.set_column(after.schema.get_field_index("holes"), "holes", gone)
    found = compare(summed(before), summed(after))
    assert [one.name for one in found] == [*before.column_names, "fresh"]
    reasons = {one.name: one.reasons for one in found if one.drifted}
    assert reasons == {
        "number": ("distribution",),
        "letter": ("distribution",),
        "flag": ("missing column",),
        "holes": ("distribution", "missing"),
        "fresh": ("new column",),
    }
    said = by_name(found)
    assert said["number"].distance == pytest.approx(0.159, abs=0.03)
    assert said["number"].psi > said["number"].psi_threshold
    assert said["letter"].words.startswith("'a' ")
    assert said["holes"].missing_after == pytest.approx(1 / 3, abs=0.01)
    assert said["flag"].moved == said["fresh"].moved == 1.0
    assert by_name(compare(summed(before), summed(after), columns=["key", "flag"])).keys() == {
        "key",
        "flag",
    }


def test_new_and_vanished_values() -> None:
    before = summed(pa.table({"x": ["a", "b", "c", "?"] * 500}))
    after = summed(pa.table({"x": ["a", "b", "d", "d"] * 500}))
    (found,) = compare(before, after)
    assert set(found.reasons) == {"distribution", "new values", "missing"}
    assert (found.new_share, found.new_values) == (0.5, ("d",))
    assert found.vanished_share == pytest.approx(1 / 3)
    assert "50.0% are new, such as 'd'" in found.words
    rare = summed(pa.table({"x": ["a", "b", "c", "?"] * 500 + ["d"] * 4}))
    assert not compare(before, rare)[0].drifted


def test_a_heap_in_a_coarse_histogram_is_where_it_was() -> None:
    # More distinct numbers than a histogram keeps apart, at two levels of coarseness.
    drawn = np.random.default_rng(3)
    parts = [
        summed(pa.table({"x": np.where(drawn.random(n) < 0.5, v, drawn.exponential(1, n))}))
        for n, v in ((60_000, 1.0), (20_000, 1.0), (3_000, 1.0), (20_000, 1.05))
    ]
    for before, after in ((0, 1), (1, 0), (0, 2), (2, 0)):
        (found,) = compare(parts[before], parts[after])
        assert (found.drifted, found.distance < 0.03) == (False, True), found
    (found,) = compare(parts[0], parts[3])
    assert found.drifted
    assert found.distance > 0.4


def test_a_small_change_of_many_rows_is_certain_and_does_not_count() -> None:
    drawn = np.random.default_rng(5)
    before, after = (summed(pa.table({"x": drawn.normal(at, 1, 60_000)})) for at in (0, 0.05))
    (found,) = compare(before, after)
    assert found.q < 1e-6
    assert not found.drifted
    assert compare(before, after, floor=0.01)[0].drifted


def test_merged_summaries_give_the_same() -> None:
    parts = [table(seed, 700) for seed in range(4)]
    whole, merged = summed(*parts[:2]), summed(parts[0])
    merged.merge(summed(parts[1]))
    after, other = summed(*parts[2:]), summed(parts[3])
    other.merge(summed(parts[2]))
    assert compare(whole, after) == compare(merged, other)
    reference = Reference.of(merged)
    assert reference == Reference.of(whole)
    again = Reference.model_validate_json(reference.model_dump_json())
    assert again == reference
    assert compare(again, after) == compare(whole, after)


def test_a_reference_is_small_and_holds_no_cells_of_texts() -> None:
    reference = Reference.of(summed(table(1, 5000)))
    shapes = {name: one.shape for name, one in reference.columns.items()}
    assert shapes == {
        "number": "number",
        "heaped": "number",
        "whole": "number",
        "letter": "values",
        "many": "length",
        "zipf": "values",
        "flag": "values",
        "key": "key",
        "text": "length",
        "holes": "number",
        "day": "time",
        "list": "length",
    }
    assert all(len(one.values) <= TOP for one in reference.columns.values())
    assert all(len(one.edges) <= 200 for one in reference.columns.values())
    text = reference.model_dump_json()
    assert len(text) < 40_000
    assert "w w" not in text
    assert "www" not in text
    assert reference.columns["holes"].missing == pytest.approx(0.1, abs=0.02)


def test_what_is_there_by_luck_is_not_kept_as_frequent() -> None:
    drawn = np.random.default_rng(1)
    pairs = [
        summed(pa.table({"x": [f"v{one}" for one in drawn.integers(0, 600, 3000)]}))
        for _ in range(2)
    ]
    assert not ColumnReference.of(pairs[0].columns["x"], 3000).values
    assert not compare(*pairs)[0].drifted


@pytest.mark.parametrize("rows", [0, 1, 2, 30])
def test_tiny_and_empty_tables(rows: int) -> None:
    whole = summed(table(1, 400))
    tiny = summed(table(2, 400).slice(0, rows))
    for found in (compare(whole, tiny), compare(tiny, whole), compare(tiny, tiny)):
        for one in found:
            json.dumps(one.model_dump(mode="json"), allow_nan=False)
            assert 0 <= one.distance <= 1 + 1e-9
            assert 0 <= one.q <= 1
    assert compare(TableSummary(), TableSummary()) == []
    nothing = summed(pa.table({"x": pa.array([None, None]), "y": pa.array([b"1", b"2"])}))
    assert [one.drifted for one in compare(nothing, nothing)] == [False, False]


def test_a_number_that_became_text_is_missing() -> None:
    before = summed(pa.table({"x": np.arange(1000) / 7}))
    after = summed(pa.table({"x": ["high", "low"] * 500}))
    assert compare(before, after)[0].reasons == ("missing",)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80),
    st.lists(st.floats(), max_size=80),
)
@example([*map(float, range(20)), -1.7976931348623157e308], [])
@settings(max_examples=60, deadline=None)
def test_any_numbers(before: list[float], after: list[float]) -> None:
    one, other = (
        summed(pa.table({"x": before})),
        summed(pa.table({"x": pa.array(after, pa.float64())})),
    )
    reference = Reference.of(one)
    assert Reference.model_validate_json(reference.model_dump_json()) == reference
    for found in (compare(reference, other), compare(reference, one)):
        for drift in found:
            json.dumps(drift.model_dump(mode="json"), allow_nan=False)
            assert 0 <= drift.distance <= 1 + 1e-9
    assert not compare(reference, one)[0].drifted
    assert compare(reference, one)[0].distance < 1e-9


def test_a_reference_that_compares_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="shares of"):
        ColumnReference(shape="number", count=3, missing=0.0, edges=(1.0, 2.0), shares=(0.5,))
    with pytest.raises(ValueError, match="shares of"):
        ColumnReference(
            shape="number", count=3, missing=0.0, edges=(2.0, 1.0), shares=(0.0, 0.5, 0.5)
        )
