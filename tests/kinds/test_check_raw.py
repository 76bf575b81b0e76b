from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from thalweg.core.errors import OptionError
from thalweg.kinds import KINDS, check_raw
from thalweg.kinds.base import Raw, Written
from thalweg.kinds.boolean import BooleanState
from thalweg.kinds.calendar import PARTS
from thalweg.kinds.category import Category, CategoryState
from thalweg.kinds.check_raw import CompiledKind, reads_alike
from thalweg.kinds.datetime import UNITS, Datetime, DatetimeState
from thalweg.kinds.evidence import NonconformityError
from thalweg.kinds.graph import Graph
from thalweg.kinds.number import Number, NumberState
from thalweg.kinds.scaling import HUGE
from thalweg.stats.dates import FORMATS, reading_order

SOME = settings(max_examples=40, deadline=None)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WILD = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, 2.0**53, 2.0**60])
WHOLE = st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)
WORDS = st.sampled_from(
    ["", " ", "?", "n/a", " NA ", "1", "1.0", "01", "true", "Ulm", "ulm", "\x00"]
)
TEXTS = WORDS | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
"""Any text that Arrow can hold."""


@st.composite
def numbers(draw: st.DrawFn) -> NumberState:
    lower, upper = sorted(draw(st.tuples(FLOATS, FLOATS)))
    whole = st.integers(-20, 20).map(float) | st.floats(-HUGE, HUGE).map(np.rint).map(float)
    return NumberState(
        role="feature",
        fill=draw(FLOATS),
        drops_missing=draw(st.booleans()),
        outliers=draw(st.sampled_from(["clip", "flag", "drop", "none"])),
        lower=lower,
        upper=upper,
        centre=draw(st.sampled_from([0.0, -0.0, 1e-50, lower, upper]) | FLOATS),
        scale=draw(
            st.sampled_from([1.0, 1 + 1e-12, 1 - 6e-8, 1 + 2e-7, 1e-50, 1e300])
            | FLOATS.map(abs).filter(bool)
        ),
        edges=(-0.5, 0.5),
        spikes=tuple(sorted(draw(st.sets(whole, max_size=5)))),
        mean=0.0,
        deviation=1.0,
        minimum=0.0,
        maximum=1.0,
    )


@st.composite
def categories(draw: st.DrawFn) -> CategoryState:
    form = draw(st.sampled_from(["text", "whole", "real"]))
    levels: set[str] = draw(
        {
            "text": st.sets(TEXTS.filter(bool), max_size=6),
            "whole": st.sets(st.integers(-50, 50).map(str), min_size=1, max_size=6),
            "real": st.sets(st.sampled_from(["0.5", "1", "-2", "1e+30"]), min_size=1),
        }[form]
    )
    return CategoryState(
        role="feature",
        levels=tuple(levels),
        counts=(1,) * len(levels),
        form=form,
        missing=draw(st.sampled_from(["level", "frequent", "drop"])),
    )


@st.composite
def times(draw: st.DrawFn) -> DatetimeState:
    seconds = st.floats(-3e14, 3e14) | st.integers(-(10**11), 10**11).map(float)
    lower, upper = sorted(draw(st.tuples(seconds, seconds)))
    return DatetimeState(
        unit=draw(st.sampled_from([None, *UNITS])),
        missing=draw(st.sampled_from(["flag", "drop"])),
        formats=reading_order(draw(st.permutations(FORMATS))),
        centre=draw(seconds),
        scale=draw(st.sampled_from([1e-9, 1.0, 1e300]) | st.floats(1e-9, 1e12)),
        lower=lower,
        upper=upper,
        varies=tuple(draw(st.lists(st.booleans(), min_size=len(PARTS), max_size=len(PARTS)))),
    )


BOOLEANS = st.builds(
    BooleanState,
    role=st.just("feature"),
    counts=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    missing=st.sampled_from(["level", "frequent", "drop"]),
)


def columns(states: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(states, min_size=1, max_size=4)


def filled(data: st.DataObject, cells: st.SearchStrategy[Any], kind: pa.DataType) -> pa.Array:
    """Draw seven cells, some of which may be null."""
    found = st.lists(st.none() | cells, min_size=7, max_size=7)
    return pa.array(data.draw(found, label=str(kind)), kind)


@SOME
@given(columns(numbers()), st.data())
def test_numbers_are_encoded_alike(states: list[NumberState], data: st.DataObject) -> None:
    near = [bound for s in states for bound in (s.lower, s.upper, s.centre, *s.spikes)]
    wild = WILD | st.sampled_from(near)
    cells = data.draw(
        st.sampled_from(
            [
                (wild, pa.float64()),
                (st.floats(width=32), pa.float32()),
                (WHOLE, pa.int64()),
                (st.integers(0, 2**64 - 1), pa.uint64()),
                (st.booleans(), pa.bool_()),
                (wild.map(repr) | TEXTS, pa.string()),
            ]
        )
    )
    CompiledKind(KINDS["number"], states).check([filled(data, *cells) for _ in states])


@SOME
@given(columns(categories()), st.data())
def test_categories_are_encoded_alike(states: list[CategoryState], data: st.DataObject) -> None:
    near = [level for state in states for level in state.levels] or ["x"]
    spelt = st.sampled_from(near) | st.sampled_from(near).map(lambda text: f" {text} ")
    cells = data.draw(
        st.sampled_from(
            [
                (TEXTS | spelt, pa.string()),
                (st.integers(-60, 60), pa.int64()),
                (WILD, pa.float64()),
                (st.booleans(), pa.bool_()),
            ]
        )
    )
    CompiledKind(KINDS["category"], states).check([filled(data, *cells) for _ in states])


@SOME
@given(columns(BOOLEANS), st.data())
def test_booleans_are_encoded_alike(states: list[BooleanState], data: st.DataObject) -> None:
    spelt = st.sampled_from(["yes", " NO", "on", "0.0", "1", "?"])
    cells = data.draw(
        st.sampled_from(
            [(TEXTS | spelt, pa.string()), (st.booleans(), pa.bool_()), (WILD, pa.float64())]
        )
    )
    CompiledKind(KINDS["boolean"], states).check([filled(data, *cells) for _ in states])


@settings(SOME, max_examples=60)
@given(columns(times()), st.data())
def test_times_are_encoded_alike(states: list[DatetimeState], data: st.DataObject) -> None:
    moments = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31))
    near = [bound for s in states for bound in (s.lower, s.upper, s.centre)]
    cells = data.draw(
        st.sampled_from(
            [
                (moments, pa.timestamp("us")),
                (WHOLE, pa.timestamp("s")),
                (moments.map(dt.datetime.isoformat) | TEXTS, pa.string()),
                (st.floats(-3e14, 3e14) | WILD | st.sampled_from(near), pa.float64()),
            ]
        )
    )
    note(repr(states))
    CompiledKind(KINDS["datetime"], states).check([filled(data, *cells) for _ in states])


def test_every_day_of_four_centuries_and_their_ends_are_split_alike() -> None:
    days = np.arange(-719_162, 2_932_897, 97)
    ends = np.array([-3e14, -1.5, -1.0, -0.5, 0.0, 86_399.999, 86_400.0, 3e14, 1e300])
    seconds = np.concatenate([days * 86_400.0, days * 86_400.0 - 1, np.arange(146_097) * 86_400.0])
    kind = KINDS["datetime"]
    cells = pa.array(np.concatenate([seconds, ends]))
    state = DatetimeState(
        unit="seconds",
        missing="flag",
        formats=FORMATS,
        centre=1e9,
        scale=1e8,
        lower=-3e14,
        upper=3e14,
        varies=(True,) * len(PARTS),
    )
    CompiledKind(kind, [state]).check([cells])


PLAIN = st.none() | st.booleans() | WHOLE | st.integers() | WILD | TEXTS


@SOME
@given(categories(), st.lists(PLAIN, max_size=15), st.data())
def test_single_cells_are_read_as_categories(
    state: CategoryState, cells: list[object], data: st.DataObject
) -> None:
    near = st.sampled_from(["?", *state.levels])
    varied = near | near.map(str.upper) | near.map(lambda text: f" {text}\u00a0")
    more = data.draw(st.lists(varied | near.map(lambda text: f"{text}.0"), max_size=9))
    reads_alike(KINDS["category"], [*cells, *more, *more], state)


@SOME
@given(
    numbers(), st.lists(PLAIN | st.from_regex(r"[0-9]{1,18}(\.0)?", fullmatch=True), max_size=20)
)
def test_single_cells_are_read_as_numbers(state: NumberState, cells: list[object]) -> None:
    reads_alike(KINDS["number"], cells, state)


@SOME
@given(BOOLEANS, st.lists(PLAIN | st.from_regex(r"(?i) ?(yes|no|on|k|0|1) ?"), max_size=20))
def test_single_cells_are_read_as_booleans(state: BooleanState, cells: list[object]) -> None:
    reads_alike(KINDS["boolean"], cells, state)


ISO = st.from_regex(
    r"(0001|1969|2024|2100|9999)-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])"
    r"([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9]([.,][0-9]{1,10})?)?"
    r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)?)?",
    fullmatch=True,
)


@settings(SOME, max_examples=150)
@given(times(), st.lists(PLAIN | ISO, max_size=20))
@example(
    DatetimeState(
        unit=None,
        missing="flag",
        formats=FORMATS,
        centre=0,
        scale=1,
        lower=0,
        upper=0,
        varies=(True,) * len(PARTS),
    ),
    [
        "0001-01-01T00:00:00.000001+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "1969-12-31 23:59:59.9",
    ],
)
def test_single_cells_are_read_as_times(state: DatetimeState, cells: list[object]) -> None:
    reads_alike(KINDS["datetime"], cells, state)


def test_common_cells_are_read_by_themselves() -> None:
    state = CategoryState(
        role="feature", levels=("Ulm", "7"), counts=(5, 5), form="text", missing="level"
    )
    category = KINDS["category"].reader(state)
    assert [category(cell) for cell in ("Ulm", " Ulm", None, "", "NA", 7, 7.0, "Bonn", True)] == [
        *("Ulm", "Ulm", "", "", "", "7", "7", "?", "?")
    ]
    assert [category(cell) for cell in ("10.0", "\tUlm", [], 0.5)] == [None] * 4
    number = Number().reader(None)
    assert [number(cell) for cell in (1, 2.5, True, "42")] == [1.0, 2.5, 1.0, 42.0]
    assert math.isnan(number(None))
    assert math.isnan(number(" n/a"))
    boolean = KINDS["boolean"].reader(None)
    assert [boolean(cell) for cell in (True, 0, 1.0, "Yes", " off", "maybe")] == [
        1,
        0,
        1,
        1,
        0,
        None,
    ]


# Kinds that are right but for one thing. Each must be caught by the check that is about it.


class RoundsEarly(Number):
    def graph(self, graph: Graph, raw: str, states: Sequence[NumberState]) -> Written:
        narrow = graph.cast(graph.cast(raw, np.float32), np.float64)
        return super().graph(graph, narrow, states)


class ForgetsRows(Category):
    def graph(self, graph: Graph, raw: str, states: Sequence[CategoryState]) -> Written:
        return replace(super().graph(graph, raw, states), dropped="")


class WritesPerColumn(Datetime):
    def graph(self, graph: Graph, raw: str, states: Sequence[DatetimeState]) -> Written:
        for _ in states:
            raw = graph.add("Identity", [raw])
        return super().graph(graph, raw, states)


class ReadsAnyText(Number):
    def reader(self, state: NumberState) -> Any:
        read = super().reader(state)
        return lambda cell: math.nan if isinstance(cell, str) else read(cell)


class ReadsNothing(Number):
    def reader(self, state: NumberState) -> Any:
        return lambda cell: None


class CleansWhatIsRaw(Number):
    def raw(self, arrays: Sequence[pa.Array], states: Sequence[NumberState]) -> Raw:
        raw = super().raw(arrays, states)
        return replace(raw, unreadable=np.zeros_like(raw.unreadable))


@pytest.mark.parametrize(
    ("kind", "promise", "why"),
    [
        (RoundsEarly(), check_raw.the_graph_encodes, "gives other bits in 'values'"),
        (CleansWhatIsRaw(), check_raw.the_graph_encodes, "other bits in 'unreadable'"),
        (ForgetsRows(), check_raw.the_graph_encodes, "other bits in 'dropped'"),
        (WritesPerColumn(), check_raw.the_graph_is_small, "nine take"),
        (ReadsAnyText(), check_raw.cells_read_alike, "is read as nan"),
        (ReadsNothing(), check_raw.cells_read_alike, "only 0% of the sample's cells"),
    ],
)
def test_what_is_broken_is_caught(kind: Any, promise: check_raw.Check, why: str) -> None:
    with pytest.raises(NonconformityError, match=why):
        promise(kind)


def test_a_kind_that_does_not_compile_is_left_alone() -> None:
    for promise in check_raw.RAW_CHECKS:
        promise(KINDS["text"])
    with pytest.raises(AssertionError, match="text does not compile"):
        KINDS["text"].raw([], [])


def test_without_onnxruntime_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(OptionError, match=r"needs onnxruntime.*pip install"):
        check_raw.the_graph_is_small(KINDS["number"])
