from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import OptionError
from thalweg.data.arrays import Arrays
from thalweg.data.loader import Loader, check_balance, class_weights


def _arrays(rows: int = 103) -> Arrays:
    row = np.arange(rows)
    return Arrays({"number": {"values": row[:, None].astype(np.float32)}}, {"code": row[:, None]})


def _seen(loader: Loader, epoch: int) -> np.ndarray:
    return np.concatenate([batch.target["code"][:, 0] for batch in loader.epoch(epoch)])


def test_an_epoch_shows_rows_once_but_for_the_odd_ones() -> None:
    loader = Loader(_arrays(), 10, seed=0)
    seen = _seen(loader, 0)
    assert len(seen) == len(set(seen)) == 100 == loader.rows
    assert len({*_seen(loader, 0), *_seen(loader, 1), *_seen(loader, 2)}) == 103


def test_features_and_target_stay_together() -> None:
    for batch in Loader(_arrays(), 10, seed=0).epoch(0):
        np.testing.assert_array_equal(
            batch.features["number"]["values"][:, 0], batch.target["code"][:, 0]
        )


def test_the_same_epoch_is_the_same_and_another_is_not() -> None:
    one, other = Loader(_arrays(), 10, seed=5), Loader(_arrays(), 10, seed=5)
    np.testing.assert_array_equal(_seen(one, 3), _seen(other, 3))
    assert (_seen(one, 3) != _seen(one, 4)).any()


def test_a_small_table_is_one_batch() -> None:
    assert len(_seen(Loader(_arrays(7), 256, seed=0), 0)) == 7


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_balanced_draws_show_classes_equally(balance: str) -> None:
    classes = (np.arange(103) < 13).astype(np.int64)
    loader = Loader(_arrays(), 1, seed=0, classes=classes, balance=balance)
    counts = np.bincount(classes[_seen(loader, 0)])
    assert counts[0] == counts[1] == (90 if balance == "oversample" else 13)


def test_oversampling_shows_every_rare_row() -> None:
    classes = (np.arange(103) < 13).astype(np.int64)
    loader = Loader(_arrays(), 1, seed=0, classes=classes, balance="oversample")
    assert set(range(13)) <= set(_seen(loader, 0).tolist())


def test_weights_make_classes_count_the_same() -> None:
    classes = np.array([0] * 90 + [2] * 10)
    weights = class_weights(classes)
    assert weights[:90].sum() == pytest.approx(weights[90:].sum())
    assert weights.mean() == pytest.approx(1)


def test_unknown_balance_names_near_ones() -> None:
    with pytest.raises(OptionError, match="'oversample'"):
        check_balance("oversampel")
