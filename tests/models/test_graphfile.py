"""What an ONNX file may not do: read other files, ask for foreign operators, hide either."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from thalweg.models.graphfile import refusal


def plain() -> onnx.ModelProto:
    """A graph that adds a constant, with one graph inside a node."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(np.ones(2)))],
        "inner",
        [],
        [helper.make_tensor_value_info("b", TensorProto.DOUBLE, [2])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
            helper.make_node("Add", ["x", "w"], ["z"]),
        ],
        "outer",
        [
            helper.make_tensor_value_info("x", TensorProto.DOUBLE, [2]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("z", TensorProto.DOUBLE, [2])],
        [numpy_helper.from_array(np.zeros(2), "w")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def outside(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def inner_constant(model: onnx.ModelProto) -> onnx.TensorProto:
    return model.graph.node[0].attribute[1].g.node[0].attribute[0].t


def sparse(model: onnx.ModelProto) -> None:
    one = model.graph.sparse_initializer.add()
    outside(one.values)


def function(model: onnx.ModelProto) -> None:
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "F", ["a"], ["a"], [], opset))


CHANGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "weights elsewhere": (lambda m: outside(m.graph.initializer[0]), "other files"),
    "a constant elsewhere": (lambda m: outside(inner_constant(m)), "other files"),
    "sparse weights elsewhere": (sparse, "other files"),
    "a place alone": (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="x"),
        "other files",
    ),
    "a foreign operator": (
        lambda m: m.graph.node.append(helper.make_node("Run", ["x"], ["q"], domain="evil")),
        "operators of 'evil'",
    ),
    "a foreign operator within": (
        lambda m: (
            m.graph.node[0]
            .attribute[1]
            .g.node.append(helper.make_node("Run", [], ["q"], domain="com.microsoft"))
        ),
        "com.microsoft",
    ),
    "a foreign domain": (
        lambda m: m.opset_import.append(helper.make_opsetid("evil", 1)),
        "operators of 'evil'",
    ),
    "a function": (function, "functions"),
    "training": (lambda m: m.training_info.add(), "training"),
}


def test_a_plain_graph_may_be_loaded() -> None:
    assert refusal(plain().SerializeToString()) is None


@pytest.mark.parametrize("name", CHANGES)
def test_what_could_reach_out_is_refused(name: str) -> None:
    model = plain()
    change, words = CHANGES[name]
    change(model)
    said = refusal(model.SerializeToString())
    assert said is not None
    assert words in said


def test_graphs_without_end_are_refused() -> None:
    model = plain()
    for _ in range(20):
        graph = onnx.GraphProto()
        graph.CopyFrom(model.graph)
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        del model.graph.node[:]
        model.graph.node.append(node)
        if len(model.SerializeToString()) > 1 << 20:
            break
        del model.graph.node[0].attribute[1]
    assert "without end" in (refusal(model.SerializeToString()) or "")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_answered(content: bytes) -> None:
    said = refusal(content)
    assert said is None or "\n" not in said


@given(place=st.integers(0, 2000), length=st.integers(0, 40))
def test_what_is_cut_is_answered(place: int, length: int) -> None:
    content = plain().SerializeToString()
    refusal(content[:place] + content[place + length :])
