"""Real tables go through every format and come back with the same values."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.sources import WRITERS, open_sink, open_source

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
TABLES = {
    "tabular/adult_train.parquet": 20_000,
    "dirty/online_retail.parquet": 20_000,
    "tabular/diabetes_IDs_mapping.csv": 100,
}


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@pytest.mark.parametrize("name", TABLES)
def test_values_survive(name: str, suffix: str, tmp_path: Path) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not here")
    source = open_source(DATA / name)
    rows = pa.Table.from_batches([batch.rows for batch in source.batches()], source.schema())
    rows = rows.slice(0, TABLES[name])
    assert rows.num_rows
    path = tmp_path / f"rows{suffix}"
    with open_sink(path) as sink:
        for batch in rows.to_batches(max_chunksize=7_000):
            sink.write(batch)
    read = open_source(path)
    found = pa.Table.from_batches([b.rows for b in read.batches(size=999)], read.schema())
    assert not any(batch.rejects for batch in read.batches())
    assert found.schema.names == rows.schema.names
    for column in rows.schema.names:
        cells = rows.column(column)
        if pa.types.is_dictionary(cells.type):  # How texts are held in memory is in no file.
            cells = cells.cast(cells.type.value_type)
        is_typed = suffix in (".parquet", ".pq", ".arrow", ".arrows", ".feather", ".ipc")
        kind = found.schema.field(column).type
        assert not is_typed or kind.equals(rows.schema.field(column).type) or kind == cells.type
        assert found.column(column).cast(cells.type).equals(cells), column
