from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from thalweg.core.errors import ColumnError
from thalweg.data.arrays import Arrays
from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.models.decoder import foretold, surprises, unlikely
from thalweg.models.density import RowHead
from thalweg.models.network import Network, forward_all
from thalweg.models.recipe import Recipe
from thalweg.stats import TableSummary

RECIPE = Recipe(members=2, width=16, embedding=4, depth=2)


def table(rows: int = 300) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "a": random.normal(size=rows),
            "town": random.choice(["x", "y", "z"], rows),
            "yes": random.random(rows) < 0.5,
            "day": np.datetime64("2024-01-01", "s") + 3_600 * random.integers(0, 9_000, rows),
            "says": [f"some words number {n} of many that are said here" for n in range(rows)],
        }
    )


def schema(rows: pa.Table, drop: tuple[str, ...] = ()) -> Schema:
    summary = TableSummary()
    for batch in rows.to_batches():
        summary.update(batch)
    kept = set(rows.column_names) - set(drop)
    return fit_schema(summary, None, {"says": "text"} if "says" in kept else {}, drop)


def ready(rows: pa.Table, drop: tuple[str, ...] = ()) -> tuple[Network, Arrays]:
    one = schema(rows, drop)
    arrays = Arrays(one.encode(rows).fields)
    network = Network(one, RECIPE)
    network.prepare(arrays)
    return network.eval(), arrays


def test_texts_are_known_and_not_foretold() -> None:
    assert foretold(schema(table())) == ["a", "town", "yes", "day"]
    network, arrays = ready(table())
    assert forward_all(network, arrays).answers.shape == (300, 8)


def test_rows_need_a_column_that_can_be_foretold() -> None:
    with pytest.raises(ColumnError, match="no column is a number"):
        Network(schema(table(), ("a", "town", "yes", "day")), RECIPE)


def test_before_learning_a_column_is_as_likely_given_others_as_by_itself() -> None:
    network, arrays = ready(table(), ("says",))
    assert network.density is not None
    with torch.no_grad():
        network.density.body.last.weight.zero_()
    given, alone = np.split(forward_all(network, arrays).answers, 2, axis=1)
    np.testing.assert_allclose(given, alone, atol=1e-5)
    town = np.array(table()["town"])
    share = (town == "x").mean()
    np.testing.assert_allclose(alone[town == "x", 1], -np.log(share), atol=0.02)


def test_what_a_column_says_does_not_change_how_likely_it_is_given_itself() -> None:
    network, arrays = ready(table(), ("says",))
    one, other = (forward_all(network, rows).answers for rows in (arrays, arrays.take(slice(5))))
    np.testing.assert_allclose(one[:5], other, atol=1e-5)


def test_gradients_reach_what_is_not_masked() -> None:
    network, arrays = ready(table())
    network.train()
    outputs = network(network.tensors(arrays.features))
    torch.autograd.backward(network.head.loss(outputs, {}).mean(dim=1).sum())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not any(word in name for word in ("text", "flags", "missing")):
            assert parameter.grad.abs().sum() > 0, name


def test_the_loss_falls_to_what_columns_say_of_one_another() -> None:
    random = np.random.default_rng(0)
    town = random.choice(["x", "y"], 400)
    rows = pa.table({"one": town, "other": town})
    network, arrays = ready(rows)
    network.train()
    adam = torch.optim.Adam(network.parameters(), lr=0.02)
    features = network.tensors(arrays.features)
    for _ in range(60):
        loss = network.head.loss(network(features), {}).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    assert float(loss.detach()) == pytest.approx(np.log(2), abs=0.05)


def test_surprise_is_the_mean_of_both() -> None:
    answers = np.array([[1.0, 2.0, 3.0, 8.0]], np.float32)
    assert surprises(answers).tolist() == [[2.0, 5.0]]
    assert unlikely(answers).tolist() == [3.0]
    assert RowHead(2).outputs == 4
