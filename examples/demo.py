"""Write a real table as CSV: 1,797 handwritten digits, 64 pixels each, and what was written.

The table ships inside scikit-learn (Alpaydin and Kaynak 1998, UCI, CC BY 4.0), so that the
demonstration needs no download. Usage: ``python examples/demo.py demo/digits.csv``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from sklearn.datasets import load_digits


def main(path: Path) -> None:
    """Write the table, with the digit in its last column."""
    digits = load_digits()
    table = pl.DataFrame(digits.data, schema=digits.feature_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.with_columns(pl.Series("digit", digits.target)).write_csv(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
