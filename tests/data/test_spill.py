from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.progress import Silent
from thalweg.data import passes
from thalweg.data.cache import Cache
from thalweg.data.parts import Wishes
from thalweg.data.passes import Parted
from thalweg.data.shards import Shards
from thalweg.data.spill import spill
from thalweg.data.split import TEST, TRAIN, VALIDATION, Split
from thalweg.sources import Batch, Position, Source, open_source
from thalweg.stats import TableSummary

ROWS = 6_000


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return pa.table(
        {
            "row": np.arange(rows) * 3.0,
            "x": pa.array(x, mask=random.random(rows) < 0.1),
            "town": random.choice(["Ulm", "Bonn", "Kiel"], rows),
            "shop": random.integers(0, 400, rows),
            "day": np.datetime64("2024-01-01") + random.integers(0, 300, rows),
            "y": np.where(x + random.normal(size=rows) > 0, "yes", "no"),
        }
    )


def spilt(rows: Any, tmp_path: Path, split: str = "random", **words: Any) -> Parted:
    wishes = Wishes("y", {"row": "number", "shop": "category"} | words.pop("columns", {}))
    given = rows if isinstance(rows, Source) else open_source(rows)
    return spill(given, wishes, Split.parse(split, **words), Cache(tmp_path / "cache"), Silent())


def numbers(found: Parted, code: int) -> set[float]:
    """Which rows a part has, by their first column."""
    store = found.parts[code].store
    arrays = store.read(np.arange(len(store.sizes)))
    state = found.schema.columns[0].state
    return set(np.rint(arrays.features["number"]["values"][:, 0] * state.scale + state.centre))


def same_bits(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(array, other.features[kind][name])
        for kind, fields in one.features.items()
        for name, array in fields.items()
    )


@final
class Watched(Source):
    """Counts how often its rows are asked for, and breaks where it is told to."""

    def __init__(self, rows: pa.Table, breaks_in: int | None = None) -> None:
        self._rows = open_source(rows)
        self.passes = 0
        self._breaks_in = breaks_in

    @property
    def uri(self) -> str:
        return "watched"

    def schema(self) -> pa.Schema:
        return self._rows.schema()

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        self.passes += 1
        for number, batch in enumerate(self._rows.batches(columns, 1_000, start)):
            if self.passes == self._breaks_in and number == 3:
                message = "watched was cut off"
                raise SourceError(message, "all of it")
            yield batch

    def length(self) -> int | None:
        return None

    def fingerprint(self) -> str:
        return self._rows.fingerprint()


def test_every_row_is_in_one_part_and_shares_are_kept(tmp_path: Path) -> None:
    found = spilt(table(), tmp_path)
    assert sum(found.rows.values()) == ROWS
    assert found.rows[TEST] / ROWS == pytest.approx(0.2, abs=0.02)
    assert found.rows[VALIDATION] / ROWS == pytest.approx(0.1, abs=0.02)
    for code, rows in found.rows.items():
        assert found.parts[code].rows == rows
    assert isinstance(found.parts[TRAIN].store, Shards)
    assert found.parts[TRAIN].counts is not None
    assert found.parts[TRAIN].counts.sum() == found.rows[TRAIN]


def test_the_schema_is_fitted_on_training_rows_alone(tmp_path: Path) -> None:
    rows = table()
    found = spilt(rows, tmp_path)
    mine = numbers(found, TRAIN)
    learned = rows.filter(pa.array([row in mine for row in np.rint(rows["row"].to_numpy())]))
    summary = TableSummary()
    summary.update(learned.combine_chunks())
    assert found.summary.rows == learned.num_rows == found.rows[TRAIN]
    assert found.summary.to_bytes() == summary.to_bytes()


def test_a_shuffled_table_has_the_same_schema_and_parts(tmp_path: Path) -> None:
    rows = table()
    shuffled = rows.take(pa.array(np.random.default_rng(1).permutation(ROWS)))
    one, other = spilt(rows, tmp_path / "one"), spilt(shuffled, tmp_path / "other")
    assert one.schema.to_json() == other.schema.to_json()
    for code in (TRAIN, VALIDATION, TEST):
        assert numbers(one, code) == numbers(other, code)


def test_rows_on_disk_are_encoded_as_any_rows_are(tmp_path: Path) -> None:
    found = spilt(table(), tmp_path)
    test = found.parts[TEST]
    assert test.raw is not None
    assert same_bits(test.arrays, passes.encode_piece(found.schema, test.raw, keep=False).arrays)
    store = found.parts[TRAIN].store
    assert same_bits(store.read(np.arange(len(store.sizes))), found.parts[TRAIN].arrays)


def test_the_second_time_nothing_is_read(tmp_path: Path) -> None:
    source = Watched(table())
    one = spilt(source, tmp_path)
    assert source.passes == 2
    other = spilt(source, tmp_path)
    assert source.passes == 2
    assert one.schema.to_json() == other.schema.to_json()
    assert one.rows == other.rows
    assert same_bits(one.parts[TEST].arrays, other.parts[TEST].arrays)
    assert other.parts[TEST].raw is not None
    assert other.parts[TEST].raw.equals(one.parts[TEST].raw)


def test_with_other_wishes_rows_are_encoded_again_and_not_summed_up_again(tmp_path: Path) -> None:
    source = Watched(table())
    spilt(source, tmp_path)
    other = spilt(source, tmp_path, columns={"shop": "number"})
    assert source.passes == 3
    assert [c.kind for c in other.schema.columns if c.name == "shop"] == ["number"]


@pytest.mark.parametrize("words", [{"seed": 1}, {"test": 0.3}, {"validation": 0.2}])
def test_another_split_finds_nothing(tmp_path: Path, words: dict[str, Any]) -> None:
    source = Watched(table())
    spilt(source, tmp_path)
    spilt(source, tmp_path, **words)
    assert source.passes == 4


@pytest.mark.parametrize("breaks_in", [1, 2])
def test_a_pass_that_breaks_leaves_nothing_and_the_next_run_is_whole(
    tmp_path: Path, breaks_in: int
) -> None:
    with pytest.raises(SourceError, match="cut off"):
        spilt(Watched(table(), breaks_in), tmp_path)
    left = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len(left) == breaks_in, "the lock, and after the second pass what the first one found"
    assert not [name for name in left if name.endswith(".partial")]
    whole, after = spilt(table(), tmp_path / "whole"), spilt(Watched(table()), tmp_path)
    assert whole.schema.to_json() == after.schema.to_json()
    assert numbers(whole, TRAIN) == numbers(after, TRAIN)


@pytest.mark.parametrize("name", ["summary.bin", "parts.bin", "facts.json", "training.bin"])
def test_a_flipped_byte_is_as_if_it_were_not_there(tmp_path: Path, name: str) -> None:
    source = Watched(table())
    whole = spilt(source, tmp_path)
    for path in (tmp_path / "cache").glob(f"*/{name}"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = spilt(source, tmp_path)
    assert source.passes > 2
    assert again.schema.to_json() == whole.schema.to_json()
    assert numbers(again, TRAIN) == numbers(whole, TRAIN)


def test_a_split_by_time_judges_on_the_latest(tmp_path: Path) -> None:
    found = spilt(table(), tmp_path, "time:day")
    raw = found.parts[TEST].raw
    assert raw is not None
    days = table()["day"].to_numpy()
    first = raw["day"].to_numpy().min()
    assert len(raw) == int((days >= first).sum())
    assert len(raw) / ROWS == pytest.approx(0.2, abs=0.02)
    assert found.rows[VALIDATION] / ROWS == pytest.approx(0.1, abs=0.02)


def test_a_group_lies_in_one_part(tmp_path: Path) -> None:
    found = spilt(table(), tmp_path, "group:shop")
    raw = found.parts[TEST].raw
    assert raw is not None
    assert "shop" not in raw.column_names
    shops = np.asarray(table()["shop"])
    judged = np.isin(np.rint(table()["row"].to_numpy()), list(numbers(found, TEST)))
    assert not set(shops[judged]) & set(shops[~judged])


def test_a_split_by_what_is_no_time(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match="holds no times"):
        spilt(table(), tmp_path, "time:town")


def test_many_held_out_rows_judge_by_a_fair_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(passes.MOST_JUDGES, TEST, 300)
    monkeypatch.setattr(passes, "SAMPLE", 1_000)
    found = spilt(table(), tmp_path)
    assert found.parts[TEST].rows == pytest.approx(300, rel=0.25) != found.rows[TEST]
    assert len(found.parts[TRAIN].arrays) == pytest.approx(1_000, rel=0.15)
    assert found.parts[TRAIN].rows == found.rows[TRAIN]
    halves = np.array(sorted(numbers(found, TEST))) < 3.0 * ROWS / 2
    assert halves.mean() == pytest.approx(0.5, abs=0.12)


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    rows = table()
    cells = [None if row % 10 == 0 else cell for row, cell in enumerate(rows["y"].to_pylist())]
    gappy = rows.set_column(5, "y", pa.array(cells))
    found = spilt(gappy, tmp_path)
    gone = sum(found.left_out[code].total() for code in (TRAIN, VALIDATION, TEST))
    assert gone == ROWS // 10
    assert sum(part.rows for part in found.parts.values()) == ROWS - gone


def test_rows_that_cannot_be_read_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    lines = [f'{{"x": {i % 7}, "z": {i * 0.5}, "y": "{"ab"[i % 2]}"}}' for i in range(3_000)]
    lines[100] = lines[200] = '{"x": broken'
    path.write_text("\n".join(lines))
    found = spill(
        open_source(path), Wishes("y", {}), Split.parse("random"), Cache(tmp_path / "c"), Silent()
    )
    assert [reject.line for reject in found.rejects] == [101, 201]
    assert len(found.rejects) == 2
    assert sum(found.rows.values()) == 2_998


def test_a_file_that_changes_in_between(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(table(), path)

    @final
    class Hurried(Silent.__mro__[1]):  # type: ignore[misc]
        def start(self, stage: str, total: int | None, unit: str) -> None:
            if stage == "encode":
                pq.write_table(table(ROWS + 1), path)

        def advance(self, amount: int, figures: Any = None) -> None: ...
        def note(self, message: str) -> None: ...
        def stop(self) -> None: ...

    with pytest.raises(SourceError, match="changed while it was read"):
        spill(open_source(path), Wishes("y", {}), Split.parse("random"), Cache(tmp_path), Hurried())


@pytest.mark.parametrize("stage", ["fit", "encode"])
def test_a_disk_that_fills_leaves_nothing_half_written(tmp_path: Path, stage: str) -> None:
    rows = pa.concat_tables([table(), table(seed=1)])
    spilt(rows, tmp_path / "whole")
    sizes = {path: path.stat().st_size for path in (tmp_path / "whole").rglob("*.*")}
    encoded = max(size for path, size in sizes.items() if path.suffix == ".rows")
    fitted = max(size for path, size in sizes.items() if path.name in ("summary.bin", "parts.bin"))
    assert fitted < encoded
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What the system says of a file that may grow no further is what it says of a full disk.
    most = fitted - 1 if stage == "fit" else encoded - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(SourceError, match="cannot be written"):
            spilt(rows, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len(found) == (1 if stage == "fit" else 2)
    assert not [name for name in found if name.endswith(".partial")]
    assert sum(spilt(rows, tmp_path).rows.values()) == 2 * ROWS
