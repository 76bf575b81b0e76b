from __future__ import annotations

import numpy as np
import pytest

from thalweg.data.copies import LowestHashes


def hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_few_rows_are_compared_exactly() -> None:
    mine, theirs = hashes(1000), hashes(1000, 1)
    theirs[:300] = mine[500]
    assert LowestHashes.of(mine).shared(LowestHashes.of(theirs)) == (300, 1000)


def test_many_rows_are_estimated() -> None:
    mine, theirs = hashes(100_000), hashes(40_000, 1)
    theirs[::4] = mine[:10_000]
    known, judging = LowestHashes(2_000), LowestHashes(2_000)
    for piece in np.array_split(mine, 13):
        known.update(piece)
    judging.update(theirs)
    copies, rows = known.shared(judging)
    assert rows == 40_000
    assert copies == pytest.approx(10_000, rel=0.1)


def test_order_and_cut_make_no_difference() -> None:
    some = hashes(20_000)
    one, other = LowestHashes(500), LowestHashes(500)
    one.update(some)
    for piece in np.array_split(some[::-1], 7):
        other.update(piece)
    assert one.to_bytes() == other.to_bytes()


def test_one_content_with_more_copies_than_are_kept() -> None:
    known, judging = LowestHashes(100), LowestHashes(100)
    known.update(np.full(1_000, 7, np.uint64))
    judging.update(np.full(500, 7, np.uint64))
    assert known.shared(judging) == (500, 500)


def test_nothing_is_a_copy_of_nothing() -> None:
    assert LowestHashes().shared(LowestHashes()) == (0, 0)


def test_they_survive_being_written_down() -> None:
    known = LowestHashes(500)
    known.update(hashes(5_000))
    read = LowestHashes.from_bytes(known.to_bytes())
    judging = LowestHashes.of(hashes(5_000)[:1_000])
    assert read.shared(judging) == known.shared(judging)
    assert read.to_bytes() == known.to_bytes()
