"""What schemathesis must know beside the document: how rows are written as lines and as Arrow.

::

    PYTHONPATH=tests/serving/http SCHEMATHESIS_HOOKS=hooks schemathesis run URL/openapi.json
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import schemathesis
from schemathesis import DeserializationContext, Response, SerializationContext


@schemathesis.serializer("application/x-ndjson")
def lines(context: SerializationContext, rows: Any) -> bytes:
    """Write a row a line, and what is no list of rows as one line."""
    found = rows if isinstance(rows, list) else [rows]
    return "".join(json.dumps(row) + "\n" for row in found).encode()


@schemathesis.deserializer("application/x-ndjson")
def read_lines(context: DeserializationContext, response: Response) -> Any:
    """Read a row's answer a line."""
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.serializer("application/vnd.apache.arrow.stream")
def stream(context: SerializationContext, rows: Any) -> bytes:
    """Write one row as a stream, whatever was thought of."""
    table = pa.table({"age": [37]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written
