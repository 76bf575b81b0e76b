"""Realistic records for the three tasks, made by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pyarrow as pa
import pytest

from thalweg.data.schema import Column, Ignored, Schema
from thalweg.kinds.base import State
from thalweg.models.record import (
    Baseline,
    Curve,
    Epoch,
    Evaluation,
    Figure,
    Importance,
    Rows,
    Slice,
    Training,
)
from thalweg.stats import TableSummary


@final
@dataclass(frozen=True)
class Story:
    """All that a report tells of."""

    name: str
    schema: Schema
    profile: TableSummary
    rows: Rows
    training: Training
    evaluation: Evaluation
    warnings: tuple[str, ...] = ()

    def given(self) -> dict[str, Any]:
        """Give the arguments of `render_report`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def judged(self, **changes: Any) -> Story:
        """Change the evaluation."""
        return replace(self, evaluation=self.evaluation.model_copy(update=changes))


def summed(table: pa.Table) -> TableSummary:
    summary = TableSummary()
    summary.update(table)
    return summary


def figure(value: float, reach: float) -> Figure:
    return Figure(value=value, low=value - reach, high=value + reach)


def training(metric: str, *, same: bool) -> Training:
    epochs = []
    for epoch in range(1, 25):
        loss = 0.30 + 0.45 * np.exp(-epoch / 4) + 0.0009 * max(0, epoch - 15) ** 1.4
        epochs.append(
            Epoch(
                epoch=epoch - 1,
                seconds=2.1,
                learning_rate=3e-3 * min(1.0, epoch / 3) * (1 + np.cos(np.pi * epoch / 40)) / 2,
                train_loss=0.24 + 0.5 * np.exp(-epoch / 5),
                validation_loss=loss,
                metric=loss if same else 105_000 * loss**0.5,
            )
        )
    return Training(
        seed=0,
        settings={
            "source": "adult.parquet",
            "target": "income",
            "minutes": 5.0,
            "drop": ["fnlwgt"],
            "out": None,
            "recipe": {"members": 8, "learning_rate": 3e-3},
        },
        epochs=epochs,
        best_epoch=15,
        stopped="early stopping",
        metric=metric,
        parameters=1_483_920,
        rows_per_second=14_210.0,
        seconds=252.3,
        versions={"thalweg": "0.1.0", "python": "3.11.9", "torch": "2.6.0", "numpy": "2.1.0"},
    )


def people(rows: int = 2000) -> pa.Table:
    random = np.random.default_rng(7)
    jobs = np.array(
        [
            "Sales",
            "Prof-specialty",
            "Craft-repair",
            "Adm-clerical",
            "Tech-support",
            "Farming-fishing",
            "Priv-house-serv",
        ]
    )
    gain = np.where(random.random(rows) < 0.08, random.lognormal(8.5, 1, rows).round(), 0)
    income = np.where(random.random(rows) < 0.24, ">50K", "<=50K")
    hours = random.normal(40, 11, rows).clip(1, 99).round()
    begun = [
        dt.date(1998, 1, 1) + dt.timedelta(days=int(d)) for d in random.integers(0, 3000, rows)
    ]
    missing = random.random(rows) < 0.056
    return pa.table(
        {
            "age": (17 + random.gamma(3.0, 7.5, rows)).clip(17, 90).astype(int),
            "occupation": pa.array(
                jobs[random.choice(7, rows, p=[0.25, 0.2, 0.18, 0.17, 0.1, 0.06, 0.04])],
                mask=missing,
            ),
            "education_num": random.normal(10, 2.5, rows).clip(1, 16).round().astype(int),
            "capital_gain": gain,
            "hours_per_week": hours,
            "hired": begun,
            "married": random.random(rows) < 0.46,
            "出生城市": pa.array(
                np.array(["北京", "上海市浦东新区", "广州", "成都"])[random.integers(0, 4, rows)]
            ),
            "nothing": pa.nulls(rows, pa.string()),
            "row_id": np.arange(rows),
            "income": income,
        }
    )


def schema_of(target: str, kind: str) -> Schema:
    state = State()
    columns = (
        Column("age", "number", state, "numbers, 73 different values"),
        Column("occupation", "category", state, "7 different values"),
        Column("education_num", "number", state, "numbers, 16 different values"),
        Column("capital_gain", "number", state, "text of which 99.8% reads as numbers"),
        Column("hours_per_week", "number", state, "numbers, 94 different values"),
        Column("hired", "datetime", state, "100.0% reads as dates"),
        Column("married", "boolean", state, "true or false"),
        Column("出生城市", "category", state, "4 different values"),
    )
    ignored = (
        Ignored("nothing", "every value is missing"),
        Ignored("row_id", "a row number: whole numbers that count the rows"),
    )
    return Schema(columns, Column(target, kind, state, "2 different values"), ignored)


IMPORTANCES = [
    Importance(column=name, kind=kind, value=value, low=value - 0.003, high=value + 0.004)
    for name, kind, value in (
        ("capital_gain", "number", 0.0612),
        ("married", "boolean", 0.0547),
        ("education_num", "number", 0.0391),
        ("age", "number", 0.0288),
        ("occupation", "category", 0.0201),
        ("hours_per_week", "number", 0.0127),
        ("出生城市", "category", 0.0011),
        ("hired", "datetime", -0.0006),
    )
]

SLICES = [
    Slice(
        where="occupation = 'Prof-specialty'",
        rows=2140,
        loss=0.412,
        rest=0.281,
        value=0.412,
        probability=3e-9,
    ),
    Slice(
        where="age in [36, 47)", rows=4208, loss=0.371, rest=0.270, value=0.371, probability=8e-7
    ),
    Slice(
        where="出生城市 = '上海市浦东新区'",
        rows=377,
        loss=0.342,
        rest=0.292,
        value=0.342,
        probability=0.021,
    ),
]


@pytest.fixture(scope="session")
def binary() -> Story:
    at = np.linspace(0.03, 0.97, 15)
    metrics = {
        "log_loss": figure(0.2932, 0.0071),
        "accuracy": figure(0.8681, 0.0051),
        "roc_auc": figure(0.9213, 0.0044),
        "average_precision": figure(0.8164, 0.0092),
        "f1": figure(0.7121, 0.0102),
        "calibration_error": figure(0.0091, 0.0031),
    }
    evaluation = Evaluation(
        task="binary",
        rows=16_281,
        metric="log_loss",
        metrics=metrics,
        baselines={
            "constant": Baseline(
                metrics={
                    "log_loss": figure(0.5466, 0.005),
                    "accuracy": figure(0.7638, 0.006),
                    "roc_auc": figure(0.5, 0.0),
                },
                seconds=0.01,
            ),
            "linear": Baseline(
                metrics={
                    name: Figure(
                        value=one.value + shift, low=one.low + shift, high=one.high + shift
                    )
                    for (name, one), shift in zip(
                        metrics.items(), (0.027, -0.015, -0.013, -0.041, -0.043, 0.001), strict=True
                    )
                },
                seconds=2.4,
            ),
            "boosted_trees": Baseline(
                metrics={
                    name: Figure(
                        value=one.value + shift, low=one.low + shift, high=one.high + shift
                    )
                    for (name, one), shift in zip(
                        metrics.items(),
                        (-0.0157, 0.0043, 0.0061, 0.0143, 0.0031, -0.002),
                        strict=True,
                    )
                },
                seconds=6.1,
            ),
        },
        classes=["<=50K", ">50K"],
        confusion=[[11_420, 1_015], [1_133, 2_713]],
        threshold=0.4127,
        calibration={
            ">50K": Curve(
                x=at.tolist(),
                y=(at + 0.03 * np.sin(7 * at)).tolist(),
                weight=(9000 * np.exp(-5 * at) + 120).tolist(),
            )
        },
        slices=SLICES,
        importances=IMPORTANCES,
    )
    return Story(
        "adult_model",
        schema_of("income", "category"),
        summed(people()),
        Rows(train=26_048, validation=6_513, test=16_281, dropped=3, rejected=12),
        training("log_loss", same=True),
        evaluation,
        (
            "column 'capital_gain' alone tells the target in 8% of rows: "
            "is it known before the target is?",
        ),
    )


@pytest.fixture(scope="session")
def multiclass(binary: Story) -> Story:
    at = np.linspace(0.05, 0.95, 10)
    names = ["Larix", "Picea", "Pinus", "云杉", "Salix"]
    random = np.random.default_rng(1)
    confusion = random.integers(0, 60, (5, 5)) + np.diag([900, 700, 500, 300, 40])
    metrics = {"log_loss": figure(0.41, 0.02), "accuracy": figure(0.871, 0.012)}
    return binary.judged(
        task="multiclass",
        rows=int(confusion.sum()),
        metrics=metrics,
        baselines={"constant": Baseline(metrics={"log_loss": figure(1.4, 0.02)}, seconds=0.01)},
        classes=names,
        confusion=confusion.tolist(),
        threshold=None,
        calibration={
            name: Curve(
                x=at.tolist(), y=(at ** (1 + 0.1 * place)).tolist(), weight=[100.0 - place] * 10
            )
            for place, name in enumerate(names)
        },
    )


@pytest.fixture(scope="session")
def regression() -> Story:
    random = np.random.default_rng(3)
    predicted = random.gamma(3.2, 62_000, 4000).clip(20_000, 500_000)
    missed = random.normal(0, 0.16 * predicted)
    table = people()
    price = pa.array(random.gamma(3.2, 62_000, table.num_rows).round())
    table = table.drop_columns(["income"]).append_column("median_house_value", price)
    evaluation = Evaluation(
        task="regression",
        rows=4128,
        metric="rmse",
        metrics={
            "rmse": figure(46_210, 1_350),
            "mae": figure(30_120, 730),
            "r2": figure(0.8379, 0.0091),
            "coverage": figure(0.897, 0.009),
        },
        baselines={
            "constant": Baseline(
                metrics={
                    "rmse": figure(115_300, 1_700),
                    "mae": figure(91_000, 1_300),
                    "r2": figure(0.0, 0.001),
                },
                seconds=0.01,
            ),
            "linear": Baseline(
                metrics={
                    "rmse": figure(68_900, 1_800),
                    "mae": figure(49_700, 1_000),
                    "r2": figure(0.64, 0.015),
                },
                seconds=0.2,
            ),
            "boosted_trees": Baseline(
                metrics={
                    "rmse": figure(45_400, 1_300),
                    "mae": figure(29_700, 720),
                    "r2": figure(0.8441, 0.009),
                },
                seconds=5.0,
            ),
        },
        residuals=Curve(x=predicted.tolist(), y=missed.tolist()),
        slices=[
            one.model_copy(
                update={"value": 98_000 * one.value, "loss": 4e9 * one.loss, "rest": 4e9 * one.rest}
            )
            for one in SLICES
        ],
        importances=[
            one.model_copy(
                update={"value": 5e5 * one.value, "low": 5e5 * one.low, "high": 5e5 * one.high}
            )
            for one in IMPORTANCES
        ],
    )
    return Story(
        "housing_model",
        schema_of("median_house_value", "number"),
        summed(table),
        Rows(train=14_448, validation=2_064, test=4_128),
        training("rmse", same=False),
        evaluation,
    )
