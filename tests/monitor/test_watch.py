"""A stream compared with what it was: any cut, any restart, bounded, quiet and loud."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.monitor.finding import Finding
from thalweg.monitor.watch import Watch
from thalweg.stats import TableSummary
from thalweg.stats.drift.embedding import Embedding
from thalweg.stats.drift.reference import Reference

ROWS = 200


def stream(seed: int, rows: int, shift: float = 0.0) -> pa.RecordBatch:
    drawn = np.random.default_rng(seed)
    columns = {
        "amount": drawn.normal(shift, 1, rows),
        "city": np.array(["Ulm", "Bonn", "Kiel"])[drawn.integers(0, 3, rows)],
        "prediction": drawn.normal(-shift, 1, rows),
    }
    return pa.record_batch(columns)


def reference() -> Reference:
    summary = TableSummary()
    summary.update(stream(0, 3000).drop_columns(["prediction"]))
    return Reference.of(summary)


def vectors(seed: int, rows: int, shift: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    return (drawn.normal(size=(rows, 3)) + shift).astype(np.float32)


def high(found: list[Finding]) -> set[tuple[str, str, int]]:
    return {(one.what, one.column, one.rows) for one in found if one.level == "high"}


def test_windows_are_exact_and_what_changes_is_told() -> None:
    watch = Watch(reference(), rows=ROWS, predictions=["prediction"])
    found = watch.take(stream(1, 5 * ROWS + 30))
    assert high(found) == set()
    assert {one.rows for one in found} == {ROWS * place for place in range(1, 6)}
    # The predictions are learned from the first two windows.
    assert {one.rows for one in found if one.what == "prediction"} == {600, 800, 1000}
    assert watch.take(stream(2, ROWS - 31, 1.0)) == []
    found = watch.take(stream(3, 2, 1.0))
    assert {one.rows for one in found} == {6 * ROWS}
    assert watch.seen == 6 * ROWS + 1
    assert high(found) == {("input", "amount", 1200), ("prediction", "prediction", 1200)}
    (told,) = (one for one in found if one.what == "input" and one.level == "high")
    assert (told.measure, told.threshold) == ("ks", 0.05)
    assert told.value > 0.3
    assert told.words.startswith("mean ")
    assert told.name == "input amount"


def test_without_a_reference_the_first_windows_tell() -> None:
    watch = Watch(rows=ROWS)
    assert watch.take(stream(1, 3 * ROWS - 1)) == []
    assert high(watch.take(stream(2, 1))) == set()
    assert ("input", "amount", 800) in high(watch.take(stream(3, ROWS, 1.0)))


def test_columns_and_values_that_come_and_go() -> None:
    watch = Watch(reference(), rows=ROWS)
    rows = stream(1, ROWS)
    cities = pa.array(["Ulm", "Bonn", "Köln", None] * (ROWS // 4))
    rows = pa.record_batch({"city": cities, "extra": rows["amount"]})
    assert high(watch.take(rows)) == {
        ("missing column", "amount", 200),
        ("new column", "extra", 200),
        ("new values", "city", 200),
        ("input", "city", 200),
        ("missing cells", "city", 200),
    }
    chosen = Watch(reference(), rows=ROWS, columns=["city"])
    assert {one.column for one in chosen.take(stream(1, ROWS))} == {"city"}


def test_vectors_are_compared_too() -> None:
    known = Embedding.fit(vectors(0, 2000), 0)
    for watch, told in ((Watch(rows=ROWS, embedding=known), 1), (Watch(rows=ROWS), 3)):
        found = []
        for place in range(4):
            found += watch.take(stream(place, ROWS), vectors(place + 20, ROWS))
        found = [one for one in found if one.what == "embedding"]
        assert [one.rows for one in found] == [ROWS * place for place in range(told, 5)]
        assert all(one.level != "high" for one in found)
        (last,) = watch.take(stream(9, ROWS), vectors(9, ROWS, 0.7))[-1:]
        assert (last.what, last.level, last.measure) == ("embedding", "high", "mmd")
        assert last.value >= last.threshold


def run(watch: Watch, rows: pa.RecordBatch, known: np.ndarray, cuts: list[int]) -> list[Finding]:
    found = []
    for start, stop in pairwise([0, *sorted(cuts), rows.num_rows]):
        found += watch.take(rows.slice(start, stop - start), known[start:stop])
    return found


@given(st.lists(st.integers(0, 1000), max_size=6), st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_any_cut_and_any_restart_give_the_same(cuts: list[int], restart: int) -> None:
    rows = pa.concat_batches([stream(1, 600), stream(2, 400, 0.6)])
    known = np.concatenate([vectors(1, 600), vectors(2, 400, 0.5)])
    whole = Watch(rows=ROWS, predictions=["prediction"])
    expected = run(whole, rows, known, [])
    assert high(expected)
    watch = Watch(rows=ROWS, predictions=["prediction"])
    before = [one for one in cuts if one < restart]
    found = run(watch, rows.slice(0, restart), known[:restart], before)
    facts, tables = saved(watch)
    again = Watch(rows=ROWS, predictions=["prediction"])
    again.restore(facts, tables)
    after = [one - restart for one in cuts if one >= restart]
    found += run(again, rows.slice(restart), known[restart:], after)
    assert found == expected
    one, other = saved(again), saved(whole)
    assert one[0] == other[0]
    assert all(one[1][name].equals(other[1][name]) for name in other[1])


def saved(watch: Watch) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    facts, tables = watch.state()
    again = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        again[name] = pa.ipc.open_file(sink.getvalue()).read_all()
    return json.loads(json.dumps(facts, allow_nan=False)), again


def test_it_holds_two_windows_at_most() -> None:
    watch = Watch(rows=ROWS)
    sizes = []
    for place in range(12):
        watch.take(stream(place, ROWS - 7), vectors(place, ROWS - 7))
        facts, tables = watch.state()
        sizes.append(len(json.dumps(facts)) + sum(one.nbytes for one in tables.values()))
    assert max(sizes[6:]) < 2 * max(sizes[:3])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="windows of 0 rows"):
        Watch(rows=0)
    watch = Watch(rows=ROWS)
    watch.take(stream(1, 50))
    facts, tables = watch.state()
    with pytest.raises(ArtifactError, match="over 100 rows"):
        Watch(rows=100).restore(facts, tables)
    with pytest.raises(ArtifactError, match="is damaged"):
        Watch(rows=ROWS).restore(facts, {})
