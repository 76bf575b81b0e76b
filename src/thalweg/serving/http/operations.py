"""The parts of the OpenAPI document that are alike for every model: errors and other paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from thalweg.serving.http.columns import Json
from thalweg.serving.http.formats.inference import HEADER, PASSED

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("BadRequest", "The body or an option cannot be read."),
    401: ("Unauthorized", "The key is missing or wrong."),
    403: ("Forbidden", "The key does not allow this."),
    404: ("NotFound", "There is no such model, version or path."),
    405: ("MethodNotAllowed", "The path is not for this method."),
    408: ("TooSlow", "The request did not arrive in time."),
    409: ("Conflict", "There is no version that the order could mean."),
    411: ("LengthRequired", "The body's length is not said."),
    413: ("TooLarge", "The body or the number of rows is over the limit."),
    415: ("UnknownFormat", "The content type is none that is read here."),
    422: ("NoAnswer", "No row of the request can be answered."),
    429: ("Busy", "Too much is waiting, or the key's rate is used up: try again later."),
    503: ("NotReady", "The server is starting, or about to end."),
}

ERROR: Final[Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "string",
            "description": "What was given, what was expected and how to mend it, in one line.",
        }
    },
}

EXPLAIN: Final[Json] = {
    "name": "explain",
    "in": "query",
    "description": "Say for each row what each column adds to the answer (Shapley values beside "
    "a typical row), which asks the model 128 times or more for each.",
    "schema": {"type": "boolean", "default": False},
}

_HEAD_LENGTH: Final[Json] = {
    "description": "Of how many bytes the JSON is, where the tensors' bytes follow it.",
    "schema": {"type": "integer", "minimum": 0},
}


def about(names: list[str]) -> Json:
    """Describe the paths that say and steer what is served."""
    named = _named(names)
    listed: Json = {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": ref("Model")}},
    }
    version: Json = {"version": {"type": "string", "description": "One that is loaded."}}
    which: Json = {"type": "object", "properties": version, "additionalProperties": False}
    traffic: Json = {
        "type": "object",
        "properties": version
        | {
            "percent": {
                "type": "number",
                "minimum": 0,
                "maximum": 100,
                "description": "The candidate's share of the requests.",
            },
            "shadow": {
                "type": "boolean",
                "description": "Whether the candidate answers every request unseen, to compare.",
            },
        },
        "additionalProperties": False,
    }
    model = ref("Model")
    orders = {
        "rollback": _post("roll_back", "Go back to the version before", which, model, named, 409),
        "promote": _post("promote", "Let the candidate take over", which, model, named, 409),
        "traffic": _post("steer", "Say what the candidate answers", traffic, model, named, 409),
    }
    return {
        "/v1/models": {"get": _get("list_models", "models", "Name what is served", listed)},
        "/v1/models/{name}": {
            "get": _get("show_model", "models", "Describe a model", model, named, 404)
        },
        **{f"/v1/models/{{name}}/{order}": {"post": how} for order, how in orders.items()},
    }


_ANY: Final[Json] = {"type": "object"}
_DATATYPES: Final = [
    *("BOOL", "BYTES", "FP64", "FP32", "FP16", "BF16"),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
]


def _tensor(least: int) -> Json:
    """Describe a tensor: of rows, or as models say of theirs, with -1 for any number."""
    return {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string", "description": "A column."},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": least},
                "minItems": 1,
                "maxItems": 4,
                "description": "[rows], or [rows, n] for a column of vectors.",
            },
            "datatype": {"type": "string", "enum": _DATATYPES},
            "data": {
                "type": "array",
                "description": "As many values as the shape says; left out where they follow as "
                "bytes.",
            },
            "parameters": _ANY,
        },
    }


SCHEMAS: Final[Json] = {
    "Model": {
        "type": "object",
        "required": ["name", "version"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": ["string", "null"], "description": "The one that answers."},
            "versions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["version", "role"],
                    "properties": {
                        "version": {"type": "string"},
                        "role": {"enum": ["current", "candidate", "previous"]},
                        "precision": {"type": "string"},
                    },
                },
            },
            "columns": {"type": "array", "items": {"type": "string"}},
            "traffic": {
                "type": "object",
                "properties": {"percent": {"type": "number"}, "shadow": {"type": "boolean"}},
            },
        },
    },
    "Tensor": _tensor(0),
    "TensorKind": _tensor(-1),
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {
                "type": "object",
                "properties": {name: {} for name in PASSED}
                | {"binary_data_output": {"type": "boolean"}},
                "additionalProperties": False,
                "description": "`binary_data_output` asks for outputs as bytes. The others change "
                "nothing.",
            },
            "inputs": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Tensor"},
                "minItems": 1,
                "description": "A tensor for each column, with as many rows in each.",
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": _ANY},
                },
            },
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
    },
}


def open_inference(names: list[str]) -> Json:
    """Describe the Open Inference Protocol: an input tensor for each column."""
    named, tag = _named(names), "open inference"
    told: Json = {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": ref("TensorKind")},
            "outputs": {"type": "array", "items": ref("TensorKind")},
        },
    }
    server: Json = {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    }
    asks, says = ref("InferRequest"), ref("InferResponse")
    found: Json = {
        "/v2": {"get": _get("v2_server", tag, "Describe the server", server)},
        "/v2/health/live": {"get": _get("v2_live", tag, "Is it alive", _ANY)},
        "/v2/health/ready": {"get": _get("v2_ready", tag, "Can it answer", _ANY, None, 503)},
    }
    for path in ("/v2/health/live", "/v2/health/ready"):
        found[path]["get"]["security"] = []
    versioned: Json = {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "One that is loaded.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
    }
    for end, which, more in (("", "", ()), ("/versions/{version}", "_version", (versioned,))):
        path, where = f"/v2/models/{{name}}{end}", [named, *more]
        shown = _get(f"v2_model{which}", tag, "Describe a model", told, None, 404)
        ready = _get(f"v2_model{which}_ready", tag, "Can a model answer", _ANY, None, 404, 503)
        infer = _binary(_post(f"v2_infer{which}", "Answer tensors", asks, says, named, 422, tag))
        found[path] = {"get": shown | {"parameters": where}}
        found[f"{path}/ready"] = {"get": ready | {"parameters": where}}
        where = [*where, EXPLAIN, {"name": HEADER, "in": "header", **_HEAD_LENGTH}]
        found[f"{path}/infer"] = {"post": infer | {"parameters": where}}
    return found


def _binary(operation: Json) -> Json:
    """Say of an operation that tensors may also come, and are given on request, as bytes."""
    tensors: Json = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    body, responses = operation["requestBody"], operation["responses"]
    given = responses["200"]
    given = given | {"content": given["content"] | tensors, "headers": {HEADER: _HEAD_LENGTH}}
    return operation | {
        "requestBody": body | {"content": body["content"] | tensors},
        "responses": responses | {"200": given},
    }


def health() -> Json:
    """Describe the paths that say how the server is, which need no key."""
    text: Json = {"text/plain": {"schema": {"type": "string"}}}
    page: Json = {"text/html": {"schema": {"type": "string"}}}
    found: Json = {
        "/healthz": {"get": _get("healthz", "server", "Is it alive", _ANY)},
        "/readyz": {"get": _get("readyz", "server", "Can it answer", _ANY, None, 503)},
        "/metrics": {"get": _get("metrics", "server", "Figures for Prometheus", text)},
        "/openapi.json": {"get": _get("openapi", "server", "This document", _ANY)},
        "/docs": {"get": _get("docs", "server", "A page for trying out", page)},
    }
    for path in ("/healthz", "/readyz", "/docs"):
        found[path]["get"]["security"] = []
    return found


def _get(
    operation: str, tag: str, summary: str, gives: Json, named: Json | None = None, *also: int
) -> Json:
    content = gives if any("/" in name for name in gives) else {JSON: {"schema": gives}}
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        **({"parameters": [named]} if named else {}),
        "responses": {
            "200": {"description": summary + ".", "content": content},
            **errors(401, 405, 429, *also),
        },
    }


def _post(
    operation: str,
    summary: str,
    takes: Json,
    gives: Json,
    named: Json,
    also: int,
    tag: str = "models",
) -> Json:
    needed = bool(takes.get("required") or "$ref" in takes)
    body = {"requestBody": {"required": needed, "content": {JSON: {"schema": takes}}}}
    return {
        "operationId": operation,
        "tags": [tag],
        "summary": summary,
        "parameters": [named],
        **body,
        "responses": {
            "200": {"description": summary + ".", "content": {JSON: {"schema": gives}}},
            **errors(400, 401, 403, 404, 405, 408, 411, 413, 415, 429, 503, also),
        },
    }


def _named(names: list[str]) -> Json:
    return {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "A model that is served.",
        "schema": {"type": "string", "enum": names},
    }


def errors(*statuses: int) -> Json:
    """Name the responses for some errors."""
    return {
        str(status): {"$ref": f"#/components/responses/{ERRORS[status][0]}"}
        for status in sorted(statuses)
    }


def error(status: int, told: str) -> Json:
    """Describe the response for an error."""
    found: Json = {"description": told, "content": {JSON: {"schema": ref("Error")}}}
    if status == 429:
        found["headers"] = {
            "retry-after": {
                "description": "Seconds to wait.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    if status == 401:
        found["headers"] = {"www-authenticate": {"schema": {"type": "string"}}}
    return found


def ref(name: str) -> Json:
    """Name a schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{name}"}
