from __future__ import annotations

import torch
from torch.nn import functional

from thalweg.blocks.stacked import StackedLinear, StackedMLP


def test_each_member_is_a_linear_layer_of_its_own() -> None:
    layer = StackedLinear(3, 5, 2)
    x = torch.randn(3, 7, 5)
    got = layer(x)
    for member in range(3):
        weight, bias = layer.weight[member], layer.bias[member]
        torch.testing.assert_close(got[member], functional.linear(x[member], weight.T, bias[0]))


def test_members_do_not_learn_from_each_other() -> None:
    body = StackedMLP(2, 4, 8, 2, dropout=0.0)
    body(torch.randn(2, 6, 4))[0].sum().backward()
    for layer in body.layers:
        assert layer.weight.grad is not None
        assert layer.weight.grad[0].abs().sum() > 0
        assert layer.weight.grad[1].abs().sum() == 0


def test_members_start_apart() -> None:
    layer = StackedLinear(2, 16, 16)
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_dropout_rests_when_judging() -> None:
    body = StackedMLP(2, 4, 64, 2, dropout=0.5)
    x = torch.randn(2, 6, 4)
    assert not torch.equal(body.train()(x), body(x))
    assert torch.equal(body.eval()(x), body(x))
