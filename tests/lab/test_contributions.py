"""Contributions add up, are exact for few columns and near it for many, and come out the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.kinds.number import Number, NumberOptions
from thalweg.lab.contributions import Explainer, Orders, typical_row
from thalweg.models.calibration import Calibration
from thalweg.models.compiled import Inputs, Run
from thalweg.models.decoder import Answers, Decoder
from thalweg.stats import ColumnSummary, TableSummary


def table(rows: int = 300) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "amount": random.lognormal(3, 1, rows),
            "age": random.integers(18, 90, rows),
            "town": random.choice(["Ulm", "Bonn", "Celle"], rows, p=[0.2, 0.5, 0.3]),
            "member": random.random(rows) < 0.3,
            "since": np.datetime64("2020-01-01T00:00:00", "s") + random.integers(0, 9**8, rows),
            "note": pa.array(
                np.array(["a room", "the view of the sea", None], object)[
                    random.integers(0, 3, rows)
                ]
            ),
            "price": random.normal(size=rows),
            "class": random.choice(["x", "y", "z"], rows),
        }
    )


def fitted(target: str = "price", drop: str = "class") -> Schema:
    summary = TableSummary()
    summary.update(table())
    return fit_schema(summary, target, {"note": "text"}, [drop])


def inputs(schema: Schema, rows: pa.Table) -> dict[str, NDArray[Any]]:
    """Give fields as the inputs of a graph."""
    fields = schema.encode(rows).fields
    return {f"{kind}.{name}": one for kind, some in fields.items() for name, one in some.items()}


def numbers(given: Inputs) -> NDArray[np.float64]:
    """Sum everything that a model could see in rows, with weights: [N, all]."""
    rows = len(next(iter(given.values())))
    flat = [one.reshape(rows, -1)[:, :12].astype(np.float64) for one in given.values()]
    return np.concatenate(flat, axis=1)


def tangled(given: Inputs) -> Run:
    """Answer with a number in which columns work together."""
    found = numbers(given)
    weights = np.cos(np.arange(found.shape[1]))
    return Run(Answers(np.sin(found @ weights) + found[:, 0] * found[:, -1]), np.zeros(0, bool))


def explainer(schema: Schema, **options: int) -> Explainer:
    typical = pa.table({name: [cell] for name, cell in typical_row(schema).items()})
    decoder = Decoder(schema, Calibration())
    return Explainer(schema, decoder, inputs(schema, typical), **options)


def shapley(value: Callable[[frozenset[int]], float], columns: int) -> list[float]:
    """Work Shapley values out as they are defined."""
    found = []
    for one in range(columns):
        others = [other for other in range(columns) if other != one]
        total = 0.0
        for size in range(columns):
            share = 1 / (columns * math.comb(columns - 1, size))
            for some in combinations(others, size):
                before = frozenset(some)
                total += share * (value(before | {one}) - value(before))
        found.append(total)
    return found


def wide(columns: int) -> tuple[Explainer, dict[str, NDArray[Any]]]:
    """Give an explainer of a table of numbers, and a row of it."""
    summary = ColumnSummary()
    summary.update(pa.array(np.random.default_rng(0).normal(size=200)))
    kind = KINDS["number"]
    assert isinstance(kind, Number)
    state = kind.fit(summary, NumberOptions(), "feature")
    described = {
        "format": 1,
        "columns": [
            {
                "name": f"c{place}",
                "kind": "number",
                "because": "",
                "state": state.model_dump(mode="json"),
            }
            for place in range(columns)
        ],
        "target": {
            "name": "y",
            "kind": "number",
            "because": "",
            "state": kind.fit(summary, NumberOptions(), "target").model_dump(mode="json"),
        },
        "ignored": [],
        "curves": [],
    }
    schema = Schema.from_json(described)
    found = Explainer(schema, Decoder(schema, Calibration()), {"number": np.zeros((1, columns))})
    return found, {"number": np.random.default_rng(1).normal(size=(2, columns))}


def pairs(given: Inputs) -> Run:
    """Answer with a number in which each two neighbours work together."""
    cells = given["number"]
    answer = cells.sum(axis=1) + (cells[:, 1:] * cells[:, :-1]).sum(axis=1)
    return Run(Answers(answer), np.zeros(0, bool))


def test_few_columns_are_exact() -> None:
    schema = fitted()
    found = explainer(schema)
    rows = inputs(schema, table().slice(0, 3))
    explained = found.explain(tangled, rows, 3)
    assert explained.columns == ("amount", "age", "town", "member", "since", "note")
    assert explained.of == ("prediction",) * 3
    typical = inputs(schema, pa.table({k: [v] for k, v in typical_row(schema).items()}))
    groups = schema.by_kind()

    def value(held: frozenset[int]) -> float:
        mixed = {}
        for name, own in rows.items():
            longest = max(own.shape[-1], typical[name].shape[-1])
            cells = np.zeros((1, *own.shape[1:-1], longest) if own.ndim > 2 else (1, own.shape[1]))
            for place, column in enumerate(groups[name.partition(".")[0]]):
                whose = own if explained.columns.index(column.name) in held else typical[name]
                if own.ndim > 2:
                    cells[0, place, ..., : whose.shape[-1]] = whose[0, place]
                else:
                    cells[0, place] = whose[0, place]
            mixed[name] = cells
        return float(tangled(mixed).answers.prediction[0])

    np.testing.assert_allclose(explained.values[0], shapley(value, 6), atol=1e-9)
    assert explained.baseline[0] == pytest.approx(value(frozenset()), abs=1e-12)


def test_they_add_up_to_the_answer_less_the_baseline() -> None:
    for found, rows, run in [(explainer(fitted()), inputs(fitted(), table()), tangled)]:
        explained = found.explain(run, rows, 300)
        whole = run(rows).answers.prediction
        total = explained.values.sum(axis=1) + explained.baseline
        np.testing.assert_allclose(total, whole, atol=1e-9)


def test_many_columns_are_sampled_near_the_truth_and_add_up() -> None:
    found, rows = wide(40)
    explained = found.explain(pairs, rows, 2)
    total = explained.values.sum(axis=1) + explained.baseline
    np.testing.assert_allclose(total, pairs(rows).answers.prediction, atol=1e-9)
    cells = rows["number"]
    together = cells[:, 1:] * cells[:, :-1] / 2
    # An order and its reverse hold every pair once each way, so that pairs come out exactly.
    truth = cells + np.pad(together, ((0, 0), (1, 0))) + np.pad(together, ((0, 0), (0, 1)))
    np.testing.assert_allclose(explained.values, truth, atol=1e-9)


def test_equal_questions_get_equal_bits_whatever_stands_beside_them() -> None:
    found, rows = wide(12)
    both = found.explain(pairs, rows, 2)
    again = wide(12)[0].explain(pairs, rows, 2)
    np.testing.assert_array_equal(both.values, again.values)
    alone = found.explain(pairs, {"number": rows["number"][1:]}, 1)
    np.testing.assert_array_equal(both.values[1:], alone.values)


def test_a_model_is_asked_in_portions_that_do_not_show() -> None:
    found, rows = wide(600)
    sizes: list[int] = []

    def counted(given: Inputs) -> Run:
        sizes.append(len(given["number"]))
        return pairs(given)

    explained = found.explain(counted, rows, 2)
    assert sum(sizes) == 2 * found.each
    assert max(sizes) <= 4096 < sum(sizes)
    assert found.each < 10_000
    total = explained.values.sum(axis=1) + explained.baseline
    np.testing.assert_allclose(total, pairs(rows).answers.prediction, atol=1e-9)


def test_too_many_rows_are_refused_with_the_limit() -> None:
    found, _ = wide(20)
    with pytest.raises(OptionError, match=f"expected at most {found.most_rows:,} at once"):
        found.blocks(found.most_rows + 1)
    assert found.blocks(found.most_rows)
    nothing = found.explain(pairs, {"number": np.empty((0, 20))}, 0)
    assert nothing.values.shape == (0, 20)


def test_the_second_of_two_classes_is_spoken_of_and_the_likeliest_of_more() -> None:
    def classes(given: Inputs) -> Run:
        first = np.tanh(given["number.values"][:, 0].astype(np.float64))
        logits = np.stack([first, -first, 0 * first], axis=1)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return Run(Answers(shares), np.zeros(0, bool))

    schema = fitted("class", "price")
    rows = inputs(schema, table().slice(0, 50))
    explained = explainer(schema).explain(classes, rows, 50)
    whole = classes(rows).answers.prediction
    names = ["probability_x", "probability_y", "probability_z"]
    assert explained.of == tuple(names[place] for place in whole.argmax(axis=1))
    assert len(set(explained.of)) == 2
    total = explained.values.sum(axis=1) + explained.baseline
    np.testing.assert_allclose(total, whole.max(axis=1), atol=1e-9)
    assert np.abs(explained.values[:, 1:]).max() < np.abs(explained.values[:, 0]).max()

    binary = fitted("member", "class")

    def two(given: Inputs) -> Run:
        return Run(Answers(np.tile([0.9, 0.1], (len(numbers(given)), 1))), np.zeros(0, bool))

    said = explainer(binary).explain(two, inputs(binary, table().slice(0, 4)), 4)
    assert said.of == (f"probability_{Decoder(binary, Calibration()).classes[1]}",) * 4
    np.testing.assert_allclose(said.baseline, 0.1)


def test_the_typical_row_is_readable_and_adds_nothing() -> None:
    schema = fitted()
    row = typical_row(schema)
    assert row["town"] == "Bonn"
    assert row["member"] is False
    assert row["note"] is None
    assert isinstance(row["age"], int)
    assert abs(row["age"] - 54) < 8
    assert isinstance(row["amount"], float)
    assert len(repr(row["amount"])) <= 5
    assert str(row["since"]).startswith("2020-0")
    assert not schema.encode(pa.table({k: [v] for k, v in row.items()})).unreadable.any()
    rows = inputs(schema, pa.table({k: [v] for k, v in row.items()}))
    explained = explainer(schema).explain(tangled, rows, 1)
    np.testing.assert_array_equal(explained.values, np.zeros((1, 6)))


@given(columns=st.integers(1, 60), orders=st.integers(1, 40), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_orders_begin_with_nothing_end_with_the_row_and_go_one_column_at_a_time(
    columns: int, orders: int, seed: int
) -> None:
    found = Orders.of(columns, orders, seed)
    assert not found.held[0].any()
    assert found.held[-1].all()
    assert (found.steps[:, 0] == 0).all()
    assert (found.steps[:, -1] == len(found.held) - 1).all()
    steps = found.held[found.steps].astype(int)
    grown = np.diff(steps, axis=1)
    assert (grown.sum(axis=2) == 1).all()
    assert (grown >= 0).all()
    assert (grown.argmax(axis=2) == np.argsort(found.turns, axis=1)).all()
    assert len(np.unique(found.held, axis=0)) == len(found.held)


def test_a_column_that_says_nothing_gets_nothing() -> None:
    found, rows = wide(9)
    only: Mapping[str, NDArray[Any]] = {"number": np.where(np.arange(9) == 3, rows["number"], 0.0)}
    explained = found.explain(pairs, only, 2)
    assert (explained.values[:, np.arange(9) != 3] == 0).all()
    np.testing.assert_allclose(explained.values[:, 3], only["number"][:, 3])
