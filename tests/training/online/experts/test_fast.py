"""The network that learns record by record: exact order, growth, and what it learns."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import OptionError
from thalweg.training.online.base import Inputs, News, Script, State
from thalweg.training.online.experts.fast import Dials, Fast

SMALL = Dials(width=16, longest=20, shortest=5, knots=4)


def made(rows: int, seed: int = 0, columns: int = 3, gaps: float = 0.1) -> Inputs:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, columns))
    numbers[random.random(numbers.shape) < gaps] = np.nan
    units = random.integers(0, 6, (rows, 2)) + np.array([0, 6])
    units[random.random(units.shape) < gaps] = -1
    return Inputs(numbers, units.astype(np.int32))


def classes_of(inputs: Inputs) -> Any:
    return (np.nan_to_num(inputs.numbers[:, 0]) > 0).astype(float) + (inputs.units[:, 0] == 2)


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    return Inputs(inputs.numbers[start:stop], inputs.units[start:stop])


def same(one: State, other: State) -> bool:
    return (
        one.facts == other.facts
        and one.arrays.keys() == other.arrays.keys()
        and all(
            array.dtype == other.arrays[name].dtype
            and array.shape == other.arrays[name].shape
            and array.tobytes() == other.arrays[name].tobytes()
            for name, array in one.arrays.items()
        )
    )


def script(inputs: Inputs, targets: Any, steps: Any, classes: int = 3) -> Script:
    rows = pa.record_batch({"n": pa.array(np.arange(len(inputs)))})
    return Script(rows, inputs, targets, np.asarray(steps, np.int64), classes)


def lagged(rows: int, delay: int) -> Any:
    """Predict rows in order; each label comes up to so many rows later, some out of turn."""
    late = np.arange(rows) + np.random.default_rng(delay).integers(0, delay + 1, rows)
    steps = [[row, *(~np.flatnonzero(late == row)).tolist()] for row in range(rows + delay)]
    return np.array([one for one in chain(*steps) if one < rows], np.int64)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    seed=st.integers(0, 2**63 - 1),
    numbers=st.booleans(),
    replay=st.sampled_from([0, 2]),
)
def test_learn_many_is_learn_one_in_every_bit(
    cuts: list[int], seed: int, numbers: bool, replay: int
) -> None:
    inputs = made(60, seed % 1000)
    targets = inputs.units[:, 1] * 1.5 if numbers else classes_of(inputs)
    targets = np.where(np.arange(60) % 7 == 3, np.nan, targets)
    dials = Dials(width=16, longest=20, shortest=5, knots=4, replay=replay)
    many, one = (Fast(numbers=numbers, dials=dials, seed=seed) for _ in range(2))
    edges = [0, *sorted(cuts), 60]
    for start, stop in pairwise(edges):
        many.learn_many(part(inputs, start, stop), targets[start:stop])
    for row in range(60):
        one.learn_one(part(inputs, row, row + 1), targets[row])
    assert same(many.state(), one.state())
    assert many.predict_many(inputs).tobytes() == one.predict_many(inputs).tobytes()


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 110), max_size=6), delay=st.integers(0, 9))
def test_scripts_cut_anywhere_say_and_learn_the_same(cuts: list[int], delay: int) -> None:
    inputs = made(60)
    whole = script(inputs, classes_of(inputs), lagged(60, delay))
    said = np.full((2, 60, 3), np.nan)
    once, often = (Fast(numbers=False, dials=SMALL) for _ in range(2))
    once.run(whole, said[0])
    edges = [0, *sorted(cuts), len(whole.steps)]
    for start, stop in pairwise(edges):
        often.run(whole.part(start, stop), said[1])
    assert said[0].tobytes() == said[1].tobytes()
    assert same(once.state(), often.state())


def test_predictions_leave_nothing_behind_and_do_not_know_one_another() -> None:
    inputs = made(80)
    fast = Fast(numbers=False, dials=SMALL)
    fast.learn_many(inputs, classes_of(inputs))
    before = fast.state()
    together = fast.predict_many(inputs)
    apart = [fast.predict_many(part(inputs, row, row + 1))[0] for row in range(80)]
    assert together.tobytes() == np.array(apart).tobytes()
    assert same(before, fast.state())


@pytest.mark.parametrize("numbers", [False, True])
def test_goes_on_from_its_state(numbers: bool) -> None:
    inputs = made(120)
    targets = inputs.units[:, 0] * 2.0 if numbers else classes_of(inputs)
    whole = Fast(numbers=numbers, dials=SMALL)
    whole.learn_many(part(inputs, 0, 70), targets[:70])
    whole.settle(News(70, 12, drift=True))
    other = Fast(numbers=numbers, dials=SMALL, seed=9)
    other.restore(whole.state())
    for one in (whole, other):
        one.learn_many(part(inputs, 70, 120), targets[70:])
    assert same(whole.state(), other.state())


def test_a_state_is_a_copy() -> None:
    inputs = made(30)
    fast = Fast(numbers=False, dials=SMALL)
    fast.learn_many(inputs, classes_of(inputs))
    state = fast.state()
    kept = state.arrays["middle"].copy()
    fast.learn_many(inputs, classes_of(inputs))
    assert (state.arrays["middle"] == kept).all()
    assert not (fast.state().arrays["middle"] == kept).all()


def learned(rows: int = 200) -> tuple[Fast, Inputs]:
    inputs = made(rows)
    fast = Fast(numbers=False, dials=SMALL)
    fast.learn_many(inputs, classes_of(inputs))
    return fast, inputs


def test_a_new_class_changes_nothing_of_the_others() -> None:
    fast, inputs = learned()
    before, said = fast.state(), fast.predict_many(inputs)
    blank = np.full((len(inputs), 5), np.nan)
    fast.run(script(inputs, np.full(len(inputs), np.nan), np.arange(len(inputs)), 5), blank)
    assert blank[:, 3:].tolist() == [[0.0, 0.0]] * len(inputs)
    after = fast.state()
    for name in ("last", "start", "seen"):
        count = len(before.arrays[name])
        assert after.arrays[name][:count].tobytes() == before.arrays[name].tobytes()
        assert not after.arrays[name][count:].any()
    assert fast.predict_many(inputs)[:, :3].shape == said.shape
    # Its first label: others keep their order, and it begins as something rare.
    fast.learn_one(part(inputs, 0, 1), 4.0)
    then = fast.predict_many(part(inputs, 1, 60))
    assert 0 < then[:, 4].mean() < 0.2
    assert (then[:, 3] == 0).all()
    assert np.corrcoef(then[:, 0], said[1:60, 0])[0, 1] > 0.9


def test_the_first_label_of_a_class_leaves_the_others_as_they_were() -> None:
    fast, inputs = learned()
    state = fast.state()
    still = {**state.facts["dials"], "rate": 1e-30, "again": 1e-30}
    fast.restore(State({**state.facts, "dials": still}, state.arrays))
    fast.learn_one(part(inputs, 0, 1), 4.0)
    after = fast.state()
    for name in ("last", "start", "middle", "units"):
        count = len(state.arrays[name])
        assert after.arrays[name][:count].tobytes() == state.arrays[name].tobytes()
    assert np.abs(after.arrays["last"][4]).max() < 1e-20
    assert after.arrays["start"][4] < state.arrays["start"].mean() - 4


def test_a_new_column_says_nothing_until_it_is_learned() -> None:
    fast, inputs = learned()
    said = fast.predict_many(inputs)
    more = np.random.default_rng(1).normal(size=(len(inputs), 2))
    wider = Inputs(np.concatenate([inputs.numbers, more], axis=1), inputs.units)
    steps = np.arange(len(inputs))
    seen = np.full((len(inputs), 3), np.nan)
    other = Fast(numbers=False)
    other.restore(fast.state())
    nothing = np.full(len(inputs), np.nan)
    fast.run(script(inputs, nothing, steps), np.full_like(seen, np.nan))
    other.run(script(wider, nothing, steps), seen)
    assert other.predict_many(wider).tobytes() == fast.predict_many(inputs).tobytes()
    rows = len(fast.state().arrays["columns"])
    assert not other.state().arrays["columns"][rows:].any()
    assert said.shape == seen.shape
    other.learn_many(wider, classes_of(inputs))
    assert other.state().arrays["columns"][rows:].any()


def test_a_column_that_vanishes_is_masked() -> None:
    fast, inputs = learned()
    gone = Inputs(inputs.numbers.copy(), inputs.units)
    gone.numbers[:, 2] = np.nan
    shorter = Inputs(inputs.numbers[:, :2], inputs.units)
    assert fast.predict_many(gone).tobytes() == fast.predict_many(shorter).tobytes()
    # Its own rows stay: nothing else is written to their places.
    block = 2 + SMALL.knots
    kept = fast.state().arrays["columns"][2 * block].copy()
    fast.learn_many(shorter, classes_of(inputs))
    after = fast.state().arrays["columns"]
    assert len(after) == 3 * block
    rows = [2 * block, *range(2 * block + 2, 3 * block)]
    assert (after[2 * block] == kept).all() or SMALL.replay > 0
    assert np.isfinite(after[rows]).all()


def test_a_column_without_any_value_is_as_if_it_were_not_there() -> None:
    inputs = made(100)
    empty = Inputs(
        np.concatenate([inputs.numbers, np.full((100, 1), np.nan)], axis=1), inputs.units
    )
    one, other = (Fast(numbers=False, dials=SMALL) for _ in range(2))
    one.learn_many(inputs, classes_of(inputs))
    other.learn_many(empty, classes_of(inputs))
    assert one.predict_many(inputs).tobytes() == other.predict_many(inputs).tobytes()


def test_new_units_are_there_whatever_came_before() -> None:
    fast, inputs = learned()
    said = fast.predict_many(inputs)
    new = Inputs(inputs.numbers, np.where(inputs.units == 1, 4000, inputs.units).astype(np.int32))
    other = Fast(numbers=False)
    other.restore(fast.state())
    count = len(fast.state().arrays["units"])
    first = other.predict_many(new)
    assert other.predict_many(inputs).tobytes() == said.tobytes()
    assert other.state().arrays["units"][:count].tobytes() == fast.state().arrays["units"].tobytes()
    # Seen in another order: the row of unit 4000 is the same.
    between = Inputs(
        inputs.numbers, np.where(inputs.units == 1, 777, inputs.units).astype(np.int32)
    )
    fast.predict_many(between)
    assert fast.predict_many(new).tobytes() == first.tobytes()


def test_it_learns_steps_categories_and_a_change() -> None:
    inputs = made(6000, 3, gaps=0.0)
    x, y = inputs.numbers[:, 0], inputs.numbers[:, 1]
    targets = ((np.abs(x) < 0.7) ^ (inputs.units[:, 1] == 9)).astype(float)
    targets[3000:] = (y[3000:] > 0.3).astype(float)
    fast = Fast(numbers=False)
    steps = np.stack([np.arange(6000), ~np.arange(6000)], axis=1).ravel()
    said = np.full((6000, 2), np.nan)
    fast.run(script(inputs, targets, steps, 2), said)
    right = said.argmax(axis=1) == targets
    assert right[2000:3000].mean() > 0.8
    assert right[4500:].mean() > 0.9


def test_it_learns_amounts_on_any_scale() -> None:
    inputs = made(4000, 4, gaps=0.0)
    targets = 1e6 * (3 + inputs.numbers[:, 0] - 2 * (inputs.units[:, 0] == 3))
    fast = Fast(numbers=True)
    steps = np.stack([np.arange(4000), ~np.arange(4000)], axis=1).ravel()
    said = np.full((4000, 1), np.nan)
    fast.run(script(inputs, targets, steps, 0), said)
    apart = said[3000:, 0] - targets[3000:]
    assert np.mean(apart**2) < 0.1 * targets.var()


def test_before_any_label_it_says_nothing() -> None:
    assert np.isnan(Fast(numbers=False).predict_many(made(3))).all()
    assert np.isnan(Fast(numbers=True).predict_many(made(3))).all()


@pytest.mark.parametrize("odd", [np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0])
def test_odd_numbers_do_no_lasting_harm(odd: float) -> None:
    inputs = made(300)
    inputs.numbers[::50, 1] = odd
    fast = Fast(numbers=False, dials=SMALL)
    fast.learn_many(inputs, classes_of(inputs))
    assert np.isfinite(fast.predict_many(inputs)).all()


def test_the_ring_follows_the_stretch() -> None:
    fast, _ = learned(30)
    span = {}
    for stretch, drift in [(3, False), (3, True), (10**6, False)]:
        fast.settle(News(30, stretch, drift))
        span[stretch, drift] = int(fast.state().arrays["counts"][5])
    assert span == {(3, False): 5, (3, True): 3, (10**6, False): 20}


@pytest.mark.parametrize(
    "wrong",
    [{"width": 12}, {"knots": 1}, {"shortest": 9, "longest": 3}, {"rate": 0.0}, {"replay": -1}],
)
def test_dials_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Dials(**wrong)
