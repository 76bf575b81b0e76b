"""The OpenAPI document is valid, says what a model reads and answers, and its examples fit it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import numpy as np
import pyarrow as pa
import pytest
import schemathesis
from schemathesis.core.result import Ok
from showcase import HARM, Shown, harmful, rich

from thalweg.models.decoder import Answers
from thalweg.serving.http.columns import answer_types, example, fields
from thalweg.serving.http.document import document
from thalweg.serving.http.limits import Limits

TARGETS = ["class", "price", "member", "tags", None]


def checked(found: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    """Give what checks data by one of a document's schemas."""
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": found["components"]}
    )


def as_rows(model: Shown, answers: Answers) -> list[dict[str, Any]]:
    batch = pa.RecordBatch.from_pydict(model.decoder.columns(answers))
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


@pytest.mark.parametrize("target", TARGETS)
def test_a_document_is_openapi_and_plain_json(target: str | None) -> None:
    found = document({"a": rich(target), "b": harmful()}, "1.0", secured=True)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    read = schemathesis.openapi.from_dict(found)
    read.validate()
    assert all(isinstance(one, Ok) for one in read.get_all_operations())


def test_every_reference_leads_somewhere() -> None:
    found = document({"a": rich()}, "1.0")

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(to := node.get("$ref"), str):
                at: Any = found
                for step in to.removeprefix("#/").split("/"):
                    at = at[step]
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(found)
    operations = [how["operationId"] for path in found["paths"].values() for how in path.values()]
    assert len(set(operations)) == len(operations)


@pytest.mark.parametrize("target", TARGETS)
def test_the_example_is_what_the_document_asks_for_and_the_model_reads_it(
    target: str | None,
) -> None:
    model = rich(target)
    found = document({"a": model}, "1.0")
    content = found["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = found["components"]["schemas"]["Row0"]["examples"][0]
    assert [*row] == model.schema.names
    assert [one["value"] for one in content["examples"].values()] == [
        row,
        [row, row],
        {"rows": [row]},
    ]
    asked = jsonschema_rs.Draft202012Validator(
        content["schema"] | {"components": found["components"]}
    )
    for one in content["examples"].values():
        asked.validate(one["value"])
    rows = model.schema.encode(pa.Table.from_pylist([row]))
    assert not rows.dropped.any()
    assert not rows.unreadable.any()


def test_every_choice_is_read_and_fits() -> None:
    model = rich()
    found = document({"a": model}, "1.0")
    described = fields(model.schema)
    by = checked(found, "Row0")
    typical = example(described)
    for one in described:
        for cell in one.choices:
            row = typical | {one.name: cell}
            by.validate(row)
            assert not model.schema.encode(pa.Table.from_pylist([row])).unreadable.any()
    assert {len(one.choices) > 1 for one in described if one.kind not in {"text", "vector"}} == {
        True
    }


def test_columns_have_types_and_say_what_happens_where_they_are_missing() -> None:
    model = rich()
    row = document({"a": model}, "1.0")["components"]["schemas"]["Row0"]
    types = {name: one["type"] for name, one in row["properties"].items()}
    assert types == {
        "amount": ["number", "null"],
        "age": ["number", "null"],
        "town": ["string", "null"],
        "floor": ["number", "string"],
        "member": ["boolean", "null"],
        "since": ["string", "null"],
        "stamp": ["number", "null"],
        "note": ["string", "null"],
        "tags": ["array", "null"],
        "place": ["array", "null"],
    }
    assert row["required"] == ["floor"]
    assert "gets no answer" in row["properties"]["floor"]["description"]
    assert "From 18 to 89 in training" in row["properties"]["age"]["description"]
    assert "enum" not in row["properties"]["town"]
    assert row["properties"]["town"]["examples"][0] == "Bonn"
    assert row["properties"]["place"]["maxItems"] == 2


def test_answers_fit_what_is_said_of_them() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(3), 5)
    some = random.normal(size=5)
    cases: list[tuple[str | None, Answers]] = [
        ("class", Answers(shares)),
        ("price", Answers(some, some - 1, some + 1)),
        ("member", Answers(shares[:, :2] / shares[:, :2].sum(axis=1, keepdims=True))),
        ("tags", Answers(shares)),
        (None, Answers(some, surprise=random.normal(size=(5, len(rich(None).decoder.foretold))))),
    ]
    for target, answers in cases:
        model = rich(target)
        by = checked(document({"a": model}, "1.0"), "Answers0")
        rows = as_rows(model, answers)
        assert [*rows[0]] == [*answer_types(model.decoder)]
        rows[0]["warnings"] = ["column 'age' is missing"]
        rows[1] |= {"contributions": {"age": 0.1}, "baseline": 0.2, "explains": "prediction"}
        rows[2] = {"error": "no"}
        by.validate({"model": "a", "version": "0123456789ab", "predictions": rows})
        for wrong in (
            {"error": "no", "prediction": 1},
            {},
            {"prediction": None},
            rows[3] | {"x": 1},
        ):
            assert not by.is_valid(
                {"model": "a", "version": "0123456789ab", "predictions": [wrong]}
            )


def test_keys_are_asked_for_where_there_are_some_but_not_for_health() -> None:
    found = document({"a": rich()}, "1.0", secured=True)
    assert found["security"] == [{"key": []}]
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert found["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in found["paths"]["/v1/predict"]["post"]
    assert "security" not in document({"a": rich()}, "1.0")


def test_limits_and_names_are_told() -> None:
    found = document({"a": rich(), "b.2": rich("price")}, "1.0", limits=Limits(rows=7))
    assert found["components"]["schemas"]["Rows1"]["maxItems"] == 7
    assert "/v1/models/b.2/predict" in found["paths"]
    [named] = found["paths"]["/v1/models/{name}"]["get"]["parameters"]
    assert named["schema"]["enum"] == ["a", "b.2"]


def test_names_that_mean_harm_stay_what_they_are() -> None:
    row = document({"a": harmful()}, "1.0")["components"]["schemas"]["Row0"]
    assert [*row["properties"]] == HARM
