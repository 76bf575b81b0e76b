"""A trained model on a stream that changes: frozen, and learning on; the page and what it says.

Adult's census rows. A model is trained on some; the others are a stream in which, half-way, codes
change as they do when a form is revised: the levels of three columns take one another's names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

import thalweg
from thalweg.training.online.record import Flow

TARGET: Final = "income"
TRAINED: Final = 12_000
RENAMED: Final = ("marital.status", "occupation", "education")


def main() -> None:
    """Train, stream, and print the losses before and behind the change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results/drifting"))
    parser.add_argument("--delay", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = pl.read_parquet(given.data / "tabular/adult_train.parquet")
    table = table.rename({name: name.strip().replace("-", ".") for name in table.columns})
    trained, stream = table[:TRAINED], table[TRAINED:]
    change = len(stream) // 2
    stream = pl.concat([stream[:change], renamed(stream[change:])])
    model = thalweg.train(trained, TARGET, baselines=["linear"], minutes=2, out=given.out / "model")
    page = given.out / f"flow-{given.delay}.html"
    flow = thalweg.prequential(
        stream, model=model, target=TARGET, delay=given.delay, changes=[change], html=page
    )
    found = told(flow, change)
    (given.out / f"flow-{given.delay}.json").write_text(json.dumps(found, indent=1))
    print(f"label delay {given.delay}; the change comes after {change:,} of {len(stream):,} rows")
    for who, losses in found["log_loss"].items():
        print(f"{who:12}", *(f"{name} {value:.4f}" for name, value in losses.items()), sep="  ")
    print("accuracy, learner", flow.standing.metrics["accuracy"], flow.standing.baselines)
    for mark in flow.standing.marks:
        print(mark.kind, mark.at, "recovered after", mark.recovered, "labels")
    print(f"{flow.events_per_second:,.0f} rows/s; {page}")


def renamed(rows: pl.DataFrame) -> pl.DataFrame:
    """Let the levels of some columns take one another's names."""
    random = np.random.default_rng(0)
    for name in RENAMED:
        if name not in rows.columns:
            continue
        levels = rows[name].drop_nulls().unique().sort().to_list()
        names = dict(zip(levels, random.permutation(levels).tolist(), strict=True))
        rows = rows.with_columns(pl.col(name).replace_strict(names))
    return rows


def told(flow: Flow, change: int) -> dict[str, Any]:
    """Give the mean log loss of the learner and of each expert before and behind the change."""
    course = flow.standing.course
    ends, rows = np.array(course.at), np.array(course.rows, dtype=float)
    parts = {"before": ends <= change, "behind": ends > change, "last quarter": ends > 1.5 * change}
    losses: dict[str, dict[str, float]] = {}
    for who, line in course.lines["log_loss"].items():
        values = np.array([np.nan if one is None else one for one in line])
        there = ~np.isnan(values)
        losses[who] = {
            name: float(np.average(values[part & there], weights=rows[part & there]))
            for name, part in parts.items()
            if (part & there).any()
        }
    marks = [mark.model_dump() for mark in flow.standing.marks]
    return {"log_loss": losses, "marks": marks, "metrics": flow.standing.metrics}


if __name__ == "__main__":
    main()
