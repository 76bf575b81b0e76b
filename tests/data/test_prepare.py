from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from thalweg.core.errors import ColumnError, OptionError, SourceError, TargetError
from thalweg.core.progress import Silent
from thalweg.data.parts import Part, Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.schema import CLEANED, NO_TARGET
from thalweg.data.shards import Held, Shards
from thalweg.data.split import FOLDED_ROWS, Split
from thalweg.sources import Batch, Position, Reject, Source, open_source

ROWS = 400


def table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return pa.table(
        {
            "x": x,
            "town": random.choice(["Ulm", "Bonn"], rows),
            "shop": random.integers(0, 40, rows).astype(str),
            "day": np.datetime64("2024-01-01") + random.integers(0, 300, rows),
            "y": np.where(x + random.normal(size=rows) > 0, "yes", "no"),
        }
    )


def prepared(
    source: Any, target: str = "y", *, split: str = "random", test: Any = None, **words: Any
) -> Prepared:
    share = 0.2 if test is None else 0.0
    return prepare(
        open_source(source),
        Wishes(target, words.pop("columns", {}), words.pop("drop", ())),
        Split.parse(split, share, words.pop("validation", None)),
        None if test is None else open_source(test),
        Silent(),
    )


def rows_of(found: Prepared) -> list[int]:
    return [len(part.arrays) for part in (found.train, found.validation, found.test)]


def with_column(rows: pa.Table, name: str, cells: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, pa.array(cells))


def test_no_rows_judge_where_none_are_asked_for() -> None:
    split = Split("random", None, 0.0, 0.1)
    found = prepare(open_source(table()), Wishes("y", {}), split, None, Silent())
    assert len(found.test.arrays) == 0
    assert sum(rows_of(found)) == ROWS


def test_every_row_is_in_one_part() -> None:
    found = prepared(table(), validation=0.1)
    assert sum(rows_of(found)) == ROWS
    assert found.dropped == 0
    parts = (found.train, found.validation, found.test)
    assert len(np.unique(np.concatenate([part.hashes for part in parts]))) == ROWS
    assert found.test.raw is not None
    assert found.test.raw.num_rows == len(found.test.arrays)
    assert found.train.raw is None


def test_the_schema_is_fitted_on_training_rows_alone() -> None:
    found = prepared(table())
    assert found.summary.rows == len(found.train.arrays)


@pytest.mark.parametrize("form", ["shuffled", "csv", "ndjson", "cut"])
def test_parts_follow_the_rows_in_any_order_format_and_cut(form: str, tmp_path: Path) -> None:
    rows = table().drop_columns(["day"])  # a date hashes unlike the text that says it
    given: Any = tmp_path / f"rows.{form}"
    match form:
        case "shuffled":
            given = rows.take(pa.array(np.random.default_rng(9).permutation(ROWS)))
        case "csv":
            pl.from_arrow(rows).write_csv(given)  # type: ignore[union-attr]
        case "ndjson":
            pl.from_arrow(rows).write_ndjson(given)  # type: ignore[union-attr]
        case _:
            given = pa.concat_tables([rows.slice(300), rows.slice(0, 1), rows.slice(1, 299)])

    def contents(part: Part) -> dict[int, tuple[bytes, ...]]:
        fields = [a for kind in part.arrays.features.values() for a in kind.values()]
        fields.extend(part.arrays.target.values())
        return {int(h): tuple(f[i].tobytes() for f in fields) for i, h in enumerate(part.hashes)}

    one, other = prepared(rows), prepared(given)
    assert [c.state for c in one.schema.columns] == [c.state for c in other.schema.columns]
    for name in ("train", "test"):
        assert contents(getattr(one, name)) == contents(getattr(other, name))


def test_rows_without_a_target_are_left_out_and_counted() -> None:
    cells = table()["y"].to_pylist()
    cells[::10] = [None, "?"] * 20
    found = prepared(with_column(table(), "y", cells))
    assert found.dropped == 40
    assert sum(count.get(NO_TARGET, 0) for count in found.left_out.values()) == 40
    assert sum(rows_of(found)) == ROWS - 40


def test_rows_that_an_option_sets_aside_are_counted() -> None:
    cells = table()["x"].to_pylist()
    cells[::8] = [None] * 50
    found = prepared(with_column(table(), "x", cells), columns={"x": "number,missing=drop"})
    assert found.dropped == 50
    reasons = [reason for counts in found.left_out.values() for reason in counts]
    assert set(reasons) == {CLEANED}
    assert sum(count.get(CLEANED, 0) for count in found.left_out.values()) == 50
    assert sum(rows_of(found)) == ROWS - 50


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": "why"}, ColumnError, "'why' not found"),
        ({"target": "twon"}, ColumnError, r"'twon'.*'town'"),
        ({"drop": ["twon"]}, ColumnError, r"'twon'.*'town'"),
        ({"columns": {"twon": "category"}}, ColumnError, r"'twon'.*'town'"),
        ({"split": "group:shp"}, ColumnError, r"'shp'.*'shop'"),
        ({"split": "time:town"}, ColumnError, r"'town' holds no times"),
        ({"split": "group:y"}, OptionError, "goes by the target"),
        ({"drop": ["y"]}, OptionError, "to be left out"),
        ({"columns": {"y": "ignore"}}, OptionError, "to be left out"),
        ({"columns": {"y": "numbr"}}, OptionError, "'number'"),
        ({"columns": {"y": "number"}}, TargetError, "'y'"),
    ],
)
def test_what_cannot_be_is_said(change: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prepared(table(), **change)


@pytest.mark.parametrize("cells", [[None] * ROWS, ["?"] * ROWS, ["yes"] * ROWS])
def test_a_target_without_two_values_is_refused(cells: list[Any]) -> None:
    with pytest.raises(TargetError, match="'y'"):
        prepared(with_column(table(), "y", pa.array(cells, pa.string())))


def test_a_source_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("x,y\n")
    with pytest.raises(SourceError, match=r"has no rows"):
        prepared(tmp_path / "empty.csv")
    with pytest.raises(SourceError, match="has no rows"):
        prepared(table(), test=table(0))


def test_groups_stay_together_and_are_no_feature() -> None:
    found = prepared(table(), split="group:shop", validation=0.2)
    parts = (found.train, found.validation, found.test)
    groups = [set(part.groups.tolist()) for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert all(groups)
    assert "shop" not in found.schema.names
    assert {one.name: one.because for one in found.schema.ignored}["shop"].endswith("groups")


def test_later_rows_judge() -> None:
    rows = table().append_column("late", pa.array(np.arange(ROWS) % 97 / 3))
    found = prepared(rows, split="time:late", columns={"late": "number,outliers=none"})
    part = found.test.raw
    assert part is not None
    known = set(part["late"].to_pylist())
    rest = [t for t in rows["late"].to_pylist() if t not in known]
    assert max(rest) < min(known)
    assert rows_of(found)[1] > 0


@pytest.mark.parametrize("form", ["dates", "texts", "timestamps"])
def test_times_of_any_form_order_rows_alike(form: str) -> None:
    rows = table()
    days = rows["day"]
    if form == "texts":
        days = pa.array([day.strftime("%Y-%m-%d") for day in days.to_pylist()])
    if form == "timestamps":
        days = days.cast(pa.timestamp("us"))
    found = prepared(rows.set_column(3, "day", days), split="time:day")
    raw = found.test.raw
    assert raw is not None
    latest = prepared(rows, split="time:day").test.raw
    assert latest is not None
    assert raw["x"].to_pylist() == latest["x"].to_pylist()


def test_a_test_source_brings_all_test_rows() -> None:
    other = table(100, seed=1)
    found = prepared(table(), test=other.select(["y", "day", "shop", "town", "x"]))
    assert rows_of(found) == [ROWS, 0, 100]


def test_a_test_source_may_have_more_columns_but_not_fewer() -> None:
    more = table(100, seed=1).append_column("more", pa.array(range(100)))
    assert rows_of(prepared(table(), test=more))[2] == 100
    with pytest.raises(ColumnError, match="'town' not found"):
        prepared(table(), test=more.drop_columns(["town"]))
    with pytest.raises(ColumnError, match="'y' not found"):
        prepared(table(), test=more.drop_columns(["y"]))


def test_labels_may_be_spelt_otherwise_in_the_test_source() -> None:
    other = table(100, seed=1)
    labels = [f" {label.upper()}." for label in other["y"].to_pylist()]
    found = prepared(table(), test=with_column(other, "y", labels))
    wanted = prepared(table(), test=other)
    np.testing.assert_array_equal(
        found.test.arrays.target["code"], wanted.test.arrays.target["code"]
    )


def test_a_test_source_of_unknown_classes_is_refused() -> None:
    other = with_column(table(100), "y", ["maybe"] * 100)
    with pytest.raises(TargetError, match="no test row has a usable 'y'"):
        prepared(table(), test=other)


def test_copies_are_found_in_a_test_source_with_more_columns() -> None:
    found = prepared(table(), test=table().append_column("more", pa.array(range(ROWS))))
    assert np.isin(found.test.hashes, found.train.hashes).all()


@final
class Changing(Source):
    """Gives other rows, or the same with another fingerprint, after some passes."""

    def __init__(self, versions: Sequence[Sequence[pa.Table]], names: Sequence[str]) -> None:
        self._versions = versions
        self._names = names
        self._passes = 0

    @property
    def uri(self) -> str:
        return "the changing table"

    def schema(self) -> pa.Schema:
        return self._versions[0][0].schema

    def batches(
        self,
        columns: Sequence[str] | None = None,
        size: int = 65_536,
        start: Position | None = None,
    ) -> Iterator[Batch]:
        pieces = self._versions[min(self._passes, len(self._versions) - 1)]
        self._passes += 1
        for part, piece in enumerate(pieces):
            rows = piece if columns is None else piece.select(list(columns))
            yield Batch(rows.to_batches()[0], Position(part + 1, 0))

    def length(self) -> int | None:
        return None

    def fingerprint(self) -> str:
        return self._names[min(self._passes, len(self._names) - 1)]


@pytest.mark.parametrize("change", ["fewer", "more", "a part more", "other"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_source_that_changes_while_it_is_read_is_refused(change: str, when: int) -> None:
    whole, names = [table()], ["a"]
    later = {
        "fewer": [table().slice(1)],
        "more": [table(ROWS + 1)],
        "a part more": [table(), table(5)],
        "other": whole,
    }[change]
    if change == "other":
        names = ["a"] * when + ["b"]
    with pytest.raises(SourceError, match="the changing table changed while it was read"):
        prepared(Changing([whole] * when + [later], names))


def test_unreadable_rows_are_kept_with_reason_and_line(tmp_path: Path) -> None:
    lines = pl.from_arrow(table()).write_csv().splitlines()  # type: ignore[union-attr]
    lines.insert(11, "too,many,cells,in,this,row")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    found = prepared(tmp_path / "rows.csv")
    assert [(type(one), one.line) for one in found.rejects] == [(Reject, 12)]
    assert sum(rows_of(found)) == ROWS


def test_several_columns_are_filled_along_one() -> None:
    random = np.random.default_rng(0)
    holes = random.random(ROWS) < 0.2
    rows = table().append_column("z", pa.array(random.normal(size=ROWS), mask=holes))
    rows = with_column(rows, "x", pa.array(rows["x"].to_numpy(), mask=holes))
    said = dict.fromkeys(["x", "z"], "number,missing=interpolate,along=day")
    found = prepared(rows, columns=said)
    assert not found.train.arrays.features["number"]["missing"].any()
    assert [curve.column for curve in found.schema.curves] == ["x", "z"]
    assert prepared(rows, columns=said, drop=["z"]).schema.curves[0].column == "x"


def test_a_table_of_many_rows_is_encoded_onto_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = FOLDED_ROWS + 500
    random = np.random.default_rng(0)
    x = random.normal(size=rows).round(3)
    pl.DataFrame({"x": x, "y": np.where(x > 0, "yes", "no")}).write_csv(path)
    with path.open("a") as file:
        file.write("1,2,3\n")
    found = prepared(path)
    assert isinstance(found.train.store, Shards)
    assert found.train.rows + found.held_out["validation"] + found.held_out["test"] == rows
    assert [reject.line for reject in found.rejects] == [rows + 2]
    arrays = found.train.store.read(np.arange(len(found.train.store.sizes)))
    assert len(arrays) == found.train.rows == len(found.train.arrays)


def test_a_table_of_few_rows_is_held(tmp_path: Path) -> None:
    found = prepared(table())
    assert isinstance(found.train.store, Held)
    assert not (tmp_path / "cache").exists()
