"""Real tables: Thalweg beside its rivals on the same splits, several seeds.

    python benchmarks/tables.py --data ../shared/data --seeds 3 --minutes 5 --out bench-results

Every run is ``thalweg.train`` with defaults: the target, and where rows belong together the
group. Its baselines are trained on the same rows and judged on the same test rows. Finished
runs are kept in ``--out`` and not run again; ``--table`` prints Markdown from what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

RIVALS = ("linear", "forest", "boosting", "catboost")


@dataclass(frozen=True)
class Table:
    """One task: where it lies, what is predicted, what must not be read."""

    name: str
    path: str
    target: str
    metric: str
    test: str | None = None
    split: str = "random"
    drop: tuple[str, ...] = ()
    rivals: tuple[str, ...] = RIVALS


CLAIMS = "tabular/insurance_claims_beMTPL97.parquet"
TABLES = (
    Table("california", "tabular/california_housing.parquet", "median_house_value", "rmse"),
    Table(
        "adult",
        "tabular/adult_train.parquet",
        "income",
        "roc_auc",
        test="tabular/adult_test.parquet",
    ),
    Table("mammography", "tabular/mammography.parquet", "class", "average_precision"),
    Table(
        "diabetes",
        "tabular/diabetes_readmission.parquet",
        "readmitted",
        "log_loss",
        split="group:patient_nbr",
        # CatBoost needs over ten minutes for three classes of 81,000 rows on two cores.
        rivals=("linear", "forest", "boosting"),
    ),
    Table("credit", "tabular/credit_status.parquet", "Status", "roc_auc"),
    Table("heart", "tabular/heart_disease.parquet", "HeartDisease", "roc_auc"),
    Table("lending", "tabular/lending_club.parquet", "Class", "roc_auc"),
    Table("pima", "tabular/pima_diabetes.parquet", "class", "roc_auc"),
    Table("claim", CLAIMS, "claim", "roc_auc", drop=("nclaims", "amount", "average")),
    Table("nclaims", CLAIMS, "nclaims", "rmse", drop=("claim", "amount", "average")),
    Table("deliveries", "logistics/food_deliveries.parquet", "time_to_delivery", "rmse"),
    Table("tips", "logistics/chicago_taxi_tips.parquet", "tip", "roc_auc"),
)


def run(table: Table, seed: int, data: Path, minutes: float, out: Path) -> None:
    """Train and judge once, and keep the figures."""
    import thalweg

    kept = out / f"{table.name}-{seed}.json"
    if kept.exists():
        return
    began = time.monotonic()
    columns = {"nclaims": "number"} if table.target == "nclaims" else {}
    model = thalweg.train(
        data / table.path,
        table.target,
        test=None if table.test is None else data / table.test,
        split=table.split,
        drop=table.drop,
        columns=columns,
        minutes=minutes,
        seed=seed,
        baselines=("constant", *table.rivals),
    )
    judged = model.evaluation
    result = {
        "metric": table.metric,
        "rows": model.rows.model_dump(),
        "thalweg": judged.metrics[table.metric].model_dump() | {"seconds": model.training.seconds},
        "seconds": time.monotonic() - began,
    }
    for name, rival in judged.baselines.items():
        if table.metric in rival.metrics:
            result[name] = rival.metrics[table.metric].model_dump() | {"seconds": rival.seconds}
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(result, indent=1))
    print(table.name, seed, {k: v["value"] for k, v in result.items() if "value" in _dict(v)})


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def markdown(out: Path) -> str:
    """Write what was measured as a table: the mean over seeds, and one seed's interval."""
    systems = ("thalweg", *RIVALS)
    lines = [
        "| table | metric | seeds | "
        + " | ".join(systems)
        + " | seconds: "
        + ", ".join(systems)
        + " |",
        "|---" * (len(systems) + 4) + "|",
    ]
    ranks: dict[str, list[float]] = {system: [] for system in systems}
    for table in TABLES:
        found = [json.loads(p.read_text()) for p in sorted(out.glob(f"{table.name}-*.json"))]
        if not found:
            continue
        means = {s: statistics.mean(f[s]["value"] for f in found) for s in systems if s in found[0]}
        lower = table.metric in ("rmse", "log_loss")
        for one in found:
            values = {s: one[s]["value"] * (1 if lower else -1) for s in systems if s in one}
            for system, value in values.items():
                better = sum(other < value for other in values.values())
                ties = sum(other == value for other in values.values())
                ranks[system].append(better + (ties + 1) / 2)
        best = (min if lower else max)(means.values())
        cells = []
        for system in systems:
            if system not in means:
                cells.append("-")
                continue
            shown = f"{means[system]:,.0f}" if means[system] > 1000 else f"{means[system]:.4f}"
            first = found[0][system]
            spread = (
                f"{first['low']:,.0f} to {first['high']:,.0f}"
                if means[system] > 1000
                else f"{first['low']:.4f} to {first['high']:.4f}"
            )
            mark = "**" if means[system] == best else ""
            cells.append(f"{mark}{shown}{mark} ({spread})")
        seconds = ", ".join(
            f"{statistics.mean(f[s]['seconds'] for f in found):.1f}"
            for s in systems
            if s in found[0]
        )
        lines.append(
            f"| {table.name} | {table.metric} | {len(found)} | "
            + " | ".join(cells)
            + f" | {seconds} |"
        )
    mean_ranks = [f"{statistics.mean(r):.2f}" if (r := ranks[s]) else "-" for s in systems]
    lines.append(f"| **mean rank** | | | {' | '.join(mean_ranks)} | |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not there yet, or print what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", nargs="*", help="names of tables")
    parser.add_argument("--table", action="store_true", help="print Markdown and run nothing")
    given = parser.parse_args()
    if not given.table:
        for seed in range(given.seeds):
            for table in TABLES:
                if not given.only or table.name in given.only:
                    run(table, seed, given.data, given.minutes, given.out)
    print(markdown(given.out))


if __name__ == "__main__":
    main()
