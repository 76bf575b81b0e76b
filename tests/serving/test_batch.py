from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.core.errors import ColumnError, OptionError, SourceError
from thalweg.core.progress import Progress, Silent
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.serving.batch import Tally, predict, predict_all
from thalweg.sources import Batch, Position, Source, open_source
from thalweg.training.train import Run, train

RECIPE = Recipe(members=2, width=8, embedding=3, epochs=2, batch_size=64)


def table(rows: int = 300, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows).round(3)
    gaps = np.arange(rows) % 50 == 7
    return pa.table(
        {
            "x": pa.array(x, mask=gaps),
            "town": random.choice(["Ulm", "Bonn"], rows),
            "price": 3 * x + random.normal(size=rows).round(3),
        }
    )


def trained(**columns: str) -> Model:
    wishes = Wishes("price", columns)
    prepared = prepare(open_source(table()), wishes, Split(), None, Silent())
    return train(prepared, RECIPE, Run(), Silent())


@pytest.fixture(scope="module")
def model() -> Model:
    return trained()


@pytest.fixture(scope="module")
def picky() -> Model:
    """A model that sets rows without x aside."""
    return trained(x="number,missing=drop")


@final
class Notes(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.done = 0

    def start(self, stage: str, total: int | None, unit: str) -> None:
        self.said.append(f"{stage} {total} {unit}")

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self.done += amount

    def note(self, message: str) -> None:
        self.said.append(message)

    def stop(self) -> None:
        return


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.ndjson", "out.arrow"])
def test_a_file_holds_what_a_table_would(model: Model, tmp_path: Path, name: str) -> None:
    wanted = predict_all(model, open_source(table()), None, Silent())
    notes = Notes()
    empty = predict_all(model, open_source(table()), tmp_path / name, notes)
    assert empty.num_rows == 0
    assert empty.schema.names == wanted.schema.names
    assert notes.done == 300
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found = [batch.rows for batch in open_source(tmp_path / name).batches()]
    again = pl.from_arrow(pa.Table.from_batches(found))
    assert isinstance(again, pl.DataFrame)
    answers = again["prediction"].cast(pl.Float64).to_numpy()
    np.testing.assert_array_equal(answers, wanted["prediction"].to_numpy())


def test_own_columns_come_first_or_not_at_all(model: Model) -> None:
    answers = ["prediction", "prediction_low", "prediction_high"]
    names = predict_all(model, open_source(table()), None, Silent()).schema.names
    assert names == ["x", "town", "price", *answers]
    alone = predict_all(model, open_source(table()), None, Silent(), keep=False)
    assert alone.schema.names == answers


@pytest.mark.parametrize("name", ["prediction", "prediction_low", "prediction_high"])
def test_own_columns_are_never_replaced(model: Model, tmp_path: Path, name: str) -> None:
    rows = table().append_column(name, pa.array(["mine"] * 300))
    with pytest.raises(OptionError, match=f"{name!r}.*--no-keep"):
        predict_all(model, open_source(rows), tmp_path / "out.csv", Silent())
    assert list(tmp_path.iterdir()) == []
    predict_all(model, open_source(rows), None, Silent(), keep=False)


def test_every_row_is_in_exactly_one_count(picky: Model, tmp_path: Path) -> None:
    lines = pl.from_arrow(table()).write_csv().splitlines()  # type: ignore[union-attr]
    lines.insert(20, "1,2,3,4,5")
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    tally, notes = Tally(), Notes()
    rows = sum(
        batch.num_rows for batch in predict(picky, open_source(tmp_path / "in.csv"), tally, notes)
    )
    assert (rows, tally.predicted, tally.rejected) == (294, 294, 7)
    predict_all(picky, open_source(tmp_path / "in.csv"), tmp_path / "out.csv", notes)
    found = rejects(tmp_path / "out.csv.rejects.ndjson")
    assert len(found) == 7
    aside = [one for one in found if "cleaning option" in one["reason"]]
    assert [one["line"] for one in aside] == [8 + 50 * n for n in range(6)]
    assert all("'x': None" in one["content"] or "'x': ''" in one["content"] for one in aside)
    assert [one["line"] for one in found if one not in aside] == [21]
    assert any("7 rows were set aside" in one for one in notes.said)
    assert len(pl.read_csv(tmp_path / "out.csv")) == 294


def test_the_rejects_of_another_run_do_not_stay(picky: Model, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predict_all(picky, open_source(table()), out, Silent())
    assert (tmp_path / "out.csv.rejects.ndjson").exists()
    predict_all(picky, open_source(table().drop_null()), out, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_rejects_are_not_held(picky: Model) -> None:
    tally = Tally()
    for _ in predict(picky, open_source(table()), tally, Silent()):
        assert len(tally.take()) == 6
    assert (tally.rejected, tally.rejects) == (6, [])


def test_all_rows_set_aside_leave_an_empty_file(picky: Model, tmp_path: Path) -> None:
    rows = pa.table({"x": pa.nulls(5, pa.float64()), "town": ["Ulm"] * 5})
    predict_all(picky, open_source(rows), tmp_path / "out.csv", Silent())
    assert (tmp_path / "out.csv").read_text().strip().count("\n") == 0
    assert len(rejects(tmp_path / "out.csv.rejects.ndjson")) == 5


def test_unreadable_cells_are_counted_and_told(model: Model) -> None:
    rows = table(4).set_column(0, "x", pa.array(["1.5", "one", "two", "?"]))
    notes = Notes()
    predict_all(model, open_source(rows), None, notes)
    assert any("2 cells of 'x' could not be read" in one for one in notes.said)


def test_a_column_of_another_kind_is_refused(model: Model, tmp_path: Path) -> None:
    rows = table(4).set_column(0, "x", pa.array(["one", "two", "three", "four"]))
    with pytest.raises(ColumnError, match=r"'x'.*'one'.*right column"):
        predict_all(model, open_source(rows), tmp_path / "out.csv", Silent())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_missing_column_is_named_before_anything_is_read(
    model: Model, tmp_path: Path, keep: bool
) -> None:
    rows = table().rename_columns(["x", "twon", "price"])
    with pytest.raises(ColumnError, match=r"'town' not found.*'twon'"):
        predict_all(model, open_source(rows), tmp_path / "out.csv", Silent(), keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_are_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x,town\n")
    with pytest.raises(SourceError, match="has no rows"):
        predict_all(model, open_source(tmp_path / "in.csv"), tmp_path / "out.csv", Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@final
class Failing(Source):
    """Breaks after two batches."""

    @property
    def uri(self) -> str:
        return "a cable that is pulled"

    def schema(self) -> pa.Schema:
        return table().schema

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        for part in range(2):
            yield Batch(table().to_batches()[0], Position(part, 0))
        raise SourceError("the cable is pulled", "a cable")

    def length(self) -> int | None:
        return None

    def fingerprint(self) -> str:
        return ""


def test_a_source_that_breaks_leaves_what_was_there(picky: Model, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    (tmp_path / "out.csv.rejects.ndjson").write_text("old")
    with pytest.raises(SourceError, match="pulled"):
        predict_all(picky, Failing(), tmp_path / "out.csv", Silent())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "out.csv": "old",
        "out.csv.rejects.ndjson": "old",
    }


FULL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from thalweg.core.errors import SourceError
from thalweg.core.progress import Silent
from thalweg.models.model import Model
from thalweg.serving.batch import predict_all
from thalweg.sources import open_source
model = Model.load(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
rows = pa.table({"x": [None] * int(sys.argv[3]) + [0.5] * 2000, "town": ["Ulm"] * 5000})
try:
    predict_all(model, open_source(rows), Path(sys.argv[2]), Silent())
except SourceError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("aside", [3000])
def test_a_full_disk_leaves_what_was_there(picky: Model, tmp_path: Path, aside: int) -> None:
    picky.save(tmp_path / "model")
    (tmp_path / "out.csv").write_text("old")
    command = [sys.executable, "-c", FULL, str(tmp_path / "model"), str(tmp_path / "out.csv")]
    done = subprocess.run([*command, str(aside)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stdout
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out.csv"]


def test_what_goes_far_away_has_its_rejects_beside_it(picky: Model) -> None:
    out = "memory://predictions/out.parquet"
    notes = Notes()
    predict_all(picky, open_source(table()), out, notes)
    rows = [row for batch in open_source(out).batches() for row in batch.rows.to_pylist()]
    aside = f"{out}.rejects.ndjson"
    rejected = [row for batch in open_source(aside).batches() for row in batch.rows.to_pylist()]
    assert (len(rows), len(rejected)) == (294, 6)
    assert any(f"see {aside}" in said for said in notes.said)
    predict_all(picky, open_source(table().drop_null()), out, notes)
    with pytest.raises(SourceError, match="does not exist"):
        open_source(aside)


def test_texts_read_from_a_file_leave_as_texts(model: Model, tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "in.parquet")
    assert pa.types.is_dictionary(open_source(tmp_path / "in.parquet").schema().field("town").type)
    found = predict_all(model, open_source(tmp_path / "in.parquet"), None, Silent())
    assert found.schema.field("town").type == pa.string()
