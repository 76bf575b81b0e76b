"""The OpenAPI document: every path of the server, with the served models' own columns.

It says what should be sent. More is answered than that: columns and cells of other forms get a
warning, or an error for their row alone, so that one odd cell never costs a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final
from urllib.parse import quote

import orjson

from thalweg.serving.http.columns import (
    Cell,
    Described,
    Field,
    Json,
    answer_types,
    example,
    fields,
)
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.operations import (
    ERROR,
    ERRORS,
    EXPLAIN,
    JSON,
    SCHEMAS,
    about,
    error,
    errors,
    health,
    open_inference,
    ref,
)

__all__ = ["document"]

NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"

_HEADERS: Final[Json] = {
    "x-thalweg-model": {
        "description": "The model that answers.",
        "schema": {"type": "string"},
    },
    "x-thalweg-version": {
        "description": "Its version: 12 hexadecimal digits of weights and description.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
    },
}


def document(
    models: Mapping[str, Described],
    version: str,
    *,
    secured: bool = False,
    limits: Limits | None = None,
) -> Json:
    """Write the OpenAPI 3.1 document of a server.

    Parameters
    ----------
    models
        Name -> the version that answers; the first is the one that ``/v1/predict`` asks.
    version
        Thalweg's own.
    secured
        Whether a key is needed.
    limits
        How much a request may ask.

    Returns
    -------
    dict
        Plain data. Build it once for each change of what is served: it is not small.
    """
    limits = limits or Limits()
    written = {name: _Model(name, model, limits) for name, model in models.items()}
    schemas: Json = {"Error": ERROR, **SCHEMAS}
    paths: Json = {}
    for place, model in enumerate(written.values()):
        schemas |= model.schemas(place)
        if not place:
            schemas["InferRequest"] = {**SCHEMAS["InferRequest"], "examples": [model.tensors()]}
            paths["/v1/predict"] = {"post": model.predict(place, "predict")}
        path = f"/v1/models/{quote(model.name, safe='')}/predict"
        paths[path] = {"post": model.predict(place, f"predict_{place}")}
    paths |= about([*written]) | open_inference([*written]) | health()
    components: Json = {
        "schemas": schemas,
        "responses": {name: error(status, told) for status, (name, told) in ERRORS.items()},
    }
    if secured:
        components["securitySchemes"] = {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "A key: Authorization: Bearer tw_...",
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Thalweg",
            "version": version,
            "description": "Predictions of " + ", ".join(f"`{name}`" for name in models) + ". "
            "Rows are sent as they are: cleaning and encoding are the model's own.",
        },
        "paths": paths,
        "components": components,
        **({"security": [{"key": []}]} if secured else {}),
        "tags": [
            {"name": "predict", "description": "Answers for rows."},
            {"name": "models", "description": "What is served, and which version answers."},
            {"name": "open inference", "description": "The Open Inference Protocol, version 2."},
            {"name": "server", "description": "How the server is."},
        ],
    }


@final
class _Model:
    """What the document says of one model."""

    def __init__(self, name: str, model: Described, limits: Limits) -> None:
        self.name = name
        self._model = model
        self._fields: list[Field] = fields(model.schema)
        self._example: dict[str, Cell] = example(self._fields)
        self._limits = limits

    def schemas(self, place: int) -> Json:
        """Give the schemas of rows and answers."""
        types = answer_types(self._model.decoder)
        columns: Json = {one.name: one.schema for one in self._fields}
        known: Json = {one.name: {"type": "number"} for one in self._fields}
        row: Json = {
            "type": "object",
            "description": "Column names and cells. Columns that are not known are passed over, "
            "with a warning.",
            "properties": columns,
            "required": [one.name for one in self._fields if one.needed],
            "examples": [self._example],
        }
        answered: Json = {
            "type": "object",
            "required": [*types],
            "properties": types
            | {
                "warnings": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "What was amiss about the row, which was answered all the same.",
                },
                "contributions": {
                    "type": "object",
                    "properties": known,
                    "additionalProperties": False,
                    "description": "Where they are asked for: what each column adds to `explains`; "
                    "they add up to it less `baseline`.",
                },
                "baseline": {
                    "type": "number",
                    "description": "What is said of a typical row: " + _told(self._example),
                },
                "explains": {"type": "string", "description": "The number that is explained."},
            },
            "additionalProperties": False,
        }
        return {
            f"Row{place}": row,
            f"Rows{place}": {
                "type": "array",
                "items": ref(f"Row{place}"),
                "minItems": 1,
                "maxItems": self._limits.rows,
            },
            f"Answer{place}": {
                "description": "The answer to a row, or why it has none.",
                "anyOf": [answered, {**ERROR, "additionalProperties": False}],
            },
            f"Answers{place}": {
                "type": "object",
                "required": ["model", "version", "predictions"],
                "properties": {
                    "model": {"type": "string", "const": self.name},
                    "version": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
                    "predictions": {
                        "type": "array",
                        "items": ref(f"Answer{place}"),
                        "description": "One for each row, in their order.",
                    },
                },
                "additionalProperties": False,
            },
        }

    def tensors(self) -> Json:
        """Give the typical row as the Open Inference Protocol sends it."""
        datatypes = {"number": "FP64", "boolean": "BOOL"}
        return {
            "inputs": [
                {
                    "name": one.name,
                    "shape": [1],
                    "datatype": "FP64"
                    if isinstance(one.example, int | float) and one.form == "either"
                    else datatypes.get(one.form, "BYTES"),
                    "data": [one.example],
                }
                for one in self._fields
                if one.example is not None and one.form not in {"array", "bytes"}
            ]
        }

    def predict(self, place: int, operation: str) -> Json:
        """Describe one path that answers."""
        row, rows = ref(f"Row{place}"), ref(f"Rows{place}")
        inner: Json = {
            "type": "object",
            "required": ["rows"],
            "properties": {"rows": rows},
            "additionalProperties": False,
        }
        forms: Json = {
            "a row": {"value": self._example},
            "rows": {"value": [self._example, self._example]},
            "rows by name": {"value": {"rows": [self._example]}},
        }
        target = self._model.schema.target
        what = f"{target.name!r}" if target else "how odd rows are"
        binary: Json = {"description": "An Arrow IPC stream: a column for each column."}
        return {
            "operationId": operation,
            "tags": ["predict"],
            "summary": f"Ask {self.name!r} for {what}",
            "description": f"Up to {self._limits.rows:,} rows and {self._limits.body:,} bytes. "
            "The answers have the order of the rows; a row that cannot be answered has an error "
            "of its own. As NDJSON a row is a line.",
            "parameters": [EXPLAIN, self._versions()],
            "requestBody": {
                "required": True,
                "content": {
                    JSON: {"schema": {"anyOf": [row, rows, inner]}, "examples": forms},
                    # OpenAPI has no word for lines: they are told as the list that they are.
                    NDJSON: {"schema": rows, "example": [self._example, self._example]},
                    ARROW: {"schema": binary},
                },
            },
            "responses": {
                "200": {
                    "description": "The answers, in the format of the request or that of `accept`.",
                    "headers": _HEADERS,
                    "content": {
                        JSON: {"schema": ref(f"Answers{place}")},
                        NDJSON: {"schema": {"type": "array", "items": ref(f"Answer{place}")}},
                        ARROW: {"schema": binary},
                    },
                },
                **errors(400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 429, 503),
            },
        }

    def _versions(self) -> Json:
        return {
            "name": "version",
            "in": "query",
            "description": "Which of the loaded versions is to answer; left out, the server "
            "chooses.",
            "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
            "example": self._model.identity,
        }


def _told(row: Mapping[str, Cell]) -> str:
    """Write a row as JSON on one line."""
    return orjson.dumps(row).decode()
