from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import OptionError
from thalweg.core.progress import Silent
from thalweg.kinds.base import Design
from thalweg.lab.detectors import DETECTORS, check_detectors, detect, plain, shares


def design(rows: int, seed: int = 0) -> Design:
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, 3)).astype(np.float32)
    numbers[::7, 2] = np.nan
    return Design(numbers, random.integers(0, 3, (rows, 1)).astype(np.int32))


@pytest.mark.parametrize("name", list(DETECTORS))
def test_a_row_far_out_is_the_oddest(name: str) -> None:
    test = design(100, 1)
    test.numbers[5] = 9
    found = DETECTORS[name].scores(design(400), test, seed=0)
    assert found.shape == (100,)
    assert np.isfinite(found).all()
    assert found.argmax() == 5


def test_held_out_and_test_rows_are_told_apart() -> None:
    held, test = design(50, 2), design(20, 3)
    found = detect(design(300), held, test, seed=0, names=["tails"], progress=Silent())
    assert list(found) == ["tails"]
    assert found["tails"].scores.shape == (20,)
    assert found["tails"].held.shape == (50,)
    alone = DETECTORS["tails"].scores(design(300), test, 0)
    np.testing.assert_allclose(found["tails"].scores, alone)


def test_gaps_are_filled_with_what_training_rows_know() -> None:
    rows, asked = plain(design(300), design(20, 3))
    assert np.isfinite(rows).all()
    assert np.isfinite(asked).all()
    assert rows.shape[1] == 4


def test_an_unknown_name_is_said() -> None:
    with pytest.raises(OptionError, match="isolation_forest"):
        check_detectors(["isolation_forrest"])
    assert check_detectors(None) == list(DETECTORS)


def test_equal_scores_share_a_rank() -> None:
    found = shares(np.array([1.0, 2.0, 2.0, 3.0]))
    assert found[1] == found[2]
    assert 0 < found[0] < found[1] < found[3] < 1
