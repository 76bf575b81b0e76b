from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from thalweg.blocks.losses import class_loss, huber_loss

LOGITS = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0))
CODE = torch.arange(8).unsqueeze(1) % 4


def test_the_plain_loss_is_the_cross_entropy_of_each_member() -> None:
    got = class_loss(LOGITS, CODE)
    for member in range(3):
        want = functional.cross_entropy(LOGITS[member], CODE[:, 0], reduction="none")
        assert torch.allclose(got[member], want)


def test_members_may_have_rows_of_their_own() -> None:
    every = torch.stack([CODE, CODE.flip(0), CODE])
    got = class_loss(LOGITS, every)
    assert torch.allclose(got[0], class_loss(LOGITS, CODE)[0])
    assert torch.allclose(got[1], class_loss(LOGITS, CODE.flip(0))[1])


@pytest.mark.parametrize("bend", [{}, {"smoothing": 0.1}, {"focusing": 2.0}])
def test_sure_soft_labels_are_codes(bend: dict[str, float]) -> None:
    soft = functional.one_hot(CODE[:, 0], 4).float()
    assert torch.allclose(
        class_loss(LOGITS, None, soft, **bend), class_loss(LOGITS, CODE, **bend), atol=1e-6
    )


def test_smoothing_is_that_of_torch() -> None:
    got = class_loss(LOGITS, CODE, smoothing=0.2)[1]
    want = functional.cross_entropy(LOGITS[1], CODE[:, 0], reduction="none", label_smoothing=0.2)
    assert torch.allclose(got, want)


def test_focusing_weighs_by_what_is_left_to_learn() -> None:
    right = LOGITS.softmax(-1).gather(-1, CODE.expand(3, 8, 1))[..., 0]
    assert torch.allclose(
        class_loss(LOGITS, CODE, focusing=2.0), -right.log() * (1 - right) ** 2, atol=1e-6
    )


@pytest.mark.parametrize("focusing", [0.5, 2.0])
def test_a_sure_answer_has_a_finite_slope(focusing: float) -> None:
    logits = torch.tensor([[[100.0, -100.0]]], requires_grad=True)
    class_loss(logits, torch.tensor([[0]]), focusing=focusing).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_something_must_be_right() -> None:
    with pytest.raises(ValueError, match="codes or probabilities"):
        class_loss(LOGITS, None)


def test_small_errors_count_squared_and_large_ones_linearly() -> None:
    outputs = torch.tensor([[[1.0], [1.5]], [[3.0], [5.0]]])
    assert huber_loss(outputs, torch.tensor([[1.0], [1.0]])).tolist() == [[0, 0.25], [3, 7]]
    own = torch.tensor([[[1.0], [1.5]], [[3.0], [6.0]]])
    assert huber_loss(outputs, own, delta=2.0).tolist() == [[0, 0], [0, 1]]
