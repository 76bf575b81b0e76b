from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.blocks.autoregressive import ALWAYS, MaskedLinear, MaskedMLP, Mixtures, orders


def test_every_second_order_is_the_one_before_backwards() -> None:
    found = orders(4, 6)
    assert (np.sort(found, axis=1) == np.arange(6)).all()
    assert (found[0] + found[1] == 5).all()
    assert (found[0] != found[2]).any()
    assert np.array_equal(orders(8, 6)[:4], found)


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_no_column_sees_itself_or_later_ones(columns: int, context: int, *, training: bool) -> None:
    torch.manual_seed(0)
    own = orders(2, columns)
    given = np.concatenate([own, np.full((2, context), ALWAYS)], axis=1)
    body = MaskedMLP(given, own, width=16, depth=2)
    body.train(training)
    x = torch.randn(2, 3, columns + context, requires_grad=True)
    outputs = body(x)
    for member in range(2):
        for column in range(columns):
            (slope,) = torch.autograd.grad(outputs[member, :, column].sum(), x, retain_graph=True)
            seen = (slope[member].abs().sum(dim=0) > 0).numpy()
            may = np.append(own[member] < own[member, column], np.ones(context, bool))
            assert not (seen & ~may).any()
            assert seen[columns:].all()
            if columns > 1 and not context and own[member, column] == columns - 1:
                assert seen.sum() == columns - 1


def test_masked_weights_stay_0_while_learning() -> None:
    own = orders(2, 4)
    body = MaskedMLP(own, own, width=8, depth=1)
    adam = torch.optim.AdamW(body.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        body(torch.randn(2, 5, 4)).square().sum().backward()
        adam.step()
    for layer in body.layers:
        assert isinstance(layer, MaskedLinear)
        assert (layer.weight[~layer.mask] == 0).all()
    x = torch.randn(2, 5, 4)
    wanted = body(x)
    torch.testing.assert_close(body.eval()(x), wanted)


def test_mixtures_are_normalised_for_each_column() -> None:
    mixtures = Mixtures([2, 3])
    logits = torch.randn(4, 7, 5)
    taken = torch.eye(5)[[0, 1]] + torch.eye(5)[[2, 3]]
    found = mixtures(logits[:, :1], taken).exp()
    whole = logits[:, :1, :2].softmax(-1)
    torch.testing.assert_close(found[..., 0], whole.expand(-1, 1, -1).reshape(4, 2))
    # Where no option is dense, the density is small and its logarithm finite.
    assert torch.isfinite(mixtures(logits, torch.zeros(7, 5))).all()
