"""Odd rows without labels: the network beside an isolation forest and others, on real tables.

    python benchmarks/anomalies.py --data DIR --out DIR [--seeds 3] [--tables mammography,pima]

Labels are taken off, every method learns from all rows and scores them, and only then it is looked
at which rows the labels call odd: ROC AUC and average precision, the mean over seeds. Where odd
rows are many, some are left out by seed, as is the custom (Emmott et al. 2013), so that one in ten
or twenty is odd. Tables that are not in DIR are passed over; three come with scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.metrics import average_precision_score, roc_auc_score

import thalweg
from thalweg.data.infer import fit_schema
from thalweg.lab.design import design
from thalweg.lab.detectors import DETECTORS
from thalweg.stats import TableSummary

Table = tuple[pl.DataFrame, NDArray[np.bool_]]

FILES = {
    # name: file, column of the labels, the odd one, the share of odd rows that is kept (None: all)
    "mammography": ("tabular/mammography.parquet", "class", "'1'", None),
    "lending_club": ("tabular/lending_club.parquet", "Class", "bad", None),
    "pima": ("tabular/pima_diabetes.parquet", "class", "1", None),
    "heart": ("tabular/heart_disease.parquet", "HeartDisease", "1", 0.1),
    "credit": ("tabular/credit_status.parquet", "Status", "bad", 0.1),
    "donors": ("big/donors_imbalanced.parquet", "y", "1", None),
    "skin": ("big/skin_segmentation.parquet", "class", "1", 0.1),
}
MADE: dict[str, tuple[Callable[[], Any], int, float]] = {
    "breast_cancer": (datasets.load_breast_cancer, 0, 0.05),
    "wine": (datasets.load_wine, 0, 0.08),
    "digits": (datasets.load_digits, 0, 0.05),
}
MOST_ROWS = 10_000


def tables(data: Path, seed: int, names: list[str]) -> Iterator[tuple[str, Table]]:
    """Give every table that is there: rows without labels, and which are odd."""
    for name, (file, column, odd, share) in FILES.items():
        if name in names and (data / file).exists():
            rows = pl.read_parquet(data / file)
            if len(rows) > 2 * MOST_ROWS:
                rows = rows.sample(MOST_ROWS, seed=seed)
            truth = (rows[column].cast(pl.String) == odd).to_numpy()
            yield name, thinned(rows.drop(column), truth, share, seed)
    for name, (load, code, share) in MADE.items():
        if name in names:
            found = load()
            columns = [f"column {place}" for place in range(found.data.shape[1])]
            rows = pl.DataFrame(found.data, schema=columns)
            yield name, thinned(rows, found.target == code, share, seed)


def thinned(rows: pl.DataFrame, odd: NDArray[np.bool_], share: float | None, seed: int) -> Table:
    """Leave out odd rows, until they are a share of all."""
    if share is None:
        return rows, odd
    most = int((~odd).sum() * share / (1 - share))
    random = np.random.default_rng(seed)
    some = random.choice(np.flatnonzero(odd), min(most, int(odd.sum())), replace=False)
    kept = np.sort(np.concatenate([np.flatnonzero(~odd), some]))
    return rows[kept], odd[kept]


def scored(rows: pl.DataFrame, seed: int) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Let every method learn from the rows and score them; with the CPU seconds that it took."""
    table = rows.to_arrow()
    began = time.process_time()
    model = thalweg.train(rows, seed=seed, baselines=[], minutes=2)
    scores = model.predict(table).columns["anomaly_score"].to_numpy()
    found = {"thalweg": (scores, time.process_time() - began)}
    summary = TableSummary()
    for batch in table.to_batches():
        summary.update(batch)
    schema = fit_schema(summary)
    seen = design(schema.encode(table).fields, schema)
    for name, detector in DETECTORS.items():
        began = time.process_time()
        found[name] = detector.scores(seen, seen, seed), time.process_time() - began
    return found


def main() -> None:
    """Measure, print a table and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", default=",".join([*FILES, *MADE]))
    given = parser.parse_args()
    figures: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for seed in range(given.seeds):
        for name, (rows, odd) in tables(given.data, seed, given.tables.split(",")):
            for method, (scores, seconds) in scored(rows, seed).items():
                area = float(roc_auc_score(odd, scores))
                precision = float(average_precision_score(odd, scores))
                figures.setdefault(name, {}).setdefault(method, []).append(
                    (area, precision, seconds)
                )
            print(seed, name, len(rows), summed(figures[name]), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "anomalies.json").write_text(json.dumps(figures, indent=1))
    print("\nmean over seeds: ROC AUC / average precision / CPU seconds")
    for name, methods in figures.items():
        print(f"{name:14}", summed(methods))
    means = {
        method: [
            tuple(np.mean([np.mean(table[method], axis=0) for table in figures.values()], axis=0))
        ]
        for method in next(iter(figures.values()))
    }
    print(f"{'mean':14}", summed(means))


def summed(methods: dict[str, list[tuple[float, float, float]]]) -> str:
    """Write the mean over seeds of every method."""
    words = []
    for method, runs in methods.items():
        area, precision, seconds = np.mean(runs, axis=0)
        words.append(f"{method} {area:.3f}/{precision:.3f}/{seconds:.1f}s")
    return "  ".join(words)


if __name__ == "__main__":
    main()
