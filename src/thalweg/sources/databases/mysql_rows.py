"""Arrow rows as MySQL's statements: a table for a schema, and inserts of many rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from thalweg.core.errors import SourceError

if TYPE_CHECKING:
    import polars as pl


def made(table: str, schema: pa.Schema) -> str:
    """Write the statement that makes a table for rows.

    Examples
    --------
    >>> made("`t`", pa.schema([("a", pa.int8()), ("b", pa.string())]))
    'CREATE TABLE `t` (`a` TINYINT, `b` LONGTEXT) ENGINE=InnoDB CHARACTER SET utf8mb4'
    """
    columns = ", ".join(f"{_name(field.name)} {_type(field)}" for field in schema)
    return f"CREATE TABLE {table} ({columns}) ENGINE=InnoDB CHARACTER SET utf8mb4"


def statements(table: str, rows: pa.RecordBatch, most: int) -> Iterator[bytes]:
    r"""Write the inserts for rows, none much longer than some bytes.

    Examples
    --------
    >>> rows = pa.record_batch({"a": [1, None], "b": ["it's", None]})
    >>> next(statements("`t`", rows, 1000)).decode()
    "INSERT INTO `t` (`a`, `b`) VALUES (1,'it\\'s'),(NULL,NULL)"
    """
    import polars as pl

    names = ", ".join(map(_name, rows.schema.names))
    head = f"INSERT INTO {table} ({names}) VALUES ".encode()
    if not rows.num_rows:
        return
    frame = pl.DataFrame(pl.from_arrow(rows))
    cells = [_cells(pl.col(name), frame.schema[name]) for name in frame.columns]
    joined = pl.concat_str([pl.lit("("), pl.concat_str(cells, separator=","), pl.lit(")")])
    lines = frame.select(joined.alias("")).to_series()
    ends = np.cumsum(lines.str.len_bytes().to_numpy().astype(np.int64) + 1)
    start = 0
    while start < len(lines):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        piece = lines.slice(start, end - start)
        yield head + str(piece.str.join(",").item()).encode()
        start = end


def _cells(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Write a column's values as literals."""
    import polars as pl

    if kind in (pl.String, pl.Categorical):
        text = column.cast(pl.String)
        for sign, written in (("\\", "\\\\"), ("'", "\\'"), ("\0", "\\0")):
            text = text.str.replace_all(sign, written, literal=True)
        text = _between("'", text)
    elif kind == pl.Binary:
        text = _between("X'", column.bin.encode("hex"))
    elif kind == pl.Boolean:
        text = column.cast(pl.Int8).cast(pl.String)
    elif kind.is_float():
        # There is no other number in MySQL: what is none is missing.
        text = pl.when(column.is_finite()).then(column).cast(pl.String)
    elif isinstance(kind, pl.Datetime):
        text = _between("'", column.dt.replace_time_zone(None).dt.strftime("%F %T%.6f"))
    elif kind == pl.Time:
        text = _between("'", column.dt.strftime("%T%.6f"))
    elif kind == pl.Date:
        text = _between("'", column.dt.strftime("%F"))
    else:
        text = column.cast(pl.String)
    return text.fill_null("NULL")


def _between(mark: str, text: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.concat_str([pl.lit(mark), text, pl.lit("'")])


def _type(field: pa.Field) -> str:
    """Name MySQL's type for an Arrow one.

    Raises
    ------
    SourceError
        Where there is none.
    """
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_integer(kind):
        size = {8: "TINYINT", 16: "SMALLINT", 32: "INT", 64: "BIGINT"}[kind.bit_width]
        return f"{size} UNSIGNED" if pa.types.is_unsigned_integer(kind) else size
    if pa.types.is_decimal(kind) and kind.precision <= 65 and 0 <= kind.scale <= 30:
        return f"DECIMAL({kind.precision},{kind.scale})"
    kinds = (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_float64, "DOUBLE"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_string, "LONGTEXT"),
        (pa.types.is_large_string, "LONGTEXT"),
        (pa.types.is_null, "LONGTEXT"),
        (pa.types.is_binary, "LONGBLOB"),
        (pa.types.is_large_binary, "LONGBLOB"),
        (pa.types.is_fixed_size_binary, "LONGBLOB"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_timestamp, "DATETIME(6)"),
        (pa.types.is_time, "TIME(6)"),
    )
    for fits, name in kinds:
        if fits(kind):
            return name
    raise SourceError(
        f"column {field.name!r} is of the type {field.type}, for which MySQL has none",
        "numbers, texts, bytes, dates and times",
        "Leave it out, or write to a file or to PostgreSQL.",
    )


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
