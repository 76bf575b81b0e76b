from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import thalweg
from thalweg.cli.main import main
from thalweg.cli.settings import write_settings
from thalweg.core.errors import ColumnError, OptionError
from thalweg.core.progress import Silent
from thalweg.data.features import table as tables
from thalweg.data.features.declare import Features
from thalweg.data.features.engine import Engine
from thalweg.data.features.order import Reorder
from thalweg.data.features.source import FeaturedSource, featured, fitted
from thalweg.sources import open_source
from thalweg.sources.check import check_source

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
RETAIL = DATA / "dirty" / "online_retail.parquet"

DECLARED = [
    "n = count() by card over 3s",
    "spent = sum(amount) by card over 10s",
    "shops = distinct(shop) by card over 5s",
    "before = last(shop) by card",
]


def rows(count: int = 60, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "at": pa.array(np.sort(rng.integers(0, count, count)).astype(float)),
            "card": rng.choice(["a", "b", "c"], count),
            "amount": np.round(rng.lognormal(size=count), 2),
            "shop": rng.choice(["x", "y", "z"], count),
        }
    )


def made(given: pa.Table, held: int = 1_000_000) -> FeaturedSource:
    source = open_source(given)
    features = fitted(source, Features.parse(DECLARED, "at"), Silent())
    return FeaturedSource(source, features, Silent(), held)


def test_it_keeps_the_contract_of_sources() -> None:
    check_source(made(rows(20)))


def test_it_keeps_the_contract_where_rows_of_the_file_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("at,card,amount,shop\n3,a,1,x\n4,a\n5,a,2,y\n7,a,1,x,9\n9,b,2,y\n9,a,2,y\n")
    source = open_source(path)
    with featured(source, fitted(source, Features.parse(DECLARED, "at"), Silent()), Silent()) as f:
        check_source(f)
        found = pa.Table.from_batches([batch.rows for batch in f.batches()])
        assert found.column("spent").to_pylist() == [0.0, 1.0, 0.0, 3.0]


@pytest.mark.parametrize("held", [7, 50, 10_000])
def test_rows_in_any_order_get_what_sorted_ones_get_in_their_own_order(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 16)  # or all of them would be one batch
    given = rows(300)
    # One moment that has more rows than are held.
    at = given.column("at").to_numpy().copy()
    at[100:160] = at[100]
    given = given.set_column(0, "at", pa.array(at))
    whole = read(made(given))
    shuffled = np.random.default_rng(1).permutation(300)
    found = read(made(given.take(pa.array(shuffled)), held))
    assert found.equals(whole.take(pa.array(shuffled)).combine_chunks())
    assert len(set(whole.column("spent").to_pylist())) > 100


def read(source: FeaturedSource) -> pa.Table:
    return pa.Table.from_batches([batch.rows for batch in source.batches(size=17)]).combine_chunks()


def test_features_of_rows_without_a_time_are_null() -> None:
    given = rows(5).set_column(0, "at", pa.array([1.0, None, 3.0, 4.0, 5.0]))
    found = read(made(given))
    assert found.column("n").to_pylist()[1] is None
    assert found.column("n").null_count == 1


def test_a_column_without_times_is_refused() -> None:
    given = rows(5).set_column(0, "at", pa.array(["soon"] * 5))
    with pytest.raises(ColumnError, match=r"'at' of the table in memory holds no times.*--time"):
        made(given)


def test_days_before_months_are_told_from_the_whole_column() -> None:
    dates = ["01/02/2024", "13/02/2024", "14/02/2024"]
    given = pa.table({"at": dates, "card": ["a"] * 3, "amount": [1] * 3, "shop": ["x"] * 3})
    source = open_source(given)
    features = fitted(source, Features.parse(["n = since() by card"], "at"), Silent())
    found = read(FeaturedSource(source, features, Silent()))
    assert found.column("n").to_pylist() == [None, 12 * 86_400.0, 86_400.0]


def test_what_a_table_lacks_is_said_with_the_feature() -> None:
    source = open_source(rows(5).drop_columns(["shop"]))
    with pytest.raises(ColumnError, match="column 'shop' of the feature 'shops' is not found"):
        fitted(source, Features.parse(DECLARED, "at"), Silent())
    with pytest.raises(OptionError, match="'shop' has the name of a column"):
        fitted(open_source(rows(5)), Features.parse(["shop = count() over 1h"], "at"), Silent())


# ---- a real table ----------------------------------------------------------------------------

REAL = [
    "bought_1d = sum(Quantity) by CustomerID over 1d",
    "price_7d = mean(UnitPrice) by StockCode over 7d",
    "sold_7d = count() by StockCode over 7d",
    "most_7d = max(Quantity) by CustomerID over 7d",
    "least_1d = min(UnitPrice) by StockCode over 1d",
    "goods_7d = distinct(StockCode) by CustomerID over 7d",
    "invoice = last(InvoiceNo) by CustomerID",
    "pause = since() by CustomerID over 7d",
    "pair = count() by CustomerID, StockCode over 7d",
]


@pytest.mark.skipif(not RETAIL.is_file(), reason="the tables are not there")
def test_offline_is_online_on_a_real_table() -> None:
    given = pq.read_table(RETAIL).slice(100_000, 16_000).combine_chunks()
    source = open_source(given)
    features = fitted(source, Features.parse(REAL, "InvoiceDate"), Silent())
    with featured(source, features, Silent()) as offline:
        wanted = pa.Table.from_batches(
            [batch.rows.select(features.names) for batch in offline.batches()]
        ).combine_chunks()
    whole = given.to_batches()[0]
    times = Engine(features).moments(whole)
    assert pc.max(wanted.column("goods_7d")).as_py() > 100

    engine, parts = Engine(features), []
    for at, size in _cuts(len(times), seed=0):
        if at > 8_000:  # in the middle it is saved and loaded
            engine = Engine.from_state(features, engine.state()) if at < 8_500 else engine
        parts.append(engine.compute(whole.slice(at, size), times[at : at + size]))
    assert pa.Table.from_batches(parts).combine_chunks().equals(wanted)

    lateness = 30 * 60 * 1_000_000
    moved = times + np.random.default_rng(2).integers(0, lateness, len(times))
    arrival = np.argsort(moved, kind="stable")
    assert not (np.diff(times[arrival]) >= 0).all()
    shuffled = whole.append_column("row", pa.array(np.arange(len(times)))).take(pa.array(arrival))
    found, numbers = _online(features, shuffled, times[arrival], lateness)
    assert found.take(pa.array(np.argsort(numbers))).equals(wanted)


def _cuts(rows: int, seed: int) -> list[tuple[int, int]]:
    sizes = np.random.default_rng(seed).integers(1, 400, rows)
    ends = np.minimum(np.cumsum(sizes), rows)
    starts = np.concatenate(([0], ends[:-1]))
    return [(int(a), int(b - a)) for a, b in zip(starts, ends, strict=True) if b > a]


def _online(
    features: Features, rows: pa.RecordBatch, times: NDArray[np.int64], lateness: int
) -> tuple[pa.Table, NDArray[np.int64]]:
    engine, order, newest, parts = Engine(features), Reorder(lateness), int(times[0]), []
    for at, size in _cuts(len(times), seed=3):
        when = times[at : at + size]
        newest = max(newest, int(when.max()))
        ready, moments = order.take(rows.slice(at, size), when, newest - lateness)
        parts.append((ready, engine.compute(ready, moments, newest - lateness)))
    rest = order.flush()
    assert rest is not None
    assert order.held == 0
    parts.append((rest[0], engine.compute(*rest)))
    found = pa.Table.from_batches([one for _, one in parts]).combine_chunks()
    return found, np.concatenate([ready.column("row").to_numpy() for ready, _ in parts])


# ---- train, judge, predict ---------------------------------------------------------------------


def events(count: int, seed: int) -> pa.Table:
    """Make rows whose answer is how much the card has spent in the hour before."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, 60 * count, count))
    card = rng.integers(0, count // 20, count)
    amount = np.round(rng.lognormal(3, 1, count), 2)
    spent = np.zeros(count)
    for one in range(count):
        mine = (card == card[one]) & (at < at[one]) & (at >= at[one] - 3600 * 4)
        spent[one] = amount[mine].sum()
    return pa.table(
        {
            "at": pa.array(at * 1_000_000 + 1_700_000_000_000_000, pa.timestamp("us")),
            "card": pa.array([f"card {one}" for one in card]),
            "amount": amount,
            "fraud": pa.array(np.where(spent > 60, "yes", "no")),
        }
    )


def test_a_model_learns_from_features_and_computes_them_again(tmp_path: Path) -> None:
    table = events(900, 0)
    given: dict[str, Any] = {"epochs": 6, "minutes": None, "baselines": []}
    given |= {"drop": ["card", "at"], "recipe": {"members": 2}}
    plain = thalweg.train(table, "fraud", **given)
    model = thalweg.train(
        table,
        "fraud",
        features=["spent = sum(amount) by card over 4h", "n = count() by card over 4h"],
        time="at",
        out=tmp_path / "model",
        **given,
    )
    assert plain.evaluation is not None
    assert model.evaluation is not None
    with_it, without = (m.evaluation.metrics["accuracy"].value for m in (model, plain))
    assert with_it > without + 0.15
    loaded = thalweg.load(tmp_path / "model")
    assert loaded.schema.features == model.schema.features
    assert loaded.schema.raw == ["amount", "at", "card"]

    new = events(400, 1)
    judged = thalweg.evaluate(loaded, new)
    assert judged.metrics["accuracy"].value > without + 0.15
    shuffled = np.random.default_rng(0).permutation(400)
    whole = thalweg.predict(loaded, new)
    found = thalweg.predict(loaded, new.take(pa.array(shuffled)))
    assert found.column("card").to_pylist() == new.take(pa.array(shuffled))["card"].to_pylist()
    assert found.column("spent").to_pylist() == whole.take(pa.array(shuffled))["spent"].to_pylist()
    assert (
        found.column("prediction").to_pylist()
        == whole.take(pa.array(shuffled))["prediction"].to_pylist()
    )
    shown = thalweg.show(loaded)
    assert shown["features"][0] == "spent = sum(amount) by card over 4h"
    assert shown["time"] == "at"
    with pytest.raises(
        ColumnError, match=r"'spent' is not among the rows' columns.*thalweg predict"
    ):
        loaded.predict(new)
    with pytest.raises(ColumnError, match="column 'card' of the feature 'spent' is not found"):
        thalweg.predict(loaded, new.drop_columns(["card"]))


def test_the_command_line_knows_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(events(300, 0), tmp_path / "events.parquet")
    given = {
        "source": str(tmp_path / "events.parquet"),
        "target": "fraud",
        "features": ["spent = sum(amount) by card over 4h"],
        "time": "at",
        "epochs": 1,
        "baselines": [],
        "recipe": {"members": 1},
    }
    (tmp_path / "run.toml").write_text(write_settings(given))
    model = str(tmp_path / "model")
    more = ["--feature", "n = count() by card over 2d", "--out", model, "--quiet"]
    assert main(["train", "--settings", str(tmp_path / "run.toml"), *more]) == 0
    capsys.readouterr()
    assert main(["show", model]) == 0
    told = capsys.readouterr().out
    assert "## Windowed features, by the time in `at`" in told
    assert "- `n = count() by card over 2d`" in told, "what is typed wins"
    assert main(["show", model, "--settings"]) == 0
    assert 'time = "at"' in capsys.readouterr().out
    to = str(tmp_path / "found.parquet")
    assert main(["predict", model, given["source"], "--to", to, "--quiet"]) == 0
    found = pq.read_table(to)
    assert found.column("at").equals(pq.read_table(given["source"]).column("at"))
    assert pc.max(found.column("n")).as_py() > 3


def test_time_without_features_is_refused() -> None:
    with pytest.raises(OptionError, match="time is 'at' without features"):
        thalweg.train({"a": [1]}, "a", time="at")
