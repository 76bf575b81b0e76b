from __future__ import annotations

import math

import numpy as np
import torch

from thalweg.blocks.rotations import Rotations, interactions


def _values(rows: int = 6000, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def test_a_product_is_an_interaction_and_a_sum_is_none() -> None:
    values = _values()
    share, first, second = interactions(values, (values[:, 1] * values[:, 3])[:, None])[0]
    assert (first, second) == (1, 3)
    assert share > 0.5
    strongest = interactions(values, (values[:, 1] + np.sin(values[:, 3]))[:, None])[0][0]
    assert strongest < 0.05


def test_noise_is_no_interaction() -> None:
    noise = np.random.default_rng(1).normal(size=(6000, 1))
    assert all(share < 0.02 for share, _, _ in interactions(_values(), noise))


def test_classes_interact_too() -> None:
    values = _values()
    classes = np.eye(2)[(values[:, 0] * values[:, 4] > 0).astype(int)]
    assert interactions(values, classes)[0][1:] == (0, 4)


def test_one_column_or_a_constant_target_has_no_pairs() -> None:
    assert interactions(_values(columns=1), np.ones((6000, 1))) == []
    assert interactions(_values(), np.ones((6000, 1))) == []


def test_constant_columns_do_no_harm() -> None:
    values = _values()
    values[:, 2] = 1
    found = interactions(values, (values[:, 0] * values[:, 1])[:, None])
    assert found[0][1:] == (0, 1)
    assert all(math.isfinite(share) for share, _, _ in found)


def test_views_are_rotations_of_the_chosen_pair() -> None:
    values = _values()
    views = Rotations(1, angles=2)
    views.choose(values, (values[:, 1] * values[:, 3])[:, None])
    got = views(torch.from_numpy(values))
    assert got.shape == (6000, 2)
    expected = (values[:, 1] + values[:, 3]) / math.sqrt(2)
    np.testing.assert_allclose(got[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_choice_is_saved() -> None:
    values = _values()
    views = Rotations(1)
    views.choose(values, (values[:, 1] * values[:, 3])[:, None])
    other = Rotations(1)
    other.load_state_dict(views.state_dict())
    torch.testing.assert_close(other(torch.from_numpy(values)), views(torch.from_numpy(values)))
