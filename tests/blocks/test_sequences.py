"""Encoders of token ids: what they see, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.blocks.bag import Bag
from thalweg.blocks.sequences import Reading, TextEncoder

ENCODERS = ("bag", "conv", "recurrent", "transformer")


def built(encoder: str, columns: int = 1, width: int = 6) -> TextEncoder:
    torch.manual_seed(0)
    reading = Reading(encoder=encoder, vocabulary=40, length=12)  # type: ignore[arg-type]
    return TextEncoder([reading] * columns, width).eval()


def fields(rows: int = 9, columns: int = 1) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 41, (rows, columns, 12), dtype=torch.int16)
    lengths = torch.randint(0, 13, (rows, columns, 1))
    ids = torch.where(torch.arange(12) < lengths, ids, 0).to(torch.int16)
    return {"tokens": ids, "missing": (lengths[..., 0] == 0).to(torch.uint8)}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_row_is_read_alike_alone_and_however_much_is_padded(encoder: str) -> None:
    one, given = built(encoder, 2), fields(9, 2)
    together = one(given)
    assert together.shape == (9, 2, 6)
    for row in range(9):
        alone = one({name: field[row : row + 1] for name, field in given.items()})
        torch.testing.assert_close(alone, together[row : row + 1], atol=1e-5, rtol=1e-5)
    assert one({name: field[:0] for name, field in given.items()}).shape == (0, 2, 6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_missing_texts_give_zeros_and_nothing_is_not_a_number(encoder: str) -> None:
    one = built(encoder)
    given = {
        "tokens": torch.zeros(3, 1, 12, dtype=torch.int16),
        "missing": torch.tensor([[1], [1], [0]], dtype=torch.uint8),
    }
    given["tokens"][1, 0, 0] = 5
    read = one(given)
    assert torch.isfinite(read).all()
    assert read[:2].abs().sum() == 0
    assert one.present(given).tolist() == [[False], [False], [True]]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_order_of_tokens_matters(encoder: str) -> None:
    one = built(encoder)
    ids = torch.zeros(2, 1, 12, dtype=torch.int16)
    ids[0, 0, :4] = torch.tensor([3, 9, 4, 7])
    ids[1, 0, :4] = torch.tensor([7, 4, 9, 3])
    first, second = one({"tokens": ids, "missing": torch.zeros(2, 1, dtype=torch.uint8)})
    assert (first - second).abs().max() > 1e-4


def test_slices_of_a_bag_share_nothing() -> None:
    one, given = built("bag", width=6), fields()
    gradient = torch.autograd.grad(one(given)[..., :3].sum(), list(one.parameters()))
    assert all(part[..., 3:].abs().sum() == 0 for part in gradient)
    assert any(part[..., :3].abs().sum() > 0 for part in gradient)


def test_rare_n_grams_weigh_more_and_those_seen_once_nothing() -> None:
    bag = Bag(10, 2, entries=1 << 10)
    ids = np.array([[1, 2, 0], [1, 3, 0], [1, 3, 4], [1, 0, 0]], np.int16)
    bag.prepare(ids)
    weights = bag.rarity[:5].tolist()
    assert weights[0] == weights[2] == weights[4] == 0
    assert weights[3] > weights[1] > 0
    pair = int(bag.places(torch.tensor([[1, 3]]))[0, 2])
    assert pair == 11  # the commonest
    assert bag.rarity[pair] == bag.rarity[3]


def test_what_was_counted_is_saved_with_the_weights() -> None:
    one, other = built("bag"), built("bag")
    given = fields(40)
    one.prepare({name: field.numpy() for name, field in given.items()}, np.zeros((40, 1)))
    assert not torch.equal(one(given), other(given))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(given), other(given))


def test_texts_drop_n_grams_only_while_training() -> None:
    one, given = built("bag"), fields()
    assert torch.equal(one(given), one(given))
    one.train()
    assert not torch.equal(one(given), one(given))
