"""Vectors compared by random features: the level is kept, shifts are found, states survive."""

from __future__ import annotations

import json

import numpy as np
import pytest

from thalweg.core.errors import ArtifactError, SourceError
from thalweg.stats.codec import State
from thalweg.stats.drift.embedding import Embedding


def drawn(seed: int, rows: int, shift: float = 0.0, width: int = 8) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, width)) + shift).astype(np.float32)


def test_level_and_power() -> None:
    level, power, apart = [], [], []
    for seed in range(20):
        some = Embedding.fit(drawn(seed, 1500), seed)
        level.append(some.compare(drawn(seed + 1000, 500))[1])
        power.append(some.compare(drawn(seed + 2000, 500, 0.2))[1])
        apart.append(some.compare(drawn(seed + 3000, 100))[0] < some.usual(100))
    assert np.mean(np.array(level) < 0.05) <= 0.17  # 0.05, give or take three deviations
    assert 0.35 < np.mean(level) < 0.65
    assert np.mean(np.array(power) < 0.01) > 0.95
    assert np.mean(apart) > 0.9


def test_another_shape_of_the_same_mean_and_spread_is_found() -> None:
    some = Embedding.fit(drawn(1, 4000), 0)
    lengths = np.sqrt(np.random.default_rng(2).choice([0.1, 1.9], size=(2000, 1)))
    assert some.compare(drawn(3, 2000) * lengths)[1] < 0.01


def test_state_goes_through_json_bit_for_bit() -> None:
    some = Embedding.fit(drawn(1, 300), 3)
    state = some.state()
    arrays = {
        name: np.array(json.loads(json.dumps(one.tolist()))) for name, one in state.arrays.items()
    }
    again = Embedding.from_state(State(json.loads(json.dumps(state.values)), arrays))
    other = drawn(2, 200, 0.1)
    assert again.compare(other) == some.compare(other)
    assert (again.rows, again.width, again.usual(50)) == (300, 8, some.usual(50))
    assert Embedding.fit(drawn(1, 300), 3).compare(other) == some.compare(other)
    assert Embedding.fit(drawn(1, 300), 4).compare(other) != some.compare(other)


def test_what_is_no_number_is_left_out_and_what_is_no_vector_refused() -> None:
    holed = drawn(1, 300)
    holed[7, 3] = np.nan
    some = Embedding.fit(holed, 0)
    assert some.rows == 299
    other = drawn(2, 50)
    assert some.compare(np.vstack([other, np.full((1, 8), np.inf)])) == some.compare(other)
    assert some.compare(other[:0]) == (0.0, 1.0)
    same = Embedding.fit(np.ones((50, 2)), 0)
    assert same.compare(np.ones((20, 2)))[0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(SourceError, match="vectors of 3 numbers; expected 8"):
        some.compare(np.ones((5, 3)))
    with pytest.raises(SourceError, match="1 vectors; expected two or more"):
        Embedding.fit(np.ones((1, 3)), 0)
    with pytest.raises(SourceError, match="rows and columns"):
        some.compare(np.ones(8))
    with pytest.raises(ArtifactError, match="is damaged"):
        Embedding.from_state(State({**some.state().values, "version": 9}, some.state().arrays))
    with pytest.raises(ArtifactError, match="is damaged"):
        Embedding.from_state(State(some.state().values, {}))
