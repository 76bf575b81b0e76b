from __future__ import annotations

import pytest
import torch

from thalweg.blocks.images import PIECE, Eye, Look, Pictures, SmallResNet, SmallViT, varied

GREY = Look(size=16, channels=1, mean=(0.5,), std=(0.25,))


def fields(rows: int, gone: tuple[int, ...] = ()) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    missing = torch.zeros(rows, 2, dtype=torch.uint8)
    missing[list(gone), 0] = 1
    pixels = torch.randint(0, 256, (rows, 2, 16, 16, 1), dtype=torch.uint8)
    return {"pixels": pixels, "missing": missing}


@pytest.mark.parametrize("size", [8, 28, 33, 64])
@pytest.mark.parametrize("network", [SmallResNet, SmallViT])
def test_pictures_of_any_size_are_embedded(network: type, size: int) -> None:
    net = network(size, 3, 10).eval()
    assert net(torch.randn(2, 3, size, size)).shape == (2, 10)
    assert net(torch.randn(0, 3, size, size)).shape == (0, 10)


@pytest.mark.parametrize("training", [True, False])
def test_missing_pictures_are_zeros_and_count_for_nothing(training: bool) -> None:
    net = Pictures([GREY, GREY], 6).train(training)
    some = fields(4, gone=(1, 3))
    other = {**some, "pixels": some["pixels"].clone()}
    other["pixels"][1, 0] = 255
    embedded = []
    for given in (some, other):
        torch.manual_seed(1)
        embedded.append(net(given))
    assert embedded[0].shape == (4, 2, 6)
    assert not embedded[0][[1, 3], 0].any()
    assert embedded[0][[0, 2], 0].any()
    assert torch.equal(embedded[0], embedded[1])
    assert net.present(some).tolist() == [[True, True], [False, True]] * 2


def test_a_batch_without_pictures_is_zeros() -> None:
    net = Pictures([GREY, GREY], 6)
    assert not net(fields(2, gone=(0, 1)))[:, 0].any()
    assert net.eval()(fields(0)).shape == (0, 2, 6)


def test_large_batches_are_seen_piece_by_piece() -> None:
    net = Pictures([GREY, GREY], 6).eval()
    given = fields(PIECE + 5, gone=(3, PIECE))
    sizes = []
    net.eyes[0].register_forward_hook(lambda _, seen, __: sizes.append(len(seen[0])))
    whole = net(given)
    with torch.no_grad():
        assert torch.allclose(net(given), whole, atol=1e-5)
    assert sizes == [PIECE + 3, PIECE - 1, 4]


def test_nothing_is_varied_where_nothing_learns() -> None:
    eye = Eye(Look(16, 1, (0.5,), (0.25,), colour=True), 6)
    pixels = fields(4)["pixels"][:, 0]
    eye.eval()
    assert torch.equal(eye(pixels), eye(pixels))
    eye.train()
    assert not torch.equal(eye(pixels), eye(pixels))


def test_light_is_normalised() -> None:
    seen = []
    eye = Eye(GREY, 6).eval()
    eye.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    eye(torch.full((1, 20, 20, 3), 191, dtype=torch.uint8))
    assert seen[0].shape == (1, 1, 16, 16)
    assert torch.allclose(seen[0], torch.tensor((191 / 255 - 0.5) / 0.25))


def test_pictures_are_shifted_and_mirrored_each_for_itself() -> None:
    torch.manual_seed(0)
    picture = torch.arange(64, dtype=torch.uint8).view(1, 8, 8, 1)
    many = varied(picture.expand(400, 8, 8, 1), 2, flip=True)
    # What stands in the middle of the original says by how much each one was moved.
    found = {tuple(one.flatten().tolist()) for one in many}
    expected = set()
    for down in range(-2, 3):
        for right in range(-2, 3):
            padded = torch.nn.functional.pad(
                picture.permute(0, 3, 1, 2).float(), (2,) * 4, "reflect"
            )
            moved = padded[0, 0, 2 + down : 10 + down, 2 + right : 10 + right].to(torch.uint8)
            expected |= {tuple(moved.flatten().tolist()), tuple(moved.flip(1).flatten().tolist())}
    assert found == expected
    kept = varied(picture.expand(50, 8, 8, 1), 0, flip=True)
    assert {one.flatten()[0].item() for one in kept} == {0, 7}


def test_a_mirrored_picture_is_judged_alike_where_mirrors_make_no_difference() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    for flip in (True, False):
        look = Look(16, 3, (0.5,) * 3, (0.25,) * 3, flip=flip)
        eye = Eye(look, 5).eval()
        with torch.no_grad():
            same = torch.allclose(eye(pixels), eye(pixels.flip(2)), atol=1e-5)
        assert same == flip
