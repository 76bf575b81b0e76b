from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, SourceError
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays
from thalweg.data.loader import Draw, Loader, check_balance, class_weights
from thalweg.data.shards import Held, Shards, ShardWriter, Store

few = settings(max_examples=40, deadline=None)


class Blocks(Store):
    """Rows in memory, in blocks of any size; counts what is read."""

    def __init__(self, arrays: Arrays, block: int) -> None:
        self._arrays = arrays
        self._block = block
        self.reads: list[list[int]] = []
        self.broken: int | None = None

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff([*range(0, len(self._arrays), self._block), len(self._arrays)])

    @property
    def row_bytes(self) -> int:
        return 8

    def read(self, blocks: NDArray[np.int64]) -> Arrays:
        self.reads.append(blocks.tolist())
        if self.broken in blocks:
            raise SourceError("a block is damaged", "a whole one", "Start again.")
        rows = [np.arange(b * self._block, (b + 1) * self._block) for b in blocks]
        inside = np.concatenate(rows)
        return self._arrays.take(inside[inside < len(self._arrays)])


def _arrays(rows: int = 103, classes: int | None = None) -> Arrays:
    row = np.arange(rows)
    code = row if classes is None else row * classes // rows
    return Arrays({"number": {"values": row[:, None].astype(np.float32)}}, {"code": code[:, None]})


def _held(rows: int = 103, classes: int | None = None) -> Held:
    return Held(_arrays(rows, classes))


def _shown(loader: Loader, epoch: int, first: int = 0) -> NDArray[np.int64]:
    """Say which rows an epoch shows, in order."""
    batches = list(loader.epoch(epoch, first))
    assert {len(batch) for batch in batches} <= {loader.batch_size}
    seen = [batch.features["number"]["values"][:, 0] for batch in batches]
    return np.concatenate([[], *seen]).astype(np.int64)


def _pooled(rows: int, pools: int, block: int = 10, batch: int = 7, **given: object) -> Loader:
    """Load blocks that do not fit: about a number of pools."""
    store = Blocks(_arrays(rows), block)
    # 16 bytes are a row's own and those of its place; two pools are held at a time.
    return Loader(store, batch, 0, pool_bytes=2 * 16 * rows // pools, **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.data.loader.LEAST_BLOCKS", 1)


def test_an_epoch_shows_rows_once_but_for_the_odd_ones() -> None:
    loader = Loader(_held(), 10, seed=0)
    seen = _shown(loader, 0)
    assert len(seen) == len(set(seen)) == 100 == loader.rows
    assert len({*seen, *_shown(loader, 1), *_shown(loader, 2)}) == 103


def test_rows_in_memory_are_shuffled_all_together() -> None:
    order = np.random.default_rng(derive(5, "shuffle", 3)).permutation(103)
    np.testing.assert_array_equal(_shown(Loader(_held(), 10, seed=5), 3), order[:100])


def test_features_and_target_stay_together() -> None:
    for loader in (Loader(_held(), 10, seed=0), _pooled(103, 3)):
        for batch in loader.epoch(0):
            values = batch.features["number"]["values"][:, 0]
            np.testing.assert_array_equal(values, batch.target["code"][:, 0])


def test_the_same_epoch_is_the_same_and_another_is_not() -> None:
    for one, other in ((Loader(_held(), 10, 5), Loader(_held(), 10, 5)), (_pooled(200, 3),) * 2):
        np.testing.assert_array_equal(_shown(one, 3), _shown(other, 3))
        assert (_shown(one, 3) != _shown(one, 4)).any()


def test_a_small_table_is_one_batch() -> None:
    assert len(_shown(Loader(_held(7), 256, seed=0), 0)) == 7


def test_a_store_on_disk_that_fits_is_one_in_memory(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "rows") as writer:
        writer.write(_arrays(5000))
    shards, held = Loader(Shards(tmp_path / "rows"), 64, 1), Loader(_held(5000), 64, 1)
    np.testing.assert_array_equal(_shown(shards, 2), _shown(held, 2))


def test_a_store_that_fits_is_read_once() -> None:
    store = Blocks(_arrays(), 10)
    loader = Loader(store, 10, seed=0)
    for epoch in range(3):
        _shown(loader, epoch)
    assert len(store.reads) == 1


@few
@given(
    rows=st.integers(2, 400),
    block=st.integers(1, 50),
    pools=st.integers(2, 9),
    batch=st.integers(1, 60),
    share=st.floats(0.1, 1),
)
def test_any_store_shows_its_rows_once_a_pass(
    rows: int, block: int, pools: int, batch: int, share: float
) -> None:
    loader = _pooled(rows, pools, block, batch, share=share)
    assert loader.steps == max(1, int(share * rows) // min(batch, rows))
    parts = max(1, rows // loader.rows)
    for lap in range(2):
        seen = np.concatenate([_shown(loader, lap * parts + part) for part in range(parts)])
        assert len(seen) == len(set(seen)) == parts * loader.rows


@few
@given(
    rows=st.integers(2, 300),
    pools=st.integers(1, 6),
    share=st.floats(0.05, 1),
    number=st.integers(0, 9),
    drawn=st.booleans(),
    first=st.integers(0, 50),
)
def test_an_epoch_that_begins_later_has_the_same_batches(
    rows: int, pools: int, share: float, number: int, drawn: bool, first: int
) -> None:
    counts = np.bincount(_arrays(rows, 2).target["code"][:, 0])
    draw = Draw.balanced(counts, "oversample") if drawn else None
    store = Blocks(_arrays(rows, 2), 8)
    loader = Loader(store, 7, 3, draw=draw, share=share, pool_bytes=32 * rows // pools)
    whole = _shown(loader, number)
    np.testing.assert_array_equal(_shown(loader, number, first), whole[first * loader.batch_size :])


def test_pools_that_are_passed_over_are_not_read() -> None:
    loader = _pooled(1000, 10)
    store = loader._store
    assert isinstance(store, Blocks)
    _shown(loader, 0)
    whole = len(store.reads)
    assert whole == 10
    _shown(loader, 0, first=loader.steps - 1)
    assert len(store.reads) == whole + 1


def test_an_epoch_that_shows_some_rows_reads_some() -> None:
    loader = _pooled(1000, 10, share=0.1)
    store = loader._store
    assert isinstance(store, Blocks)
    _shown(loader, 3)
    assert len(store.reads) <= 2


def test_pools_are_read_ahead_one_at_a_time() -> None:
    loader = _pooled(1000, 10)
    store = loader._store
    assert isinstance(store, Blocks)
    pools = loader.epoch(0)
    next(pools)
    pools.close()  # which waits for what is being read
    assert len(store.reads) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_a_block_that_cannot_be_read_is_told() -> None:
    loader = _pooled(1000, 10)
    store = loader._store
    assert isinstance(store, Blocks)
    store.broken = 77
    with pytest.raises(SourceError, match="damaged"):
        _shown(loader, 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (1, 6):
        with ShardWriter(tmp_path / f"{count}") as writer:
            for _ in range(20 * count):
                writer.write(_arrays(4096))
        loader = Loader(Shards(tmp_path / f"{count}"), 256, 0, pool_bytes=1 << 20)
        tracemalloc.start()
        for _ in loader.epoch(0):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.2 * (1 << 20)


@few
@given(blocks=st.integers(2, 600), pools=st.integers(2, 12), seed=st.integers(0, 99))
def test_every_pool_has_rows_from_all_over_the_store(blocks: int, pools: int, seed: int) -> None:
    store = Blocks(_arrays(blocks), 1)
    loader = Loader(store, 1, seed, pool_bytes=2 * 16 * blocks // pools)
    dealt = loader._deal(0)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(blocks))
    for pool in dealt:
        # One of every stretch: the gap to the next is less than two stretches.
        assert np.diff([-1, *pool, blocks]).max() <= 2 * len(dealt) + 1


@few
@given(st.integers(0, 20), st.integers(3, 8))
def test_a_sorted_store_has_all_classes_in_every_stretch_of_an_epoch(seed: int, pools: int) -> None:
    rows, batch = 20_000, 500
    store = Blocks(_arrays(rows, 2), 10)
    loader = Loader(store, batch, seed, pool_bytes=2 * 16 * rows // pools)
    shares = [batch.target["code"].mean() for batch in loader.epoch(0)]
    # As far from a half as 500 draws go, and no farther: 5 standard deviations.
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / np.sqrt(batch)


COUNTS = np.array([90, 13, 0, 40])


def _of_classes(counts: Sequence[int]) -> Arrays:
    code = np.repeat(np.arange(len(counts)), counts)
    values = np.arange(len(code))[:, None].astype(np.float32)
    return Arrays({"number": {"values": values}}, {"code": code[:, None]})


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
@pytest.mark.parametrize("pools", [1, 4])
def test_balanced_draws_show_classes_equally(balance: str, pools: int) -> None:
    arrays = _of_classes(COUNTS)
    draw = Draw.balanced(COUNTS, balance)
    loader = Loader(Blocks(arrays, 5), 1, 0, draw=draw, pool_bytes=32 * len(arrays) // pools)
    codes = arrays.target["code"][:, 0]
    shown = [_shown(loader, epoch) for epoch in range(2)]
    each = 90 if balance == "oversample" else 13
    for one in shown:
        assert np.bincount(codes[one], minlength=4).tolist() == [each, each, 0, each]
        times = np.bincount(one, minlength=len(codes))
        for code in (0, 1, 3):
            assert np.ptp(times[codes == code]) <= 1
    assert (np.sort(shown[0]) != np.sort(shown[1])).any()


def test_other_words_leave_the_draw_as_it_is() -> None:
    assert all(Draw.balanced(COUNTS, word) is None for word in ("none", "weights", "focal"))


@few
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=5),
    rates=st.lists(st.floats(0.1, 4), min_size=5, max_size=5),
    pools=st.integers(1, 5),
)
def test_any_rates_are_kept_exactly(counts: list[int], rates: list[float], pools: int) -> None:
    arrays = _of_classes(counts)
    draw = Draw.of_rates(np.array(counts), np.array(rates[: len(counts)]))
    loader = Loader(Blocks(arrays, 6), 1, 0, draw=draw, pool_bytes=32 * len(arrays) // pools)
    codes = arrays.target["code"][:, 0][_shown(loader, 1)]
    np.testing.assert_array_equal(np.bincount(codes, minlength=len(counts)), draw.shown)
    np.testing.assert_allclose(draw.shown / counts, rates[: len(counts)], atol=1 / min(counts))


def test_copies_of_a_row_do_not_come_together() -> None:
    draw = Draw.of_rates(np.array([1000]), np.array([3.0]))
    shown = _shown(Loader(Held(_of_classes([1000])), 1, 0, draw=draw), 0)
    assert (shown[1:] == shown[:-1]).mean() < 0.01


def test_weights_make_classes_count_the_same() -> None:
    counts = np.array([90, 0, 10])
    weights = class_weights(counts)
    assert weights[0] * 90 == pytest.approx(weights[2] * 10)
    assert (weights * counts).sum() == pytest.approx(100)


@pytest.mark.parametrize("own", [None, (143,), (143, 2)])
def test_weights_by_class_go_with_the_rows_own(own: tuple[int, ...] | None) -> None:
    arrays = _of_classes(COUNTS)
    if own is not None:
        arrays = arrays.weighted(np.random.default_rng(0).random(own, dtype=np.float32))
    by_class = np.array([1, 2, 3, 4], dtype=np.float32)
    for batch in Loader(Held(arrays), 10, 0, weights=by_class).epoch(0):
        rows = batch.features["number"]["values"][:, 0].astype(int)
        wanted = by_class[batch.target["code"][:, 0]]
        if arrays.weights is not None:
            wanted = (arrays.weights[rows].T * wanted).T
        np.testing.assert_array_equal(batch.weights, wanted)


def test_unknown_balance_names_near_ones() -> None:
    with pytest.raises(OptionError, match="'oversample'"):
        check_balance("oversampel")
