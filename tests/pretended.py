"""A compiled model without a network: what it reads is real, what it answers is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from thalweg.data.infer import fit_schema
from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.models.calibration import Calibration
from thalweg.models.compiled import CompiledModel, Feed, Run
from thalweg.models.decoder import Answers, Decoder
from thalweg.stats import TableSummary


class Pretended:
    """Reads rows as `CompiledModel` does, and answers by what it read."""

    identity = "0123456789ab"
    precision = "float32"

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.decoder = Decoder(schema, Calibration())
        self.quickly = True
        self.asked = 0
        own = CompiledModel.__new__(CompiledModel)
        own.schema = schema
        own._raw = {
            kind: columns for kind, columns in schema.by_kind().items() if KINDS[kind].compiles
        }
        own._kinds = schema.by_kind()
        own._empty = {
            kind: KINDS[kind].raw([pa.nulls(1)] * len(columns), [c.state for c in columns]).values
            for kind, columns in own._raw.items()
        }
        own._readers = own._read_by()
        self._own = own

    @property
    def columns(self) -> list[str]:
        return self.schema.names

    def feed(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Feed:
        self.asked += 1
        return self._own.feed(rows, folder)

    def quick(self, rows: Sequence[Mapping[str, object]]) -> Feed | None:
        return self._own.quick(rows) if self.quickly else None

    def run(self, inputs: Mapping[str, Any]) -> Run:
        rows = len(next(iter(inputs.values())))
        # By the row itself: a server may ask about rows in pieces.
        first = np.nan_to_num(inputs["number"][:, 0]) if "number" in inputs else np.zeros(rows)
        shares = 0.5 + 0.4 * first / (100 + np.abs(first))
        dropped = np.zeros(rows, dtype=bool)
        if self.decoder.task == "regression":
            if self.decoder.calibration.radius is None:
                return Run(Answers(shares * 10), dropped)
            return Run(Answers(shares * 10, shares, shares * 20), dropped)
        classes = len(self.decoder.classes)
        rest = [(1 - shares) / (classes - 1)] * (classes - 1)
        return Run(Answers(np.stack([*rest, shares], axis=1)), dropped)


def pretended(
    table: Mapping[str, Any] | pa.Table, target: str, asked: Mapping[str, Any] | None = None
) -> Pretended:
    """Fit a schema to columns, and pretend that a network was trained."""
    rows = pa.table(table) if not isinstance(table, pa.Table) else table
    summary = TableSummary()
    summary.update(rows)
    return Pretended(fit_schema(summary, target, dict(asked or {})))


def homes(target: str = "sold") -> Pretended:
    """Pretend a model of homes: every kind that a graph reads, and a column that is ignored."""
    random = np.random.default_rng(0)
    rows = 300
    return pretended(
        {
            "size": random.normal(80, 20, rows).round(1),
            "rooms": random.integers(1, 9, rows),
            "town": random.choice(["Ulm", "Bonn", "Köln"], rows),
            "zone": random.choice([3, 5, 900], rows),
            "garden": random.choice(["yes", "no"], rows),
            "day": (np.datetime64("2024-01-01") + random.integers(0, 300, rows)).astype(str),
            "note": pa.nulls(rows),
            "price": random.normal(300, 50, rows),
            "sold": random.choice(["quickly", "slowly"], rows),
        },
        target,
        {"zone": "category"},
    )
