"""Write a table of several labels a row: one column ``labels`` holds a list of those that apply.

The tables in ``multilabel`` have a column of 0 and 1 for each label; ``labels.json`` beside them
says which columns these are. Usage: ``python examples/multilabel.py ../shared/data/multilabel
emotions demo/emotions.parquet``. A name that ends in ``.csv`` gets text, ``happy|calm``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl


def main(folder: Path, name: str, path: Path) -> None:
    """Write one of the tables, its labels gathered in its last column."""
    labels = json.loads((folder / "labels.json").read_text())[name]["labels"]
    table = pl.read_parquet(folder / f"{name}.parquet")
    named = [pl.when(pl.col(label).cast(pl.Int64) == 1).then(pl.lit(label)) for label in labels]
    gathered = pl.concat_list(named).list.drop_nulls().alias("labels")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = table.with_columns(gathered).drop(labels)
    if path.suffix == ".csv":
        whole.with_columns(pl.col("labels").list.join("|")).write_csv(path)
    else:
        whole.write_parquet(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
