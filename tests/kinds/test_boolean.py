from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from thalweg.core.errors import TargetError
from thalweg.kinds.boolean import Boolean, BooleanOptions, BooleanState
from thalweg.kinds.check import summarise
from thalweg.kinds.evidence import same

BOOLEAN = Boolean()


def fitted(cells: pa.Array, role="feature", **options: object) -> BooleanState:
    return BOOLEAN.fit(summarise([cells]), BooleanOptions.model_validate(options), role)


ANSWERS = pa.array(["yes", "no", "no", None])


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([True, False, None]),
        pa.array([1, 0, None]),
        pa.array([1.0, 0.0, np.nan]),
        pa.array(["yes", "no", "?"]),
        pa.array([" Y", "n ", ""]),
        pa.array(["TRUE", "False", None]),
        pa.array(["t", "F", "NA"]),
        pa.array(["on", "OFF", " "]),
        pa.array(["1", "0.0", "nan"]),
        pa.array(["yes", "no", None]).dictionary_encode(),
    ],
)
def test_all_spellings_are_one(cells: pa.Array) -> None:
    got = BOOLEAN.encode([cells], [fitted(ANSWERS)])
    assert got.fields["codes"].dtype == np.int8
    assert got.fields["codes"][:, 0].tolist() == [2, 1, 0]
    assert not got.unreadable.any()


def test_what_is_neither_is_unreadable() -> None:
    got = BOOLEAN.encode([pa.array(["maybe", "2", "yes"])], [fitted(ANSWERS)])
    assert got.fields["codes"][:, 0].tolist() == [0, 0, 2]
    assert got.unreadable[:, 0].tolist() == [True, True, False]


def test_what_a_gap_becomes() -> None:
    cells = pa.array([None, "yes"])
    frequent = BOOLEAN.encode([cells], [fitted(ANSWERS, missing="frequent")])
    assert frequent.fields["codes"][:, 0].tolist() == [1, 2]
    dropping = BOOLEAN.encode([cells], [fitted(ANSWERS, missing="drop")])
    assert dropping.dropped.tolist() == [True, False]


def test_a_target_is_false_then_true() -> None:
    state = fitted(ANSWERS, "target")
    assert state.counts == (2, 1)
    assert BOOLEAN.task(state) == "binary"
    got = BOOLEAN.encode([pa.array(["yes", "no", None, "maybe"])], [state])
    assert got.fields["code"][:2, 0].tolist() == [1, 0]
    assert got.dropped.tolist() == [False, False, True, True]
    shares = np.array([[0.75, 0.25], [0.1, 0.9]], np.float32)
    columns = BOOLEAN.decode(shares, state)
    assert columns["prediction"].to_pylist() == [False, True]
    assert list(columns) == ["prediction", "probability_false", "probability_true"]
    eager = BOOLEAN.decode(shares, state, 0.25)
    assert eager["prediction"].to_pylist() == [True, True]


@pytest.mark.parametrize("cells", [pa.array(["no", "no"]), pa.nulls(3), pa.array(["a", "b"])])
def test_a_target_needs_both(cells: pa.Array) -> None:
    with pytest.raises(TargetError, match="times true"):
        fitted(cells, "target")


def test_truth_values_are_their_spellings_with_gaps_and_without() -> None:
    cells = pa.array([True, None, False, True])
    for role in ("feature", "target"):
        state = BOOLEAN.fit(summarise([cells]), BooleanOptions(), role)
        for part in (cells, cells.slice(1), cells.slice(2)):
            spelt = pc.if_else(part, "Yes", "no")
            same(BOOLEAN.encode([part], [state]), BOOLEAN.encode([spelt], [state]), BOOLEAN, role)
