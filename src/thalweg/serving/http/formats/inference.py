"""The Open Inference Protocol, version 2, over REST: one tensor a column, as JSON or as bytes.

What KServe, Triton and MLServer speak, so that their clients do. An answer's columns are its
outputs. Where rows have no answer, an output ``error`` says why, and what is amiss about others
stands in ``warnings``: texts, empty where there is nothing to say; where they are asked for, they
come even if no row has any. Explained rows bring ``contribution.<column>``, ``baseline`` and
``explains``. In a row without an answer numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import near
from thalweg.data.schema import Column
from thalweg.models.compiled import CompiledModel
from thalweg.models.decoder import Answers
from thalweg.serving.http.formats.base import MOST_ROWS, require_few
from thalweg.serving.http.formats.json import parse, type_of
from thalweg.serving.http.formats.tensors import (
    BYTES,
    DATATYPES,
    Tensor,
    as_texts,
    datatype_of,
    from_bytes,
    from_json,
    is_unicode,
    to_bytes,
    values_of,
)
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader
from thalweg.serving.http.refusal import BodyError

HEADER: Final = "inference-header-content-length"
"""The header that says how many bytes are JSON, where others stand behind it."""

FEW: Final = 64
"""So many rows are read as JSON rows are: for them a table would take longer."""

WANTED: Final = '{"inputs": [{"name": ..., "shape": [rows], "datatype": ..., "data": [...]}]}'

_REFUSED: Final = ("shared_memory_region", "classification")
"""What would be another answer if it were passed over."""

PASSED: Final = (
    *("binary_data_output", "content_type", "headers", "priority", "timeout"),
    *("sequence_id", "sequence_start", "sequence_end"),
)
"""What clients say of a request that changes no answer here, and how its outputs are written."""

_TOLD: Final = ("error", "warnings")
"""The outputs that say something of rows, and nothing where there is nothing to say."""


@final
@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says beside its rows.

    Parameters
    ----------
    id
        Sent back; None for none.
    outputs
        The outputs that are wanted, each with whether as bytes; empty for all.
    binary
        Whether outputs come as bytes where nothing else is said of them.
    """

    id: str | None = None
    outputs: tuple[tuple[str, bool], ...] = ()
    binary: bool = False


def server(version: str) -> dict[str, Any]:
    """Say what answers ``GET /v2``: the server's name, version and extensions."""
    return {"name": "thalweg", "version": version, "extensions": ["binary_tensor_data"]}


def described(name: str, versions: Sequence[str], model: CompiledModel) -> dict[str, Any]:
    """Say what answers ``GET /v2/models/NAME``: a model's inputs and outputs."""
    nobody = model.decoder.columns(_nobody(model))
    known = {column.name: column for column in model.schema.columns}
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [_input(name, known.get(name)) for name in model.columns],
        "outputs": [
            {"name": name, "datatype": datatype_of(array.type), "shape": [-1]}
            for name, array in nobody.items()
        ]
        + [{"name": name, "datatype": BYTES, "shape": [-1]} for name in _TOLD],
    }


def question(
    body: bytes, header_length: int | None, reader: Reader, most_rows: int = MOST_ROWS
) -> tuple[Question, Wish]:
    """Read a request.

    Parameters
    ----------
    body
        As it came, decompressed.
    header_length
        What the header `HEADER` says; None where it is missing.
    reader, most_rows
        See `thalweg.serving.http.formats.base.Format.question`.

    Raises
    ------
    BodyError
        Where it cannot be read at all.
    """
    if header_length is not None and not 0 <= header_length <= len(body):
        raise BodyError(
            f"{HEADER}: {header_length} where the body has {len(body)} bytes", "a part of the body"
        )
    found = parse(body if header_length is None else body[:header_length], WANTED)
    if not isinstance(found, dict):
        raise BodyError(f"a body that is {type_of(found)}", WANTED)
    wish = _wish(found)
    rest = memoryview(body)[len(body) if header_length is None else header_length :]
    tensors = _tensors(found, rest, most_rows)
    return _asked(tensors, reader), wish


def answer(answer: Answer, wish: Wish) -> tuple[bytes, int | None]:
    """Write an answer; give how many bytes are JSON where others stand behind it.

    Raises
    ------
    BodyError
        Where an output is wanted that there is none of.
    """
    columns = _outputs(answer, {name for name, _ in wish.outputs})
    for name, _ in wish.outputs:
        if name not in columns:
            raise BodyError(f"output {name!r} not found", "an output", near(name, columns))
    wanted = wish.outputs or tuple((name, wish.binary) for name in columns)
    outputs: list[dict[str, Any]] = []
    behind: list[bytes] = []
    for name, binary in wanted:
        datatype, values = columns[name]
        told: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(values)]}
        if binary:
            behind.append(to_bytes(values, datatype))
            told["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            told["data"] = values if isinstance(values, list) else values.tolist()
        outputs.append(told)
    whole: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if wish.id is not None:
        whole["id"] = wish.id
    header = orjson.dumps(whole | {"outputs": outputs})
    return (b"".join([header, *behind]), len(header)) if behind else (header, None)


def _nobody(model: CompiledModel) -> Answers:
    """Give answers to no rows."""
    none = np.zeros(0)
    task = model.decoder.task
    if task == "regression":
        bounded = model.decoder.calibration.radius is not None
        return Answers(none, none, none) if bounded else Answers(none)
    if task == "anomaly":
        return Answers(none, surprise=np.zeros((0, max(1, len(model.decoder.foretold)))))
    return Answers(np.zeros((0, len(model.decoder.classes))))


def _input(name: str, column: Column | None) -> dict[str, Any]:
    """Describe the tensor of a column; a column that is only filled along is a number."""
    if column is None:
        return {"name": name, "datatype": "FP64", "shape": [-1]}
    state: Any = column.state
    datatypes = {"number": "FP64", "boolean": "BOOL", "vector": "FP64"}
    datatype = datatypes.get(column.kind, BYTES)
    if column.kind == "category":
        forms = {"boolean": "BOOL", "whole": "INT64", "real": "FP64"}
        datatype = forms.get(state.form, BYTES)
    if column.kind == "datetime" and state.unit is not None:
        datatype = "FP64"
    shape = [-1, state.size] if column.kind == "vector" else [-1]
    return {"name": name, "datatype": datatype, "shape": shape}


def _wish(found: Mapping[str, Any]) -> Wish:
    """Read what a request says beside its rows."""
    given = found.get("id")
    if given is not None and not isinstance(given, str):
        raise BodyError(f"an id that is {type_of(given)}", "a text")
    if given is not None and not is_unicode(given):
        raise BodyError("an id with half a character", "text that is Unicode")
    said = _parameters(found, "the request")
    for name in said:
        if name not in PASSED:
            mend = "Ask with ?explain=true in the address." if name == "explain" else ""
            raise BodyError(
                f"the parameter {name[:40]!r} of the request",
                "one that is known",
                mend or near(name[:40], PASSED),
            )
    binary = said.get("binary_data_output") is True
    outputs = found.get("outputs") or []
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise BodyError("outputs that are no list of objects", '[{"name": ...}]')
    wanted = []
    for one in outputs:
        name = one.get("name")
        if not isinstance(name, str):
            raise BodyError("an output without a name", '{"name": ...}')
        as_bytes = _parameters(one, f"output {name!r}").get("binary_data", binary)
        wanted.append((name, as_bytes is True))
    return Wish(given, tuple(dict(wanted).items()), binary)


def _parameters(found: Mapping[str, Any], whose: str) -> Mapping[str, Any]:
    """Give parameters, but for those that ask for what is not offered."""
    parameters = found.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BodyError(f"parameters of {whose} that are no object", '{"name": value}')
    for name in _REFUSED:
        if name in parameters:
            raise BodyError(f"the parameter {name!r} of {whose}", "one that is offered")
    return parameters


def _tensors(found: Mapping[str, Any], rest: memoryview, most_rows: int) -> list[Tensor]:
    """Read a request's tensors, and all bytes behind it."""
    inputs = found.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise BodyError("a request without inputs", WANTED)
    tensors: list[Tensor] = []
    for one in inputs:
        name, datatype, shape = _head(one, most_rows)
        size = _parameters(one, f"input {name!r}").get("binary_data_size")
        if size is None:
            tensors.append(from_json(name, datatype, shape, one.get("data")))
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise BodyError(
                f"binary_data_size {size!r:.20} of input {name!r}",
                f"at most the {len(rest):,} bytes that are left behind the JSON",
            )
        if "data" in one:
            raise BodyError(f"input {name!r} as data and as bytes", "one of the two")
        tensors.append(from_bytes(name, datatype, shape, rest[:size]))
        rest = rest[size:]
    if len(rest):
        raise BodyError(f"{len(rest):,} bytes more than the inputs have", "none")
    if len({one.rows for one in tensors}) > 1:
        told = ", ".join(f"{one.name!r} {one.rows}" for one in tensors[:8])
        raise BodyError(f"inputs of different numbers of rows ({told})", "as many in each")
    if len({one.name for one in tensors}) < len(tensors):
        raise BodyError("two inputs of one name", "a name for each")
    return tensors


def _head(one: object, most_rows: int) -> tuple[str, str, tuple[int, ...]]:
    """Read what a tensor says of itself."""
    if not isinstance(one, dict):
        raise BodyError(f"an input that is {type_of(one)}", WANTED)
    name, datatype, shape = one.get("name"), one.get("datatype"), one.get("shape")
    if not isinstance(name, str):
        raise BodyError("an input without a name", WANTED)
    if not is_unicode(name):
        raise BodyError(
            f"an input's name with half a character ({name[:40]!r})", "text that is Unicode"
        )
    if datatype not in DATATYPES:
        raise BodyError(
            f"datatype {str(datatype)[:20]!r} of input {name[:80]!r}", ", ".join(DATATYPES)
        )
    whole = isinstance(shape, list) and 1 <= len(shape) <= 4
    if not whole or not all(type(size) is int and 0 <= size < 2**31 for size in shape or ()):
        raise BodyError(f"shape {str(shape)[:40]} of input {name[:80]!r}", "[rows] or [rows, n]")
    require_few(shape[0], most_rows)  # type: ignore[index]
    return name, str(datatype), tuple(shape)  # type: ignore[arg-type]


def _asked(tensors: Sequence[Tensor], reader: Reader) -> Question:
    """Put tensors [N, ...] to columns."""
    columns: dict[str, NDArray[Any] | list[Any]] = {}
    rows = tensors[0].rows
    for tensor in tensors:
        name = tensor.name
        if len(tensor.shape) > 1 and "lists" in reader.holds.get(name, ()):
            columns[name] = tensor.lists()
        elif tensor.width == 1:
            columns[name] = tensor.values
        elif name not in reader.holds and tensor.width == len(reader.groups.get(name, ())):
            columns |= {one: tensor.column(at) for at, one in enumerate(reader.groups[name])}
        else:
            raise BodyError(
                f"shape {list(tensor.shape)} of input {name!r}", f"[{rows}] or [{rows}, 1]"
            )
    if reader.names.isdisjoint(columns):
        first = next(iter(columns))[:80]
        told = f"input {first!r} is no column of the model"
        raise BodyError(
            told if len(columns) == 1 else f"{told}, nor is any other input",
            "one or more of its columns",
            near(first, reader.model.columns),
            422,
        )
    for name, values in columns.items():
        if isinstance(values, list) and "bytes" not in reader.holds.get(name, ()):
            columns[name] = as_texts(values)
    table = None if rows <= FEW or reader.holds_bytes else _table(columns)
    if table is not None:
        return reader.table(table)
    cells = [one if isinstance(one, list) else one.tolist() for one in columns.values()]
    names = list(columns)
    return reader.rows([dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)])


def _table(columns: Mapping[str, NDArray[Any] | list[Any]]) -> pa.Table | None:
    """Hold columns [N] as Arrow; None where one holds cells that it cannot hold together."""
    if any(isinstance(one, list) and bytes in set(map(type, one)) for one in columns.values()):
        return None
    try:
        return pa.table({name: pa.array(cells) for name, cells in columns.items()})
    except (pa.ArrowException, OverflowError, UnicodeError):
        # Whole numbers too large for its types, or half a character: rows have a way with each.
        return None


def _outputs(
    answer: Answer, wanted: Container[str]
) -> dict[str, tuple[str, NDArray[Any] | list[str]]]:
    """Give each output's datatype and values [N]; what is told of rows where there is any."""
    asked = answer.question
    batch = answer.columns
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    if (found := answer.contributions) is not None:
        for name, values in zip(found.columns, found.values.T, strict=True):
            columns[f"contribution.{name}"] = pa.array(values)
        columns["baseline"] = pa.array(found.baseline)
        columns["explains"] = pa.array(found.of, pa.string())
    columns = answer.spread(columns)
    outputs = {}
    for name, column in columns.items():
        datatype = datatype_of(column.type)
        outputs[name] = datatype, values_of(column, datatype)
    each = range(asked.rows)
    if answer.errors or "error" in wanted:
        outputs["error"] = BYTES, [answer.errors.get(row, "") for row in each]
    if asked.warnings or "warnings" in wanted:
        outputs["warnings"] = BYTES, ["; ".join(asked.warnings.get(row, ())) for row in each]
    return outputs
