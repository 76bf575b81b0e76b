"""Rows as payloads: the bytes that an outlet sends."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from thalweg.sources.streams.base import Format


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

FEW: Final = 32
"""So many rows are written one by one: to set up more for them would take longer."""


def payloads_of(rows: pa.RecordBatch, form: Format) -> pa.LargeBinaryArray:
    """Write rows as payloads.

    Parameters
    ----------
    rows
        Rows [N].
    form
        ``json`` and ``csv`` give a payload for each row, ``arrow`` one for all of them.

    Returns
    -------
    pyarrow.LargeBinaryArray
        The payloads [N], or [1]; none of no rows.

    Examples
    --------
    >>> rows = pa.record_batch({"card": ["a", "b"], "amount": [1.5, None]})
    >>> payloads_of(rows, "json").to_pylist()
    [b'{"card":"a","amount":1.5}', b'{"card":"b","amount":null}']
    """
    if not rows.num_rows:
        return pa.array([], pa.large_binary())
    if form == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_batch(rows)
        return pa.array([sink.getvalue().to_pybytes()], pa.large_binary())
    if form == "json" and rows.num_rows <= FEW and all(map(_is_plain, rows.schema.types)):
        return pa.array([_object(row) for row in rows.to_pylist()], pa.large_binary())
    import polars as pl

    frame = pl.DataFrame(pa.Table.from_batches([rows]))
    frame = frame.with_columns(pl.col(pl.Binary).bin.encode("base64"))
    if form == "json":
        objects = frame.select(pl.struct(pl.all()).struct.json_encode().alias("row"))["row"]
        return objects.to_arrow().cast(pa.large_binary())
    # A line break in a cell would part the line: JSON has room for such cells, CSV lines do not.
    texts = pl.col(pl.String).str.replace_all(r"[\r\n]+", " ")
    return lines_of(frame.with_columns(texts).write_csv(include_header=False).encode())


def _is_plain(kind: pa.DataType) -> bool:
    """Say whether values of a type are in JSON what they are in Python."""
    types = pa.types
    texts = types.is_string(kind) or types.is_large_string(kind)
    numbers = types.is_integer(kind) or types.is_float64(kind)
    return bool(texts or numbers or types.is_boolean(kind))


def _object(row: dict[str, Any]) -> bytes:
    """Write one row; JSON has no numbers that are not finite."""
    try:
        return _ENCODER.encode(row).encode()
    except ValueError:
        odd = [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
        return _ENCODER.encode({**row, **dict.fromkeys(odd)}).encode()


def lines_of(text: bytes) -> pa.LargeBinaryArray:
    r"""Part lines, each ended by a line feed.

    Examples
    --------
    >>> lines_of(b"a\nbc\n").to_pylist()
    [b'a', b'bc']
    """
    data = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n")).astype(np.int64)
    kept = np.delete(data, ends)
    offsets = np.concatenate(([0], ends - np.arange(len(ends))))
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(kept)]
    )
