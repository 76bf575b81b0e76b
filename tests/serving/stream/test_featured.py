"""Windowed features on a stream: shuffled and in pieces, rows get what a sorted table gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import chaos
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from thalweg import api
from thalweg.core.errors import OptionError
from thalweg.core.progress import Silent
from thalweg.models.model import Model
from thalweg.sources.streams.log import Log
from thalweg.sources.streams.payloads import payloads_of

FEATURES = [
    "spent = sum(amount) by card over 10m",
    "seen = count() by card over 10m",
    "most = max(amount) by card over 10m",
    "shops = distinct(shop) by card over 10m",
    "before = last(shop) by card",
    "quiet = since() by card",
]
NAMES = ["spent", "seen", "most", "shops", "before", "quiet"]


def payments(count: int = 3000) -> pl.DataFrame:
    """Payments of some cards over two hours, in the order of time."""
    random = np.random.default_rng(2)
    micros = np.sort(random.integers(0, 7_200_000_000, count)) + 1_700_000_000_000_000
    amounts = np.round(random.gamma(2.0, 20.0, count), 2)
    return pl.DataFrame(
        {
            "event": np.arange(count),
            "at": pl.Series(micros).cast(pl.Datetime("us", "UTC")),
            "card": [f"c{one}" for one in random.integers(0, 40, count)],
            "shop": [f"s{one}" for one in random.integers(0, 5, count)],
            "amount": amounts,
            "large": np.where(amounts > 45, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return api.train(
        payments(),
        "large",
        features=FEATURES,
        time="at",
        drop=["event"],
        baselines=(),
        minutes=0.1,
        recipe={"members": 2, "width": 16, "embedding": 4},
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Until(Silent):
    """Says when so many events are done."""

    def __init__(self, count: int) -> None:
        self._left = count

    def advance(self, amount: int = 1, figures: Any = None) -> None:
        self._left -= amount

    def reached(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize(("form", "compiled"), [("json", False), ("arrow", False), ("json", True)])
def test_shuffled_and_stopped_it_equals_the_table(
    model: Model, form: str, *, compiled: bool
) -> None:
    table = payments()
    if compiled:
        model.save(Path("model"))
        api.compile("model")
    wanted = pl.DataFrame(api.predict(model, table)).sort("event")
    random = np.random.default_rng(3)
    jitter = random.integers(-20_000_000, 20_000_000, len(table))
    arrived = table[np.argsort(table["at"].cast(pl.Int64).to_numpy() + jitter)]
    rows = arrived.to_arrow().combine_chunks().to_batches()[0]
    with Log(Path("events"), 1, form) as log:  # type: ignore[arg-type]
        for start in range(0, len(table), 70):
            log.append(payloads_of(rows.slice(start, 70), form))  # type: ignore[arg-type]
    given = "model" if compiled else model
    options: dict[str, Any] = {"model": given, "to": "log://out", "lateness": "41s"}
    options["compiled"] = compiled
    half = Until(1000 if form == "json" else 15)
    api.stream(
        api.pipeline("log://events", latency="1ms", **options), stopping=half.reached, progress=half
    )
    api.stream(api.pipeline("log://events", once=True, **options))
    found = pl.DataFrame([json.loads(one) for one in chaos.payloads("log://out")]).sort("event")
    assert len(found) == len(table)
    for name in NAMES:
        same = wanted[name].cast(found[name].dtype)
        assert found[name].equals(same), name
    apart = (found["probability_yes"] - wanted["probability_yes"]).abs().max()
    assert isinstance(apart, float)
    assert apart < 1e-5


def test_a_bad_row_among_others_goes_aside_alone(model: Model) -> None:
    rows = payments(3).drop("large").to_arrow().to_pylist()
    rows[1]["at"] = None
    with Log(Path("events"), 1, "arrow") as log:
        schema = payments(3).drop("large").to_arrow().schema
        log.append(payloads_of(pa.RecordBatch.from_pylist(rows, schema), "arrow"))
    work = api.pipeline("log://events", model=model, to="log://out", state="state", once=True)
    tally = api.stream(work)
    assert (tally.records, tally.rows, tally.dead) == (1, 2, 1)
    (letter,) = [json.loads(one) for one in chaos.payloads("log://state/dead")]
    with pa.ipc.open_stream(base64.b64decode(letter["payload"])) as stream:
        assert [row["event"] for row in stream.read_all().to_pylist()] == [1]


@pytest.mark.parametrize("written", ["milliseconds", "day first"])
def test_times_are_read_as_those_of_the_table(written: str) -> None:
    """A number in milliseconds, and 03/04/2024 where other rows say that days come first."""
    days = pl.Series(np.arange(400) // 2)
    if written == "milliseconds":
        at = 1_700_000_000_000 + days * 86_400_000
    else:
        at = (pl.date(2024, 1, 1) + pl.duration(days=days)).dt.strftime("%d/%m/%Y")
    random = np.random.default_rng(4)
    amounts = np.round(random.gamma(2.0, 20.0, 400), 2)
    table = pl.DataFrame({"event": np.arange(400), "amount": amounts}).with_columns(
        at=at, large=pl.when(pl.col("amount") > 45).then(pl.lit("yes")).otherwise(pl.lit("no"))
    )
    model = api.train(
        table,
        "large",
        features=["spent = sum(amount) over 3d", "seen = count() over 3d"],
        time="at",
        drop=["event"],
        baselines=(),
        minutes=0.05,
        recipe={"members": 1, "width": 8, "embedding": 2},
    )
    wanted = pl.DataFrame(api.predict(model, table))
    assert wanted["seen"].max() == 6
    api.publish(table, "log://events")
    api.stream(api.pipeline("log://events", model=model, to="log://out", lateness="0", once=True))
    found = pl.DataFrame([json.loads(one) for one in chaos.payloads("log://out")]).sort("event")
    assert found["seen"].to_list() == wanted["seen"].to_list()
    assert found["spent"].to_list() == wanted["spent"].to_list()


def test_another_time_than_the_models_is_refused(model: Model) -> None:
    with pytest.raises(OptionError, match="windowed features go by 'at'"):
        api.pipeline("log://events", model=model, to="log://out", time="event")
