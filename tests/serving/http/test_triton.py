"""Triton's own client asks a server that runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import running
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import thalweg
from thalweg.models.model import Model


@pytest.fixture(scope="module")
def server() -> Iterator[running.Running]:
    with running.running(running.model()) as found:
        yield found


@pytest.fixture
def client(server: running.Running) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        yield found


def inputs(count: int, *, binary: bool = True) -> list[Any]:
    rows = running.rows_of(count)
    given = []
    for name, datatype in (
        ("city", "BYTES"),
        ("amount", "FP64"),
        ("member", "BOOL"),
        ("at", "BYTES"),
    ):
        cells = np.array([row[name] for row in rows], object if datatype == "BYTES" else None)
        tensor = triton.InferInput(name, [count], datatype)
        tensor.set_data_from_numpy(cells, binary_data=binary)
        given.append(tensor)
    return given


def test_the_server_and_its_model_say_what_they_are(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(running.NAME)
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["version"] == thalweg.__version__
    told = client.get_model_metadata(running.NAME)
    assert {one["name"]: one["datatype"] for one in told["inputs"]} == {
        "city": "BYTES",
        "amount": "FP64",
        "member": "BOOL",
        "at": "BYTES",
    }
    (version,) = told["versions"]
    assert client.is_model_ready(running.NAME, version)
    wanted = [triton.InferRequestedOutput(one["name"]) for one in told["outputs"]]
    found = client.infer(running.NAME, inputs(2), outputs=wanted)
    assert found.as_numpy("warnings").tolist() == [b"", b""]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [1, 300])
def test_rows_are_answered_as_predict_answers(client: Any, count: int, *, binary: bool) -> None:
    wanted = Model.load(running.model()).predict(running.table(count, 2)).columns
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("prediction", "probability_yes")
    ]
    found = client.infer(
        running.NAME, inputs(count, binary=binary), outputs=outputs, request_id="a"
    )
    assert found.get_response()["id"] == "a"
    np.testing.assert_allclose(
        found.as_numpy("probability_yes"), wanted.column("probability_yes").to_numpy(), atol=1e-5
    )
    words = [w.decode() if isinstance(w, bytes) else w for w in found.as_numpy("prediction")]
    assert words == wanted.column("prediction").to_pylist()


def test_a_version_may_be_named(client: Any) -> None:
    (version,) = client.get_model_metadata(running.NAME)["versions"]
    found = client.infer(running.NAME, inputs(5), model_version=version)
    assert found.as_numpy("prediction").shape == (5,)
    assert found.get_response()["model_version"] == version
    with pytest.raises(InferenceServerException) as caught:
        client.infer(running.NAME, inputs(5), model_version="0")
    assert caught.value.status() == "404"


def test_what_cannot_be_read_is_an_error_that_the_client_understands(client: Any) -> None:
    tensor = triton.InferInput("amount", [2, 3], "FP64")
    tensor.set_data_from_numpy(np.zeros((2, 3)))
    with pytest.raises(InferenceServerException, match="shape") as caught:
        client.infer(running.NAME, [tensor])
    assert caught.value.status() == "400"


def test_explanations_are_asked_for_in_the_address(client: Any) -> None:
    found = client.infer(running.NAME, inputs(3), query_params={"explain": "true"})
    parts = [found.as_numpy(f"contribution.{name}") for name in ("city", "amount", "member", "at")]
    column = found.as_numpy("explains")[0].decode()
    added = found.as_numpy(column) - found.as_numpy("baseline")
    np.testing.assert_allclose(np.sum(parts, axis=0), added, atol=1e-5)
    with pytest.raises(InferenceServerException, match=r"explain=true in the address") as caught:
        client.infer(running.NAME, inputs(3), parameters={"explain": True})
    assert caught.value.status() == "400"


def test_what_else_a_client_says_of_a_request_is_let_through(client: Any) -> None:
    more = {"sequence_id": 7, "sequence_start": True, "priority": 1, "timeout": 9_000_000}
    assert client.infer(running.NAME, inputs(1), **more).as_numpy("prediction").shape == (1,)


@pytest.mark.parametrize("count", [1, 65])
def test_unknown_inputs_alone_are_named(client: Any, count: int) -> None:
    tensor = triton.InferInput("amont", [count], "FP64")
    tensor.set_data_from_numpy(np.zeros(count))
    with pytest.raises(InferenceServerException, match=r"input 'amont'.*'amount'") as caught:
        client.infer(running.NAME, [tensor])
    assert caught.value.status() == "422"
