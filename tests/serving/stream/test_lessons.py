"""The order of a batch: what is predicted and learned when, beside a plain list of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.monitor.pending import Pending
from thalweg.serving.stream.lessons import BEFORE, PLACE, Came, Lessons, Order


def order_of(targets: list[float]) -> Order:
    rows = pa.record_batch({"x": np.arange(len(targets), dtype=np.float64)})
    return Order(rows, np.array(targets), np.arange(len(targets)))


def came(places: list[int]) -> Came:
    count = len(places)
    return Came(
        pa.array([f"k{one}" for one in range(count)]),
        pa.array(["1"] * count),
        np.full(count, 99),
        np.array(places),
    )


def test_an_event_is_learned_from_before_the_next_is_predicted() -> None:
    lesson = order_of([1.0, np.nan, 0.0]).lesson(np.nan, 10)
    assert lesson.steps.tolist() == [0, ~0, 1, 2, ~2]
    assert lesson.taught.tolist() == [0, 2]
    assert lesson.places.tolist() == [10, 11, 12]
    assert lesson.passed.tolist() == [11, 13]
    np.testing.assert_equal(lesson.known, [np.nan, 1.0, 1.0])


def test_a_label_that_comes_later_is_learned_from_in_its_place() -> None:
    order = order_of([np.nan, np.nan, np.nan])
    order.meet(np.array([0]), came([2]), np.array([1.0]))
    lesson = order.lesson(0.0, 0)
    assert lesson.steps.tolist() == [0, 1, ~0, 2]
    assert lesson.known.tolist() == [0.0, 0.0, 1.0]
    assert lesson.moments.tolist() == [99, 1, 2]
    assert (lesson.passed - lesson.places[lesson.taught] - 1).tolist() == [1]


def test_a_label_that_came_before_its_event_waits_for_it() -> None:
    order = order_of([np.nan, np.nan])
    order.meet(np.array([1]), came([0]), np.array([1.0]))
    assert order.lesson(0.0, 0).steps.tolist() == [0, 1, ~1]


def test_an_old_event_is_learned_from_as_it_was(tmp_path: Path) -> None:
    pending = Pending(10**9, tmp_path)
    old = pa.record_batch({"x": [7.0], BEFORE: [3.0], PLACE: pa.array([4], pa.int64())})
    said, answers = np.full((1, 2, 2), 0.5), np.full((1, 2), 0.5)
    pending.put(pa.array(["k0"]), np.array([5]), old, said, answers)
    label = came([1])
    order = order_of([np.nan, np.nan])
    order.add(pending.take(label.keys), label, np.array([1.0]))
    lesson = order.lesson(0.0, 8)
    assert lesson.steps.tolist() == [0, ~2, 1]
    assert lesson.rows.column("x").to_pylist() == [0.0, 1.0, 7.0]
    assert lesson.known.tolist() == [0.0, 1.0, 3.0]
    assert lesson.places.tolist() == [8, 9, 4]
    assert (lesson.passed - lesson.places[lesson.taught] - 1).tolist() == [4]
    assert lesson.said is not None
    assert np.isnan(lesson.said[:2]).all()
    assert (lesson.said[2] == 0.5).all()


def test_labels_alone_name_an_event_and_say_something() -> None:
    rows = pa.record_batch({"id": ["a", None, "b"], "y": [None, "1", "0"]})
    assert Lessons("y", "id").are_labels(rows).tolist() == [False, False, True]
    assert not Lessons("y").are_labels(rows).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=24), st.integers(0, 9))
def test_any_order_is_that_of_the_stream(events: list[tuple[bool, int]], place: int) -> None:
    """Each event is labelled at once or some events later: beside a loop over the stream."""
    count = len(events)
    targets = [float(n % 3) if own else np.nan for n, (own, _) in enumerate(events)]
    late = [(n, n + 1 + after) for n, (own, after) in enumerate(events) if not own]
    late = sorted((one for one in late if one[1] <= count), key=lambda one: one[1])
    order = order_of(targets)
    if late:
        order.meet(
            np.array([n for n, _ in late]),
            came([at for _, at in late]),
            np.array([float(n % 3) for n, _ in late]),
        )
    wanted: list[int] = []
    for n, (own, _) in enumerate(events):
        wanted += [~one for one, at in late if at == n]
        wanted += [n, ~n] if own else [n]
    wanted += [~one for one, at in late if at == count]
    lesson = order.lesson(np.nan, place)
    assert lesson.steps.tolist() == wanted
    known, seen = np.nan, 0
    passed = []
    for step in wanted:
        if step >= 0:
            np.testing.assert_equal(lesson.known[step], known)
            seen += 1
        else:
            known = float(~step % 3)
            passed.append(place + seen)
    assert lesson.passed.tolist() == passed
