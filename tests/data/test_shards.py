from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import SourceError
from thalweg.data import shards
from thalweg.data.arrays import Arrays
from thalweg.data.shards import BLOCK, Held, Shards, ShardWriter, read_all


def rows(count: int, first: int = 0) -> Arrays:
    number = np.arange(first, first + count)
    return Arrays(
        {
            "number": {
                "values": np.stack([number, -number], axis=1).astype(np.float32),
                "missing": (number % 3 == 0).astype(np.uint8)[:, None].repeat(2, axis=1),
            },
            "datetime": {
                "parts": np.zeros((count, 1, 12), np.float32)
                + number.astype(np.float32)[:, None, None]
            },
        },
        {"code": (number % 5)[:, None]},
    )


def same(one: Arrays, other: Arrays) -> None:
    assert {kind: list(fields) for kind, fields in one.features.items()} == {
        kind: list(fields) for kind, fields in other.features.items()
    }
    for kind, fields in one.features.items():
        for name, array in fields.items():
            assert array.dtype == other.features[kind][name].dtype
            np.testing.assert_array_equal(array, other.features[kind][name])
    for name, array in one.target.items():
        np.testing.assert_array_equal(array, other.target[name])


def write(folder: Path, pieces: Sequence[int]) -> Arrays:
    first, written = 0, []
    with ShardWriter(folder) as writer:
        for count in pieces:
            written.append(rows(count, first))
            writer.write(written[-1])
            first += count
        assert writer.rows == first
    return Arrays.join(written)


@given(st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_what_was_written_is_read_back_however_it_came(pieces: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        whole = write(Path(folder, "rows"), pieces)
        same(read_all(Path(folder, "rows")), whole)


def test_blocks_come_in_the_order_asked_for(tmp_path: Path) -> None:
    whole = write(tmp_path / "rows", [5 * BLOCK + 10])
    store = Shards(tmp_path / "rows")
    assert store.sizes.tolist() == [BLOCK] * 5 + [10]
    assert len(store) == 5 * BLOCK + 10
    place = np.r_[5 * BLOCK : 5 * BLOCK + 10, 2 * BLOCK : 3 * BLOCK, 0:BLOCK]
    same(store.read(np.array([5, 2, 0])), whole.take(place))


def test_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * BLOCK * Held(rows(1)).row_bytes)
    whole = write(tmp_path / "rows", [7 * BLOCK + 1])
    assert len(list((tmp_path / "rows").glob("*.rows"))) == 4
    same(read_all(tmp_path / "rows"), whole)


def test_nothing_is_read_back_as_nothing(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "rows"):
        pass
    assert len(read_all(tmp_path / "rows")) == 0


def test_rows_stay_readable_when_another_process_removes_them(tmp_path: Path) -> None:
    whole = write(tmp_path / "rows", [BLOCK])
    store = Shards(tmp_path / "rows")
    for path in (tmp_path / "rows").iterdir():
        path.unlink()
    same(store.all(), whole)


@pytest.mark.parametrize("name", ["00000.rows", "rows.json", "checks.bin"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path / "rows", [2 * BLOCK])
    path = tmp_path / "rows" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flipped":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        read_all(tmp_path / "rows")


def test_other_fields_are_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "rows")
    writer.write(rows(BLOCK))
    with pytest.raises(ValueError, match="other fields"):
        writer.write(Arrays({}, {"code": np.zeros((BLOCK, 1), np.int64)}))
    writer.abort()


def test_a_disk_that_fills_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(SourceError, match="No space left"), ShardWriter(tmp_path / "rows") as one:
        one.write(rows(BLOCK))


def test_a_system_that_takes_few_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.writev
    monkeypatch.setattr(os, "writev", lambda file, pieces: whole(file, [pieces[0][:1001]]))
    written = write(tmp_path / "rows", [2 * BLOCK])
    same(read_all(tmp_path / "rows"), written)


def test_rows_in_memory_are_one_block() -> None:
    arrays = rows(10)
    store = Held(arrays)
    assert store.sizes.tolist() == [10]
    assert store.row_bytes == 8 + 2 + 48 + 8
    assert store.read(np.array([0])) is arrays
