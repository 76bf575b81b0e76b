"""Models to describe: one with every kind of column, one with names that mean harm, one odd one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.models.calibration import Calibration
from thalweg.models.decoder import Decoder
from thalweg.stats import TableSummary
from thalweg.stats.tails import TailFit

HARM = ["<script>alert(1)</script>", "a'b\"c`${x}", "\u202egnp.exe", "</textarea><b>&amp;", "{{x}}"]
ROWS = 200


@dataclass
class Shown:
    """As much of a compiled model as its description needs."""

    schema: Schema
    decoder: Decoder
    identity: str = "0123456789ab"
    precision: str = "float32"


def rich(target: str | None = "class") -> Shown:
    """Give a model with columns of every kind that can be made up here."""
    random = np.random.default_rng(0)
    labels = np.array([["red"], ["red", "blue"], ["green"], []], dtype=object)
    rows = pa.table(
        {
            "amount": random.lognormal(3, 1, ROWS),
            "age": random.integers(18, 90, ROWS),
            "town": random.choice(["Ulm", "Bonn", "Celle"], ROWS, p=[0.2, 0.5, 0.3]),
            "floor": random.integers(0, 4, ROWS),
            "member": random.random(ROWS) < 0.3,
            "since": np.datetime64("2020-01-01T00:00:00", "s") + random.integers(0, 9**8, ROWS),
            "stamp": random.integers(1_600_000_000, 1_700_000_000, ROWS),
            "note": random.choice(["a room", "the view of the sea"], ROWS),
            "tags": pa.array([labels[at] for at in random.integers(0, 4, ROWS)]),
            "place": pa.array(random.normal(size=(ROWS, 2)).tolist()),
            "class": random.choice(["x", "y", "z"], ROWS),
            "price": random.normal(size=ROWS),
        }
    )
    given = {
        "note": "text",
        "floor": "category,missing=drop",
        "stamp": "datetime,unit=seconds",
        "tags": "set",
        "place": "vector",
    }
    return fitted(rows, target, given, [one for one in ("class", "price") if one != target])


def harmful() -> Shown:
    """Give a model whose names and levels would run or break a careless page."""
    random = np.random.default_rng(0)
    columns = {name: random.choice(HARM, ROWS) for name in HARM}
    return fitted(pa.table(columns | {"target": random.choice(HARM[:3], ROWS)}), "target", {}, [])


def fitted(rows: pa.Table, target: str | None, given: dict[str, str], drop: list[str]) -> Shown:
    """Fit a schema."""
    summary = TableSummary()
    summary.update(rows)
    schema = fit_schema(summary, target, given, drop)
    calibration = Calibration(radius=1.0)
    if target is None:
        tail = TailFit.of(np.random.default_rng(0).exponential(size=1000))
        calibration = Calibration(tail=tail, threshold=0.01)
    return Shown(schema, Decoder(schema, calibration))
