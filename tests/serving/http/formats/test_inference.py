from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
import tritonclient.http as triton

from pretended import Pretended, homes, pretended
from thalweg.lab.contributions import Contributions
from thalweg.models.calibration import Calibration
from thalweg.models.decoder import Decoder
from thalweg.serving.http.formats import inference
from thalweg.serving.http.formats.tensors import DATATYPES, NUMBERS
from thalweg.serving.http.operations import SCHEMAS, open_inference
from thalweg.serving.http.reading import Reader, answer
from thalweg.serving.http.refusal import BodyError

MODEL = homes()
READER = Reader(MODEL)  # type: ignore[arg-type]
ROW: dict[str, Any] = {
    "size": 80.5,
    "rooms": 3,
    "town": "Ulm",
    "zone": 5,
    "garden": "yes",
    "day": "2024-03-01",
    "price": 300.0,
}
TYPES = {"size": "FP64", "rooms": "INT32", "zone": "INT64", "price": "FP64"}


def tensors(rows: list[dict[str, Any]], shape: list[int] | None = None) -> list[Any]:
    """Give rows as a client of Triton does: a tensor for each column."""
    inputs = []
    for name in rows[0]:
        datatype = TYPES.get(name, "BYTES")
        cells = np.array([row[name] for row in rows], NUMBERS.get(datatype, object))
        given = triton.InferInput(name, shape or [len(rows)], datatype)
        given.set_data_from_numpy(cells.reshape(shape or -1))
        inputs.append(given)
    return inputs


def asked(inputs: list[Any], **more: Any) -> Any:
    """Ask with what a client sends, and read the answer as it does."""
    body, length = triton.InferenceServerClient.generate_request_body(inputs, **more)
    question, wish = inference.question(body, length, READER)
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    told, head = inference.answer(found, wish)
    return triton.InferenceServerClient.parse_response_body(told, header_length=head)


def plain(**changes: Any) -> bytes:
    """Give a request of one row in JSON alone."""
    inputs = [
        {"name": name, "shape": [1], "datatype": TYPES.get(name, "BYTES"), "data": [cell]}
        for name, cell in ROW.items()
    ]
    return orjson.dumps({"inputs": inputs} | changes)


def one(**changes: Any) -> dict[str, Any]:
    """Give a tensor of one number, but for some changes."""
    return {"name": "size", "shape": [1], "datatype": "FP64", "data": [1.5]} | changes


# ---- what a client of Triton sends and reads -----------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("tall", [False, True])
def test_a_client_of_triton_asks_and_is_answered(rows: int, *, tall: bool) -> None:
    found = asked(tensors([ROW] * rows, [rows, 1] if tall else None), request_id="7")
    wanted = MODEL.run(READER.rows([ROW] * rows).feed.inputs)
    told = MODEL.decoder.columns(wanted.answers)
    assert found.get_response()["id"] == "7"
    assert found.get_response()["model_name"] == "homes"
    assert found.get_response()["model_version"] == "0123456789ab"
    assert [one["name"] for one in found.get_response()["outputs"]] == [*told]
    shares = found.as_numpy("probability_slowly")
    np.testing.assert_array_equal(shares, told["probability_slowly"].to_numpy())
    words = found.as_numpy("prediction").astype(str).tolist()
    assert [word.removeprefix("b'").rstrip("'") for word in words] == told["prediction"].to_pylist()


def test_rows_in_tensors_mean_what_rows_mean() -> None:
    rows = [ROW, {**ROW, "town": "Rom", "day": "soon"}]
    for some in (rows, rows * 50):
        body, length = triton.InferenceServerClient.generate_request_body(tensors(some))
        question, _ = inference.question(body, length, READER)
        wanted = READER.rows(some)
        for name, array in wanted.feed.inputs.items():
            np.testing.assert_array_equal(question.feed.inputs[name], array)
        assert dict(question.warnings) == dict(wanted.warnings)


def test_outputs_are_chosen_one_as_bytes_and_one_as_json() -> None:
    wanted = [
        triton.InferRequestedOutput("probability_slowly", binary_data=True),
        triton.InferRequestedOutput("prediction", binary_data=False),
    ]
    found = asked(tensors([ROW, ROW]), outputs=wanted)
    shares, words = found.get_response()["outputs"]
    assert shares == {
        "name": "probability_slowly",
        "datatype": "FP64",
        "shape": [2],
        "parameters": {"binary_data_size": 16},
    }
    assert words["data"] == found.as_numpy("prediction").tolist()


def test_inputs_as_json_mean_what_inputs_as_bytes_mean() -> None:
    question, wish = inference.question(plain(id="a"), None, READER)
    wanted = READER.rows([ROW])
    assert {name: array.tolist() for name, array in question.feed.inputs.items()} == {
        name: array.tolist() for name, array in wanted.feed.inputs.items()
    }
    assert wish == inference.Wish("a")
    told, head = inference.answer(
        answer("homes", MODEL, question, MODEL.run(question.feed.inputs)),  # type: ignore[arg-type]
        wish,
    )
    assert head is None
    assert orjson.loads(told)["outputs"][0]["data"] in (["quickly"], ["slowly"])


@pytest.mark.parametrize("datatype", [*DATATYPES])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_is_read(datatype: str, *, binary: bool) -> None:
    if datatype == "BF16":
        data = np.array([2.0, 1.0], np.float32).view(np.uint32) >> 16
        raw = data.astype("<u2").tobytes()
    elif datatype == "BYTES":
        raw = b"\1\0\0\0002\1\0\0\0001"
    else:
        raw = np.array([2, 1]).astype(NUMBERS[datatype]).tobytes()
    head = one(shape=[2], datatype=datatype)
    if binary:
        del head["data"]
        text = orjson.dumps({"inputs": [head | {"parameters": {"binary_data_size": len(raw)}}]})
        question, _ = inference.question(text + raw, len(text), READER)
    else:
        values: list[Any] = {"BYTES": ["2", "1"], "BOOL": [True, True]}.get(datatype, [2, 1])
        text = orjson.dumps({"inputs": [head | {"data": values}]})
        if datatype == "BF16":
            with pytest.raises(BodyError, match="BF16 as binary data"):
                inference.question(text, None, READER)
            return
        question, _ = inference.question(text, None, READER)
    wanted = [True, True] if datatype == "BOOL" else [2, 1]
    same = READER.rows([{"size": cell} for cell in wanted])
    np.testing.assert_array_equal(question.feed.inputs["number"], same.feed.inputs["number"])


def test_null_is_a_missing_cell() -> None:
    text = orjson.dumps({"inputs": [one(shape=[2], data=[None, 1.5])]})
    question, _ = inference.question(text, None, READER)
    assert np.isnan(question.feed.inputs["number"][0, 0])


def test_one_tensor_may_hold_all_columns_of_a_kind() -> None:
    names = [one.name for one in MODEL.schema.by_kind()["number"]]
    data = [[80.5, 3, 300.0], [1, 2, 3]]
    text = orjson.dumps(
        {"inputs": [{"name": "number", "shape": [2, 3], "datatype": "FP64", "data": data}]}
    )
    question, _ = inference.question(text, None, READER)
    wanted = READER.rows([dict(zip(names, row, strict=True)) for row in data])
    np.testing.assert_array_equal(question.feed.inputs["number"], wanted.feed.inputs["number"])


# ---- what is amiss -----------------------------------------------------------------------------


def test_errors_and_warnings_of_rows_are_outputs() -> None:
    cells = ["Ulm", "Rom", "\x00", "Ulm"]
    rows = [{**ROW, "town": cell} for cell in cells]
    inputs = tensors(rows)
    (town,) = [given for given in inputs if given.name() == "town"]
    town.set_data_from_numpy(np.array([b"Ulm", b"Rom", b"\xff\0", b"Ulm"], object))
    found = asked(inputs)
    assert [bool(text) for text in found.as_numpy("error")] == [False, False, True, False]
    assert b"UTF-8" in found.as_numpy("error")[2]
    assert found.as_numpy("warnings")[1].startswith(b"column 'town': 'Rom' was never")
    assert np.isnan(found.as_numpy("probability_slowly")).tolist() == [False, False, True, False]
    assert found.as_numpy("prediction")[2] == b""


def test_explanations_are_outputs() -> None:
    question, wish = inference.question(plain(), None, READER)
    run = MODEL.run(question.feed.inputs)
    explained = Contributions(
        ("size", "town"), np.array([[1.0, 2.0]]), np.array([0.5]), ("prediction",)
    )
    told, _ = inference.answer(answer("homes", MODEL, question, run, explained), wish)  # type: ignore[arg-type]
    outputs = {one["name"]: one.get("data") for one in orjson.loads(told)["outputs"]}
    assert outputs["contribution.town"] == [2.0]
    assert outputs["baseline"] == [0.5]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "no JSON"),
        (b"[]", "a body that is a list"),
        (b"{}", "without inputs"),
        (b'{"inputs": []}', "without inputs"),
        (b'{"inputs": [1]}', "an input that is a number"),
        (b'{"inputs": [{"shape": [1]}]}', "without a name"),
        ({"inputs": [one(datatype="FP8")]}, "datatype 'FP8' of input 'size'; expected BOOL"),
        ({"inputs": [one(datatype=["BOOL"])]}, "datatype"),
        ({"inputs": [one(shape=[-1])]}, "shape [-1]"),
        ({"inputs": [one(shape=[True])]}, "shape [True]"),
        ({"inputs": [one(shape=[2**40])]}, "shape [1099511627776]"),
        ({"inputs": [one(shape=[])]}, "shape []"),
        ({"inputs": [one(shape=[1, 2], data=[1, 2])]}, "shape [1, 2] of input 'size'"),
        ({"inputs": [one(shape=[2])]}, "has 1 values; expected 2 values"),
        ({"inputs": [one(data=None)]}, "no list"),
        ({"inputs": [one(data=[[[1]]])]}, "holds what is no FP64"),
        ({"inputs": [one(data=["a"])]}, "holds what is no FP64"),
        ({"inputs": [one(datatype="INT8", data=[128])]}, "no INT8"),
        ({"inputs": [one(datatype="UINT8", data=[-1])]}, "no UINT8"),
        ({"inputs": [one(datatype="INT64", data=[1.5])]}, "no INT64"),
        ({"inputs": [one(datatype="BOOL", data=[1])]}, "no BOOL"),
        ({"inputs": [one(datatype="BYTES", data=[1])]}, "no BYTES"),
        ({"inputs": [one(), one()]}, "two inputs of one name"),
        ({"inputs": [one(), one(name="b", shape=[2], data=[1, 2])]}, "different numbers of rows"),
        ({"inputs": [one()], "id": 7}, "an id that is a number"),
        ({"inputs": [one()], "id": "\ud800"}, "an id with half a character; expected text"),
        ({"inputs": [one(), one(name="\ud800")]}, "an input's name with half a character"),
        ({"inputs": [one(parameters={"binary_data_size": "\ud800"})]}, "binary_data_size '"),
        ({"inputs": [one()], "parameters": {"explain": True}}, "Ask with ?explain=true"),
        ({"inputs": [one()], "parameters": {"priorty": 1}}, "Did you mean 'priority'?"),
        ({"inputs": [one()], "parameters": {"\ud800": 1}}, "of the request; expected one that"),
        ({"inputs": [one()], "outputs": [{}]}, "an output without a name"),
        ({"inputs": [one()], "outputs": 1}, "outputs that are no list"),
        ({"inputs": [one()], "parameters": 1}, "parameters of the request"),
        ({"inputs": [one(parameters={"shared_memory_region": "a"})]}, "shared_memory_region"),
        (
            {"inputs": [one()], "outputs": [{"name": "a", "parameters": {"classification": 2}}]},
            "cl",
        ),
        ({"inputs": [one(parameters={"binary_data_size": 8})]}, "at most the 0 bytes"),
        ({"inputs": [one(parameters={"binary_data_size": -1})]}, "binary_data_size -1"),
        ({"inputs": [one(parameters={"binary_data_size": 0})]}, "as data and as bytes"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(body: Any, error: str) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BodyError) as caught:
        inference.question(text, None, READER)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).encode()
    assert caught.value.status == 400


FEW = inference.FEW


@pytest.mark.parametrize(
    ("name", "datatype", "cells"),
    [
        ("size", "FP64", [0.5, 2**53 + 1]),
        ("size", "FP64", [0.5, None, 2**70]),
        ("size", "FP64", [1, 10**400]),
        ("size", "UINT64", [2**63, None]),
        ("town", "UINT64", [2**63, 1]),
        ("town", "FP64", [0.5, 2**53 + 1, 1, 2**64]),
        ("town", "BYTES", ["Ulm", "\ud800", None]),
        ("town", "BYTES", ["Ulm", "U\0lm"]),
    ],
)
def test_odd_cells_are_read_alike_in_few_rows_and_in_many(
    name: str, datatype: str, cells: list[Any]
) -> None:
    many = [cells[0]] * (FEW + 1 - len(cells)) + cells
    body = json.dumps({"inputs": [one(name=name, datatype=datatype, data=many, shape=[FEW + 1])]})
    found, _ = inference.question(body.encode(), None, READER)
    wanted = READER.rows([{name: cell} for cell in many])
    short = json.dumps({"inputs": [one(name=name, datatype=datatype, data=many[1:], shape=[FEW])]})
    few, _ = inference.question(short.encode(), None, READER)
    assert found.errors == wanted.errors == {at + 1: why for at, why in few.errors.items()}
    assert found.warnings == wanted.warnings
    assert {at: told for at, told in found.warnings.items() if at} == {
        at + 1: told for at, told in few.warnings.items()
    }
    for key, array in wanted.feed.inputs.items():
        np.testing.assert_array_equal(found.feed.inputs[key], array)
        np.testing.assert_array_equal(found.feed.inputs[key][1:], few.feed.inputs[key])


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_a_text_with_a_character_0_is_one_however_it_comes(count: int) -> None:
    raw = b"".join(bytes([len(text), 0, 0, 0]) + text for text in [b"U\0lm"] * count)
    head = {"name": "town", "shape": [count], "datatype": "BYTES"}
    size = {"parameters": {"binary_data_size": len(raw)}}
    text = orjson.dumps({"inputs": [head | size]})
    question, _ = inference.question(text + raw, len(text), READER)
    wanted = READER.rows([{"town": "U\0lm"}] * count)
    assert question.errors == wanted.errors == {}
    assert question.warnings == wanted.warnings
    np.testing.assert_array_equal(question.feed.inputs["category"], wanted.feed.inputs["category"])


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_inputs_none_of_which_is_a_column_are_refused_by_name(count: int) -> None:
    inputs = [one(name=name, shape=[count], data=[1] * count) for name in ("sise", "nope")]
    with pytest.raises(BodyError) as caught:
        inference.question(orjson.dumps({"inputs": inputs}), None, READER)
    told = "input 'sise' is no column of the model, nor is any other input; expected"
    assert str(caught.value).startswith(told)
    assert str(caught.value).endswith("Did you mean 'size'?")
    assert caught.value.status == 422


def test_parameters_that_clients_send_change_no_answer() -> None:
    sent = dict.fromkeys(inference.PASSED, 1)
    question, wish = inference.question(plain(parameters=sent), None, READER)
    assert question.rows == 1
    assert wish == inference.Wish()
    told = SCHEMAS["InferRequest"]["properties"]["parameters"]
    assert [*told["properties"]] == [*inference.PASSED]
    assert told["additionalProperties"] is False


def test_the_document_says_that_tensors_may_be_explained() -> None:
    for path, found in open_inference(["homes"]).items():
        if path.endswith("/infer"):
            assert "explain" in {one["name"] for one in found["post"]["parameters"]}


def test_an_output_that_there_is_none_of_is_refused_with_a_near_name() -> None:
    question, wish = inference.question(plain(outputs=[{"name": "predicton"}]), None, READER)
    found = answer("homes", MODEL, question, MODEL.run(question.feed.inputs))  # type: ignore[arg-type]
    with pytest.raises(BodyError, match="Did you mean 'prediction'"):
        inference.answer(found, wish)


def binary(sizes: dict[str, int], rest: bytes, datatype: str = "FP64") -> tuple[bytes, int]:
    inputs = [
        {"name": n, "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": size}}
        for n, size in sizes.items()
    ]
    text = orjson.dumps({"inputs": inputs})
    return text + rest, len(text)


@pytest.mark.parametrize(
    ("sizes", "rest", "datatype", "error"),
    [
        ({"size": 4}, b"\0" * 4, "FP64", "has 4 bytes; expected 8 bytes of FP64"),
        ({"size": 8}, b"\0" * 9, "FP64", "1 bytes more than the inputs have"),
        ({"size": 8}, b"\0" * 7, "FP64", "at most the 7 bytes"),
        ({"size": 4}, b"\xff" * 4, "BYTES", "do not hold 1 values"),
        ({"size": 8}, b"\0" * 8, "BYTES", "do not hold 1 values"),
        ({"size": 3}, b"\0" * 3, "BYTES", "do not hold 1 values"),
    ],
)
def test_bytes_that_are_not_what_the_json_says_are_refused(
    sizes: dict[str, int], rest: bytes, datatype: str, error: str
) -> None:
    body, length = binary(sizes, rest, datatype)
    with pytest.raises(BodyError, match=error):
        inference.question(body, length, READER)
    for wrong in (-1, len(body) + 1):
        with pytest.raises(BodyError, match="a part of the body"):
            inference.question(body, wrong, READER)


def test_too_many_rows_are_refused_before_they_are_read() -> None:
    body, length = triton.InferenceServerClient.generate_request_body(tensors([ROW] * 5))
    with pytest.raises(BodyError, match="at most 4") as caught:
        inference.question(body, length, READER, 4)
    assert caught.value.status == 413


def test_mutated_requests_give_a_question_or_an_error_in_one_line() -> None:
    random = np.random.default_rng(0)
    sent, length = triton.InferenceServerClient.generate_request_body(tensors([ROW, ROW]))
    body = np.frombuffer(sent, np.uint8)
    refused: list[str] = []
    for _ in range(500):
        bad = body.copy()
        places = random.integers(0, len(bad), 3)
        bad[places] = random.integers(0, 256, 3, dtype=np.uint8)
        try:
            inference.question(bad.tobytes(), length + int(random.integers(-1, 2)), READER)
        except BodyError as error:
            refused.append(str(error))
    assert refused
    assert not any("\n" in one for one in refused)


# ---- what a server says of itself ----------------------------------------------------------------


def test_a_model_describes_its_inputs_and_outputs() -> None:
    told = inference.described("homes", ["0123456789ab"], MODEL)  # type: ignore[arg-type]
    assert {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]} == {
        "size": ("FP64", [-1]),
        "rooms": ("FP64", [-1]),
        "town": ("BYTES", [-1]),
        "zone": ("INT64", [-1]),
        "garden": ("BOOL", [-1]),
        "day": ("BYTES", [-1]),
        "price": ("FP64", [-1]),
    }
    assert told["outputs"][0] == {"name": "prediction", "datatype": "BYTES", "shape": [-1]}
    assert told["versions"] == ["0123456789ab"]
    assert inference.server("1.0")["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("target", ["price", "price with bounds", "garden", "zone"])
def test_the_outputs_that_are_told_are_those_that_are_given(target: str) -> None:
    model: Pretended = homes(target.partition(" ")[0])
    if "bounds" in target:
        model.decoder = Decoder(model.schema, Calibration(radius=1.0))
    told = inference.described("homes", [], model)["outputs"]  # type: ignore[arg-type]
    question, wish = inference.question(plain(), None, Reader(model))  # type: ignore[arg-type]
    found = answer("homes", model, question, model.run(question.feed.inputs))  # type: ignore[arg-type]
    given = orjson.loads(inference.answer(found, wish)[0])["outputs"]
    had = [(one["name"], one["datatype"]) for one in given if one["name"] != "warnings"]
    assert had == [(one["name"], one["datatype"]) for one in told[:-2]]
    # Whoever asks for all that is told of gets it, though there is nothing to say of any row.
    body = plain(outputs=[{"name": one["name"]} for one in told])
    question, wish = inference.question(body, None, Reader(model))  # type: ignore[arg-type]
    found = answer("homes", model, question, model.run(question.feed.inputs))  # type: ignore[arg-type]
    given = orjson.loads(inference.answer(found, wish)[0])["outputs"]
    keys = ("name", "datatype")
    assert [[one[key] for key in keys] for one in given] == [[one[k] for k in keys] for one in told]
    assert given[-2] == {"name": "error", "datatype": "BYTES", "shape": [1], "data": [""]}
    assert given[-1]["name"] == "warnings"


def test_vectors_come_as_rows_of_a_tensor() -> None:
    random = np.random.default_rng(0)
    places = random.normal(size=(50, 3))
    model = pretended(pa.table({"place": places.tolist(), "price": random.random(50)}), "price")
    (told,) = inference.described("homes", [], model)["inputs"]  # type: ignore[arg-type]
    assert told == {"name": "place", "datatype": "FP64", "shape": [-1, 3]}
    given = triton.InferInput("place", [50, 3], "FP64")
    given.set_data_from_numpy(places)
    body, length = triton.InferenceServerClient.generate_request_body([given])
    question, _ = inference.question(body, length, Reader(model))  # type: ignore[arg-type]
    wanted = model.feed(pa.table({"place": places.tolist()}))
    np.testing.assert_array_equal(
        question.feed.inputs["vector.vectors"], wanted.inputs["vector.vectors"]
    )
