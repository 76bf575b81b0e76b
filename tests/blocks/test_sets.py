from __future__ import annotations

import torch

from thalweg.blocks.losses import label_loss
from thalweg.blocks.sets import BagEmbedding


def bag(*sizes: int) -> BagEmbedding:
    torch.manual_seed(0)
    return BagEmbedding(sizes, 4)


def fields(codes: list[list[list[int]]]) -> dict[str, torch.Tensor]:
    made = torch.tensor(codes, dtype=torch.int16)
    return {"codes": made, "missing": torch.zeros(made.shape[:2], dtype=torch.uint8)}


def test_order_and_padding_say_nothing() -> None:
    embedding = bag(5, 5)
    one = embedding(fields([[[2, 3, 0], [4, 0, 0]]]))
    other = embedding(fields([[[0, 3, 2], [0, 0, 4]]]))
    torch.testing.assert_close(one, other)
    assert one.shape == (1, 2, 4)


def test_each_column_has_codes_of_its_own() -> None:
    embedding = bag(3, 4)
    found = embedding(fields([[[2, 0], [3, 2]]]))[0] - embedding.bias
    torch.testing.assert_close(found[0], embedding.table[2])
    torch.testing.assert_close(found[1], (embedding.table[6] + embedding.table[5]) / 2**0.5)


def test_an_empty_set_is_not_a_missing_one() -> None:
    embedding = bag(3)
    empty = fields([[[0, 0]]])
    missing = empty | {"missing": torch.ones(1, 1, dtype=torch.uint8)}
    with torch.no_grad():
        embedding.missing.fill_(1)
    torch.testing.assert_close(embedding(missing), embedding(empty) + 1)
    torch.testing.assert_close(embedding(empty)[0], embedding.bias)


def test_no_rows() -> None:
    assert bag(3, 3)(
        fields([[[2], [2]]] * 2)
        | {
            "codes": torch.zeros(0, 2, 1, dtype=torch.int16),
            "missing": torch.zeros(0, 2, dtype=torch.uint8),
        }
    ).shape == (0, 2, 4)


def test_the_label_loss_is_the_mean_log_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3)
    labels = (torch.rand(5, 1, 3) < 0.5).to(torch.uint8)
    likely = torch.where(labels[:, 0] == 1, logits.sigmoid(), 1 - logits.sigmoid())
    expected = -likely.log().mean(-1)
    torch.testing.assert_close(label_loss(logits, labels), expected)
    torch.testing.assert_close(label_loss(logits, labels.expand(2, 5, 1, 3)), expected)
    bent = (-likely.log() * (1 - likely) ** 2).mean(-1)
    torch.testing.assert_close(label_loss(logits, labels, focusing=2.0), bent)


def test_smoothing_draws_labels_towards_a_half() -> None:
    logits, labels = torch.full((1, 1, 1), 9.0), torch.ones(1, 1, 1)
    plain = label_loss(logits, labels)
    assert label_loss(logits, labels, smoothing=0.2) > plain
    half = label_loss(logits, torch.full((1, 1, 1), 0.9))
    torch.testing.assert_close(label_loss(logits, labels, smoothing=0.2), half)
