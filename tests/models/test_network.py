from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from thalweg.core.errors import OptionError
from thalweg.data.arrays import Arrays
from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.models.network import (
    PREDICT_ROWS,
    Blend,
    Network,
    embed_all,
    forward_all,
    piece_rows,
    tokens_of,
)
from thalweg.models.recipe import Recipe
from thalweg.stats import TableSummary

RECIPE = Recipe(members=3, width=16, embedding=4, depth=2, pairs=1)


def table(rows: int = 300) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "a": random.normal(size=rows),
            "b": random.normal(size=rows),
            "town": random.choice(["x", "y", "z"], rows),
            "yes": random.random(rows) < 0.5,
            "day": np.datetime64("2024-01-01") + random.integers(0, 300, rows),
            "number": random.normal(size=rows),
            "class": random.choice(["p", "q", "r"], rows),
        }
    )


def schema(target: str, drop: tuple[str, ...] = ()) -> Schema:
    summary = TableSummary()
    summary.update(table())
    return fit_schema(summary, target, drop=drop)


def arrays(one: Schema, rows: pa.Table) -> Arrays:
    return Arrays(one.encode(rows).fields, dict(one.encode_target(rows).fields))


@pytest.mark.parametrize(("target", "outputs"), [("number", 1), ("class", 3), ("yes", 2)])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_every_member_answers_every_row(target: str, outputs: int, rows: int) -> None:
    one = schema(target)
    network = Network(one, RECIPE)
    features = network.tensors(arrays(one, table().slice(0, rows)).features)
    assert network(features).shape == (3, rows, outputs)


def test_one_kind_of_column_is_enough() -> None:
    one = schema("number", drop=("a", "b", "yes", "day", "class"))
    network = Network(one, Recipe(members=1, width=4, embedding=2))
    assert forward_all(network, arrays(one, table())).answers.shape == (300, 1)


def test_the_first_answer_is_the_best_constant() -> None:
    one = schema("class")
    network = Network(one, RECIPE)
    with torch.no_grad():
        network.last.weight.zero_()
    shares = forward_all(network, arrays(one, table())).answers
    found = table()["class"].to_pandas().value_counts(normalize=True).sort_index()
    np.testing.assert_allclose(shares[0], found.to_numpy(), atol=0.01)


def test_members_do_not_see_one_another() -> None:
    one = schema("number")
    network = Network(one, RECIPE)
    rows = arrays(one, table(20))
    network.prepare(rows)
    network.eval()
    features = network.tensors(rows.features)
    outputs = network(features)
    for member in range(3):
        network.zero_grad()
        outputs[member].sum().backward(retain_graph=True)
        gradient = network.last.weight.grad
        assert gradient is not None
        touched = gradient.abs().flatten(1).sum(1) > 0
        assert touched.tolist() == [member == other for other in range(3)]


def test_gradients_reach_every_weight() -> None:
    one = schema("number")
    network = Network(one, RECIPE)
    rows = arrays(one, table())
    network.prepare(rows)
    target = {name: torch.from_numpy(array) for name, array in rows.target.items()}
    network.head.loss(network(network.tensors(rows.features)), target).mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []


def test_the_seed_draws_the_weights_and_nothing_else() -> None:
    one = schema("number")
    before = torch.get_rng_state()
    first, again, other = (Network(one, RECIPE, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_many_rows_come_in_pieces(rows: int) -> None:
    one = schema("class")
    network = Network(one, RECIPE).eval()
    outputs = forward_all(network, arrays(one, table().slice(0, rows)))
    assert outputs.answers.shape == (rows, 3)
    assert outputs.spread.shape == (rows,)
    assert outputs.answers.dtype == outputs.spread.dtype == np.float32
    np.testing.assert_allclose(outputs.answers.sum(axis=1), 1, rtol=1e-5)


def test_pieces_join_without_a_seam() -> None:
    one = schema("number", drop=("town", "yes", "day", "class"))
    network = Network(one, Recipe(members=2, width=4, embedding=2)).eval()
    few = arrays(one, table())
    many = few.take(np.arange(PREDICT_ROWS + 50) % 300)
    whole = forward_all(network, many)
    assert len(whole.answers) == PREDICT_ROWS + 50
    alone = forward_all(network, few)
    again = np.arange(PREDICT_ROWS, PREDICT_ROWS + 50) % 300
    np.testing.assert_allclose(whole.answers[-50:], alone.answers[again], atol=1e-5)


@pytest.mark.parametrize("judges", [1, 2])
def test_a_held_out_row_is_answered_by_its_members_alone(judges: int) -> None:
    one = schema("number")
    network = Network(one, RECIPE).eval()
    rows = arrays(one, table(30))
    held = (np.arange(30)[:, None] + np.arange(judges)) % 3
    outputs: Any = network(network.tensors(rows.features)).detach().numpy()[..., 0]
    answers = forward_all(network, rows, held).answers
    wanted = outputs[held, np.arange(30)[:, None]].mean(axis=1)
    np.testing.assert_allclose(answers[:, 0], wanted, atol=1e-6)


def test_clipping_bounds_all_members_together() -> None:
    network = Network(schema("number"), RECIPE)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    network.clip(0.5)
    norm = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.5 * 3**0.5, rel=1e-3)


def test_tokens_are_what_the_encoders_give() -> None:
    one = schema("number")
    network = Network(one, RECIPE)
    features = network.tensors(arrays(one, table(5)).features)
    for kind, encoder in network.encoders.items():
        assert encoder(features[kind]).shape[:2] == (5, tokens_of(encoder))


def test_rows_are_mixed_with_their_partners() -> None:
    one = schema("class")
    network = Network(one, RECIPE).eval()
    features = network.tensors(arrays(one, table().slice(0, 8)).features)
    partners = torch.arange(7, -1, -1)
    plain = network(features)
    itself = network(features, Blend(partners, 1.0))
    other = network(features, Blend(partners, 0.0))
    torch.testing.assert_close(itself, plain)
    torch.testing.assert_close(other, plain[:, partners])
    half = network(features, Blend(partners, 0.5))
    torch.testing.assert_close(half, half[:, partners])  # two halves are the same either way


@pytest.mark.parametrize("fusion", ["concat", "gated", "attention"])
def test_every_fusion_makes_a_network(fusion: str) -> None:
    one = schema("class")
    network = Network(one, RECIPE.turned({"fusion": fusion})).eval()
    found = forward_all(network, arrays(one, table()))
    assert found.answers.shape == (300, 3)


def test_an_unknown_fusion_is_refused_with_near_names() -> None:
    with pytest.raises(OptionError, match=r"fusion is 'gate'; .*gated"):
        Network(schema("class"), RECIPE.turned({"fusion": "gate"}))


def test_wide_rows_are_looked_at_by_few() -> None:
    def rows(size: int, count: int = 3) -> int:
        return piece_rows(Arrays({"image": {"pixels": np.zeros((count, 1, size), np.uint8)}}))

    assert rows(8) == PREDICT_ROWS
    assert rows(32 * 32 * 3) in (256, 512)
    assert rows(10**9) == 16
    assert rows(4096, count=3) == rows(4096, count=500)  # however many there are


@pytest.mark.parametrize(("members", "width", "wanted"), [(3, 16, 48), (8, 48, 96), (2, 200, 128)])
def test_an_embedding_is_what_the_last_layer_gets(members: int, width: int, wanted: int) -> None:
    one = schema("class")
    network = Network(one, Recipe(members=members, width=width, embedding=4, depth=2)).eval()
    rows = arrays(one, table(1100))
    found = embed_all(network, rows)
    assert found.shape == (1100, wanted)
    assert found.dtype == np.float32
    with torch.inference_mode():
        hidden = network.hidden(network.tensors(rows.take(slice(0, 50)).features))
        outputs = network(network.tensors(rows.take(slice(0, 50)).features))
        assert network.last(hidden).equal(outputs)
    whole = hidden.permute(1, 0, 2).reshape(50, -1)[:, :wanted]
    np.testing.assert_allclose(found[:50], whole.numpy(), atol=1e-5)
    assert embed_all(network, rows.take(slice(0, 0))).shape == (0, wanted)
