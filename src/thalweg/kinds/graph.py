"""An ONNX graph written node by node, for kinds that say how raw cells become fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    import onnx

OPSETS: Final = {"": 20, "ai.onnx.ml": 4}
"""The versions of the operators' domains that nodes are written for."""

IR: Final = 10
"""The version of the file format."""

_TYPES: Final = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float64": 11}

Attribute = int | float | str | Sequence[int] | Sequence[float] | NDArray[Any]
Shape = Sequence[str | int]
"""Of each axis the size, or a name where any is right."""


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or an output: text where its dtype is object."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[str | int, ...]


@final
class Graph:
    """Nodes, constants, inputs and outputs, in the order in which they are added.

    Tensors go by name. Names begin with the graph's prefix, so that the nodes of several graphs
    stand in one.

    Parameters
    ----------
    prefix
        What the names of constants and of nodes' outputs begin with.

    Examples
    --------
    >>> graph = Graph()
    >>> age = graph.input("age", np.float64, ["N", 1])
    >>> months = graph.add("Mul", [age, np.array([12.0])])
    >>> graph.output(months, np.float64, ["N", 1])
    >>> [node.op_type for node in graph.nodes()], months
    (['Mul'], 'raw_0')
    """

    def __init__(self, prefix: str = "raw") -> None:
        self._prefix = prefix
        self._names = 0
        self._inputs: list[_Port] = []
        self._outputs: list[_Port] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], tuple[str, NDArray[Any]]] = {}
        self._nodes: list[
            tuple[str, list[str], list[str], Mapping[str, Attribute] | None, str]
        ] = []

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self._nodes)

    def input(self, name: str, dtype: DTypeLike, shape: Shape) -> str:
        """Declare an input and give its name; text is of dtype object."""
        self._inputs.append(_Port(name, np.dtype(dtype), tuple(shape)))
        return name

    def output(self, name: str, dtype: DTypeLike, shape: Shape) -> None:
        """Declare a tensor to be an output; text is of dtype object."""
        self._outputs.append(_Port(name, np.dtype(dtype), tuple(shape)))

    def constant(self, array: NDArray[Any]) -> str:
        """Keep an array and give its name; equal arrays are kept once. Text is of dtype object."""
        words = array.dtype == np.object_
        content = repr(array.tolist()).encode() if words else array.tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = self._name(), array
        return self._constants[key][0]

    def add(
        self,
        operator: str,
        inputs: Sequence[str | NDArray[Any]],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
        name: str | None = None,
    ) -> str:
        """Add a node with one output.

        Parameters
        ----------
        operator
            Its ONNX name.
        inputs
            Names of tensors; an array stands for a constant.
        attributes
            An array stands for a tensor.
        domain
            Of the operator: one of `OPSETS`.
        name
            What its output is to be called; by default a name of its own.

        Returns
        -------
        str
            The output's name.
        """
        output = name or self._name()
        self._nodes.append((operator, self._named(inputs), [output], attributes, domain))
        return output

    def cast(self, tensor: str, dtype: DTypeLike) -> str:
        """Add a node that turns numbers or flags into another type."""
        return self.add("Cast", [tensor], {"to": _TYPES[np.dtype(dtype).name]})

    def split(
        self,
        operator: str,
        inputs: Sequence[str | NDArray[Any]],
        outputs: int,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
    ) -> tuple[str, ...]:
        """Add a node with several outputs, and give their names; see `add`."""
        names = [self._name() for _ in range(outputs)]
        self._nodes.append((operator, self._named(inputs), names, attributes, domain))
        return tuple(names)

    def nodes(self) -> list[onnx.NodeProto]:
        """Give the nodes, to be put into another graph."""
        from onnx import helper, numpy_helper

        return [
            helper.make_node(
                operator,
                inputs,
                outputs,
                domain=domain,
                **{
                    key: numpy_helper.from_array(value, key)
                    if isinstance(value, np.ndarray)
                    else value
                    for key, value in (attributes or {}).items()
                },
            )
            for operator, inputs, outputs, attributes, domain in self._nodes
        ]

    def initializers(self) -> list[onnx.TensorProto]:
        """Give the constants, to be put into another graph."""
        from onnx import numpy_helper

        return [numpy_helper.from_array(array, name) for name, array in self._constants.values()]

    def inputs(self) -> list[onnx.ValueInfoProto]:
        """Give the inputs that were declared."""
        return [_declared(port) for port in self._inputs]

    def outputs(self) -> list[onnx.ValueInfoProto]:
        """Give the outputs that were declared."""
        return [_declared(port) for port in self._outputs]

    def model(self) -> onnx.ModelProto:
        """Give the graph as a model of its own, checked."""
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self.nodes(), self._prefix, self.inputs(), self.outputs(), self.initializers()
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR)
        onnx.checker.check_model(model)
        return model

    def _named(self, tensors: Sequence[str | NDArray[Any]]) -> list[str]:
        return [one if isinstance(one, str) else self.constant(one) for one in tensors]

    def _name(self) -> str:
        self._names += 1
        return f"{self._prefix}_{self._names - 1}"


def _declared(port: _Port) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(
        port.name, helper.np_dtype_to_tensor_dtype(port.dtype), list(port.shape)
    )


def look_up_cells(
    graph: Graph, cells: str, tables: Sequence[Mapping[str, int] | Mapping[float, int]], other: int
) -> str:
    """Write the nodes that look every column's cells up in a table of its own.

    One list of the keys of all tables says which key a cell is, and a second one what it means in
    its column: so three nodes do, and no memory is spent on what is in no table.

    Parameters
    ----------
    graph
        Where to.
    cells
        Text or float64 [N, C].
    tables
        For each of C columns, what its keys mean; one key or more in all.
    other
        What all else means.

    Returns
    -------
    str
        int64 [N, C].
    """
    width = len(tables)
    keys = list(dict.fromkeys(key for table in tables for key in table))
    places = {key: place for place, key in enumerate(keys)}
    meant = {
        places[key] * width + column: value
        for column, table in enumerate(tables)
        for key, value in table.items()
    }
    dtype = np.object_ if isinstance(keys[0], str) else np.float64
    first = _encoder(np.array(keys, dtype), np.arange(len(keys)) * width, len(keys) * width)
    second = _encoder(np.array(list(meant)), np.array(list(meant.values())), other)
    found = graph.add("LabelEncoder", [cells], first, domain="ai.onnx.ml")
    found = graph.add("Add", [found, np.arange(width)])
    return graph.add("LabelEncoder", [found], second, domain="ai.onnx.ml")


def clip(graph: Graph, values: str, least: NDArray[np.float64], most: NDArray[np.float64]) -> str:
    """Write the nodes that keep float64 [N, C] within bounds [C]; NaN becomes anything.

    ONNX's own ``Clip`` knows one bound for all columns.
    """
    return graph.add("Min", [graph.add("Max", [values, least]), most])


def minus(graph: Graph, values: str, less: NDArray[np.float64]) -> str:
    """Write the node that subtracts float64 [C] from float64 [N, C].

    No ``Sub``: ONNX Runtime leaves out one whose only number is 0 as float32, be it 1e-50.
    """
    return graph.add("Sum", [values, -less])


def any_of(graph: Graph, *flags: str) -> str:
    """Write the nodes that say whether any flag of a row is set, in any of some tensors [N, C].

    Returns
    -------
    str
        Bool [N]; empty where there is no tensor.
    """
    if not flags:
        return ""
    first, *others = flags
    for other in others:
        first = graph.add("Or", [first, other])
    return graph.add("ReduceMax", [first, np.array([1])], {"keepdims": 0})


def _encoder(keys: NDArray[Any], values: NDArray[np.int64], default: int) -> dict[str, Attribute]:
    """Give the attributes of a LabelEncoder."""
    return {"keys_tensor": keys, "values_tensor": values, "default_tensor": np.array([default])}
