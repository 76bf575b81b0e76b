from __future__ import annotations

import numpy as np
import torch

from thalweg.blocks.choices import HOURS, MOST_BINS, MOST_LEVELS, BinnedNumbers, Hours, Levels


def numbers(values: np.ndarray) -> dict[str, np.ndarray]:
    columns = np.atleast_2d(values.T).T.astype(np.float32)
    missing = np.isnan(columns)
    return {"values": np.where(missing, 0, columns), "missing": missing.astype(np.uint8)}


def tensors(fields: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in fields.items()}


def test_a_bin_is_a_density() -> None:
    random = np.random.default_rng(0)
    bins = BinnedNumbers(1)
    bins.prepare(numbers(random.lognormal(size=5_000)))
    scale = float(bins.scale[0])
    at = np.linspace(-8 * scale, 60 * scale, 40_000)
    dense = bins(tensors(numbers(at)))
    area = dense.double().sum(dim=0).numpy() * (at[1] - at[0]) / scale
    there = bins.edges[0, 1:].isfinite().numpy()
    np.testing.assert_allclose(area[:-1][there], 1, atol=0.03)


def test_surprise_rises_beyond_all_that_was_seen_and_stays_finite() -> None:
    bins = BinnedNumbers(1)
    bins.prepare(numbers(np.random.default_rng(0).normal(size=1_000)))
    dense = bins(tensors(numbers(np.array([0.0, 4, 20, 1e3, 1e6])))).sum(dim=1)
    assert (dense[:-1] > dense[1:]).all()
    assert dense[-1] > 0


def test_missing_is_an_option_of_its_own() -> None:
    bins = BinnedNumbers(2)
    fields = numbers(np.array([[1.0, np.nan], [np.nan, 2.0]]))
    bins.prepare(fields)
    assert bins.taken(tensors(fields))[0, 1] == MOST_BINS
    dense = bins(tensors(fields)).reshape(2, 2, -1)
    assert dense[0, 1, -1] == 1
    assert dense[0, 1, :-1].sum() == 0
    assert dense[0, 0, -1] == 0


def test_odd_columns_have_bins() -> None:
    bins = BinnedNumbers(3)
    rows = np.stack([np.zeros(50), np.full(50, np.nan), np.repeat([0.0, 1.0], 25)], axis=1)
    bins.prepare(numbers(rows))
    found = bins(tensors(numbers(rows)))
    assert torch.isfinite(found).all()
    assert (found.reshape(50, 3, -1).sum(dim=2) > 0).all()
    assert len(set(bins.taken(tensors(numbers(rows)))[:, 2].tolist())) == 2


def test_rare_levels_of_many_share_an_option() -> None:
    levels = Levels([3, MOST_LEVELS + 99])
    codes = torch.tensor([[2, MOST_LEVELS - 1], [0, MOST_LEVELS + 98], [1, 5]])
    assert levels.taken({"codes": codes})[:, 1].tolist() == [MOST_LEVELS - 1] * 2 + [5]
    dense = levels({"codes": codes})
    assert dense[1, 3 + MOST_LEVELS - 1] == torch.tensor(0.01)
    assert dense[2, 3 + 5] == 1


def test_hours_of_a_week() -> None:
    hours = Hours(1, 0, 2)
    turns = [(day / 7, hour / 24) for day in range(7) for hour in range(24)]
    parts = np.array(
        [
            [[np.sin(t), np.cos(t)] for t in (2 * np.pi * day, 2 * np.pi * hour)]
            for day, hour in turns
        ],
        dtype=np.float32,
    ).reshape(HOURS, 1, 4)
    fields = {"parts": torch.from_numpy(parts), "missing": torch.zeros(HOURS, 1)}
    assert hours.taken(fields)[:, 0].tolist() == list(range(HOURS))
    assert hours({**fields, "missing": torch.ones(HOURS, 1)})[:, HOURS].sum() == HOURS
