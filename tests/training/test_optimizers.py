from __future__ import annotations

import pytest
import torch

from thalweg.blocks.stacked import StackedLinear
from thalweg.core.errors import OptionError
from thalweg.training.optimizers import NAMES, build, decayed


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_lowers_a_bowl(name: str) -> None:
    layer = StackedLinear(1, 1, 1)
    optimizer = build(name, decayed(layer, 0.0), 0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(torch.ones(1, 1, 1)) - 2).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_biases_do_not_decay() -> None:
    groups = decayed(StackedLinear(1, 2, 2), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [len(list(group["params"])) for group in groups] == [1, 1]  # type: ignore[call-overload]


def test_unknown_optimizer_names_near_ones() -> None:
    with pytest.raises(OptionError, match="'adamw'"):
        build("adamv", [], 0.1)
