from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from thalweg.kinds.graph import Graph, any_of, clip, look_up_cells, minus


def run(graph: Graph, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    model = graph.model().SerializeToString()
    found: list[NDArray[Any]] = onnxruntime.InferenceSession(model).run(None, feeds)
    return found


def test_constants_are_kept_once_and_names_differ() -> None:
    graph = Graph("a")
    first = graph.constant(np.array([1.0, 2.0]))
    assert graph.constant(np.array([1.0, 2.0])) == first
    others = [np.array([[1.0, 2.0]]), np.array([1.0, 2.0], np.float32), np.array([-0.0])]
    texts = [np.array(["a", "b"], object), np.array(["a\x00", "b"], object)]
    names = {graph.constant(array) for array in [*others, np.array([0.0]), *texts]}
    assert len(names | {first}) == 7
    assert all(name.startswith("a_") for name in names)
    assert len(graph.initializers()) == 7


def test_a_node_may_have_several_outputs_and_a_name() -> None:
    graph = Graph()
    x = graph.input("x", np.float64, ["N", 4])
    left, right = graph.split("Split", [x, np.array([1, 3])], 2, {"axis": 1})
    total = graph.add("ReduceSum", [right, np.array([1])], {"keepdims": 0}, name="total")
    graph.output(left, np.float64, ["N", 1])
    graph.output(total, np.float64, ["N"])
    assert (total, len(graph)) == ("total", 2)
    a, b = run(graph, {"x": np.array([[1.0, 2.0, 3.0, 4.0]])})
    assert (a.tolist(), b.tolist()) == ([[1.0]], [9.0])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_each_column_has_a_table_of_its_own(rows: int) -> None:
    graph = Graph()
    x = graph.input("x", np.object_, ["N", 3])
    tables = [{"a": 1, "b": 2}, {}, {"b": 7, "": 8, "a\x00": 9, "0:a": 4}]
    graph.output(look_up_cells(graph, x, tables, -1), np.int64, ["N", 3])
    cells = np.array([["a", "a", "b"], ["b", "", ""], ["a\x00", "x", "a\x00"]], object)[:rows]
    expected = [[1, -1, 7], [2, -1, 8], [-1, -1, 9]][:rows]
    assert run(graph, {"x": cells})[0].tolist() == expected


def test_numbers_are_looked_up_by_value() -> None:
    graph = Graph()
    x = graph.input("x", np.float64, ["N", 2])
    graph.output(look_up_cells(graph, x, [{0.0: 1}, {0.5: 2, 1e300: 3}], 0), np.int64, ["N", 2])
    cells = np.array([[-0.0, 0.5], [0.5, 1e300], [np.nan, np.inf]])
    assert run(graph, {"x": cells})[0].tolist() == [[1, 2], [0, 3], [0, 0]]


def test_what_is_tiny_is_subtracted_all_the_same() -> None:
    graph = Graph()
    x = graph.input("x", np.float64, ["N", 1])
    graph.output(minus(graph, x, np.array([1e-50])), np.float64, ["N", 1])
    assert run(graph, {"x": np.array([[1e-50], [3e-50]])})[0].ravel().tolist() == [0, 3e-50 - 1e-50]


def test_bounds_hold_as_in_numpy() -> None:
    graph = Graph()
    x = graph.input("x", np.float64, ["N", 2])
    least, most = np.array([0.0, -np.inf]), np.array([1.0, np.inf])
    graph.output(clip(graph, x, least, most), np.float64, ["N", 2])
    cells = np.array([[0.5, -0.5], [2.0, 2.0], [-2.0, -2.0], [0.0, np.inf]])
    found = run(graph, {"x": cells})[0]
    assert found.tolist() == [[0.5, -0.5], [1.0, 2.0], [0.0, -2.0], [0.0, np.inf]]


def test_any_flag_of_a_row_counts() -> None:
    graph = Graph()
    names = [graph.input(name, np.bool_, ["N", 2]) for name in "xy"]
    graph.output(any_of(graph, *names), np.bool_, ["N"])
    flags = np.array([[False, False], [True, False], [False, False]])
    found = run(graph, {"x": flags, "y": flags[::-1][[2, 1, 0]] & flags[:, :1]})[0]
    assert found.tolist() == [False, True, False]
    assert any_of(graph) == ""
