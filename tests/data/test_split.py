from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import OptionError, SourceError
from thalweg.data.split import FOLDED_ROWS, TEST, TRAIN, VALIDATION, Split, folds

HASHES = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_row_keeps_its_part_in_any_order(seed: int, order: int) -> None:
    split = Split(validation=0.1, seed=seed)
    parts = split.part(HASHES, None, None)
    shuffle = np.random.default_rng(order).permutation(len(HASHES))
    np.testing.assert_array_equal(split.part(HASHES[shuffle], None, None), parts[shuffle])


def test_shares_are_exact() -> None:
    parts = Split(validation=0.1).part(HASHES, None, None)
    assert np.bincount(parts).tolist() == [1400, 200, 400]


def test_small_tables_hold_no_validation_rows_out() -> None:
    assert np.bincount(Split().part(HASHES, None, None), minlength=3)[VALIDATION] == 0
    assert Split().held_out(FOLDED_ROWS + 1) == 0.1
    assert Split(method="time", column="t").held_out(10) == 0.1


def test_equal_rows_share_a_part() -> None:
    parts = Split(validation=0.1).part(np.repeat(HASHES, 3), None, None)
    assert (parts.reshape(-1, 3) == parts[::3, None]).all()


def test_every_class_is_in_every_part_by_its_share() -> None:
    classes = (np.arange(2000) % 50 == 0).astype(np.int64)
    parts = Split(validation=0.1).part(HASHES, classes, None)
    rare = np.bincount(parts[classes == 1])
    assert rare.tolist() == [28, 4, 8]


def test_a_group_lies_in_one_part() -> None:
    groups = HASHES[np.arange(2000) // 7]
    parts = Split(method="group", column="g", validation=0.1).part(groups, None, None)
    for group in np.unique(groups):
        assert len(np.unique(parts[groups == group])) == 1
    assert abs((parts == TEST).mean() - 0.2) < 0.02


def test_later_rows_judge_earlier_ones() -> None:
    times = np.random.default_rng(1).permutation(2000).astype(np.float64)
    parts = Split(method="time", column="t").part(HASHES, None, times)
    assert times[parts == TRAIN].max() < times[parts == VALIDATION].min()
    assert times[parts == VALIDATION].max() < times[parts == TEST].min()


def test_another_seed_is_another_split() -> None:
    one, other = (Split(seed=seed).part(HASHES, None, None) for seed in (0, 1))
    assert (one != other).mean() > 0.2


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(SourceError, match="leave none for"):
        Split(validation=0.1).part(HASHES[:1], None, None)


@pytest.mark.parametrize("text", ["rando", "group", "group:", "time", "random:x"])
def test_unknown_splits_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="group:COLUMN"):
        Split.parse(text)


def test_folds_are_even_and_keep_groups_together() -> None:
    groups = HASHES[np.arange(2000) // 5]
    dealt = folds(groups, 8, seed=3)
    assert np.bincount(dealt).tolist() == [250] * 8
    assert (dealt.reshape(-1, 5) == dealt[::5, None]).all()


def test_folds_share_out_a_rare_class() -> None:
    classes = (np.arange(2000) % 125 == 0).astype(np.int64)
    dealt = folds(HASHES, 8, seed=3, classes=classes)
    assert np.bincount(dealt[classes == 1], minlength=8).tolist() == [2] * 8
