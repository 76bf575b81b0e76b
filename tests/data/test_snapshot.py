from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import pyarrow as pa
import pytest

from thalweg.core.errors import SourceError
from thalweg.core.progress import Silent
from thalweg.data.cache import Cache
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.snapshot import repeatable
from thalweg.data.split import Split
from thalweg.sources import Batch, Position, Source, open_source


@final
class Flowing(Source):
    """Gives other rows each time it is asked, as a table does that others write to."""

    def __init__(self, rows: int = 300) -> None:
        self.asked = 0
        self.rows = rows

    @property
    def uri(self) -> str:
        return "flowing"

    @property
    def repeatable(self) -> bool:
        return False

    def schema(self) -> pa.Schema:
        return pa.schema({"x": pa.int64(), "town": pa.string(), "y": pa.string()})

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        self.asked += 1
        for first in range(0, self.rows, 50):
            x = range(first + self.asked, first + self.asked + 50)
            rows = {
                "x": [value * 7 % 13 for value in x],
                "town": ["Ulm" if value % 3 else "Bonn" for value in x],
                "y": ["yes" if value % 2 else "no" for value in x],
            }
            yield Batch(pa.RecordBatch.from_pydict(rows, self.schema()), Position(0, first + 50))

    def length(self) -> int | None:
        return None

    def fingerprint(self) -> str:
        return f"asked {self.asked} times"


def test_a_source_that_flows_is_asked_once_and_stands_still(tmp_path: Path) -> None:
    source = Flowing()
    with repeatable(source, Cache(tmp_path), Silent()) as still:
        one = [batch.rows for batch in still.batches()]
        other = [batch.rows for batch in still.batches(["x"])]
        assert pa.Table.from_batches(one).select(["x"]) == pa.Table.from_batches(other)
        assert still.length() == 300
        assert still.uri == "flowing"
        assert still.schema() == source.schema()
    assert source.asked == 1
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_its_fingerprint_is_that_of_its_content(tmp_path: Path) -> None:
    prints = []
    for _ in range(2):
        with repeatable(Flowing(), Cache(tmp_path), Silent()) as still:
            prints.append(still.fingerprint())
    source = Flowing()
    source.asked = 1
    with repeatable(source, Cache(tmp_path), Silent()) as other:
        assert prints[0] == prints[1] != other.fingerprint()


def test_a_source_that_stands_still_is_not_copied(tmp_path: Path) -> None:
    source = open_source({"x": [1, 2]})
    with repeatable(source, Cache(tmp_path), Silent()) as still:
        assert still is source


def test_an_empty_one_has_its_columns(tmp_path: Path) -> None:
    with repeatable(Flowing(0), Cache(tmp_path), Silent()) as still:
        assert still.schema().names == ["x", "town", "y"]
        assert not list(still.batches())


def test_training_rows_come_from_one_reading(tmp_path: Path) -> None:
    source = Flowing()
    found = prepare(source, Wishes("y", {}), Split(), None, Silent(), Cache(tmp_path))
    assert source.asked == 1
    assert found.train.rows + found.test.rows == 300


def test_without_rows_nothing_is_learned(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="flowing has no rows"):
        prepare(Flowing(0), Wishes("y", {}), Split(), None, Silent(), Cache(tmp_path))
