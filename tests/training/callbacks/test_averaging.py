from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from thalweg.training.callbacks.averaging import Averaging
from thalweg.training.loop import Loop
from thalweg.training.state import copy_weights

Build = Callable[..., Loop]


def test_the_average_is_lent_and_the_weights_come_back(building: Build) -> None:
    loop = building()
    average = Averaging(0.9)
    average.on_start(loop)
    start = copy_weights(loop.network)
    with torch.no_grad():
        for parameter in loop.network.parameters():
            parameter.add_(1)
    moved = copy_weights(loop.network)
    lent = {}

    def judge() -> None:
        with average.predicting(loop):
            lent.update(copy_weights(loop.network))
            raise RuntimeError("judge")

    with pytest.raises(RuntimeError, match="judge"):
        judge()
    assert all(torch.equal(lent[name], start[name]) for name in start)
    back = copy_weights(loop.network)
    assert all(torch.equal(back[name], moved[name]) for name in moved)


def test_it_follows_the_weights(building: Build) -> None:
    loop = building(epochs=100)
    average = Averaging(0.99)
    average.on_start(loop)
    with torch.no_grad():
        for parameter in loop.network.parameters():
            parameter.fill_(1.0)
    for _ in range(300):
        average.on_step(loop)
    with average.predicting(loop):
        for parameter in loop.network.parameters():
            torch.testing.assert_close(parameter, torch.ones_like(parameter), atol=0.01, rtol=0)


def test_what_is_recalled_in_any_order_goes_on_alike(building: Build) -> None:
    loop = building()
    one, other = Averaging(0.9), Averaging(0.9)
    one.on_start(loop)
    one.on_step(loop)
    facts, tensors = one.remember()
    other.recall(facts, {name: tensors[name].clone() for name in sorted(tensors, reverse=True)})
    other.on_start(loop)
    with torch.no_grad():
        for parameter in loop.network.parameters():
            parameter.mul_(0.5)
    for average in (one, other):
        average.on_step(loop)
    left, right = one.remember()[1], other.remember()[1]
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_what_is_recalled_is_its_own(building: Build) -> None:
    loop = building()
    one, other = Averaging(0.5), Averaging(0.5)
    one.on_start(loop)
    facts, tensors = one.remember()
    before = {name: value.clone() for name, value in tensors.items()}
    other.recall(facts, tensors)
    with torch.no_grad():
        for parameter in loop.network.parameters():
            parameter.add_(1)
    other.on_start(loop)
    other.on_step(loop)
    assert all(torch.equal(tensors[name], before[name]) for name in before)
