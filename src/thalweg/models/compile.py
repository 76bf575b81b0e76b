"""Compile a model: raw cells, network and calibration as one ONNX graph, which runs without torch.

The network is exported by torch; before it stands what each kind says of its raw cells (see
`thalweg.kinds.base.Kind.graph`), behind it the calibration, in double precision where NumPy has it.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.core.errors import OptionError, not_installed
from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.kinds.graph import IR, OPSETS, Graph
from thalweg.kinds.number import MARGIN, NumberState
from thalweg.models import artifact
from thalweg.models.calibration import LEAST
from thalweg.models.compiled import DROPPED, META, compiling
from thalweg.models.model import Model
from thalweg.models.network import spread_of

if TYPE_CHECKING:
    import onnx

ROWS: Final = 5
"""How many rows the export looks at; any number may be asked later."""

MOST_BYTES: Final = 2**31 - 1
"""The most that one file of this format can hold."""

_WEIGHED: Final = frozenset(("MatMul", "Gemm", "Conv", "Einsum", "Gather", "GRU"))
"""Nodes whose weights may be rounded; what places values in bins may not."""

_NARROWED: Final = 1024
"""Smaller weights are left as they are: they take no room."""

Fields = dict[str, dict[str, NDArray[Any]]]


def compile_model(model: Model, precision: str = "float32") -> bytes:
    """Write a model as one ONNX graph; see `compile_models`."""
    return compile_models(model, [precision])[precision]


def compile_models(model: Model, precisions: Sequence[str]) -> dict[str, bytes]:
    """Write a model as ONNX graphs of some precisions.

    Parameters
    ----------
    model
        Any trained model.
    precisions
        ``float32``: as exact as the model. ``float16``: weights of half the size, which are
        read back as float32. ``int8``: a quarter of the size, with a scale for each output
        (Jacob et al. 2018).

    Returns
    -------
    dict
        Precision -> the file. Its inputs and outputs are those of
        `thalweg.models.compiled.CompiledModel`.

    Raises
    ------
    OptionError
        Where a precision is unknown, a library is missing, or some part of the network has no
        counterpart in ONNX.
    """
    for precision in precisions:
        artifact.graph_name(precision)
    for name in ("onnx", "onnxscript"):
        _require(name)
    fields = _example(model.schema)
    exported = _exported(model, fields)
    return {precision: _written(model, fields, exported, precision) for precision in precisions}


def _written(model: Model, fields: Fields, exported: onnx.ModelProto, precision: str) -> bytes:
    """Write one file."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(exported)
    if precision != artifact.PRECISIONS[0]:
        _narrow(proto, precision)
    _join(proto, model.schema, fields)
    told = {
        "identity": model.identity,
        "precision": precision,
        "inputs": {
            kind: [column.name for column in columns]
            for kind, columns in compiling(model.schema).items()
        },
        "target": None if model.schema.target is None else model.schema.target.name,
        "task": model.task,
        "classes": model.classes,
        "threshold": model.calibration.threshold,
    }
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = META, json.dumps(told)
    if proto.ByteSize() > MOST_BYTES:
        raise OptionError(
            f"the compiled model takes {proto.ByteSize():,} bytes",
            f"at most {MOST_BYTES:,}",
            "Serve a smaller network.",
        )
    written: bytes = proto.SerializeToString(deterministic=True)
    return written


@final
class _Whole(nn.Module):
    """A network and what its outputs mean, with tensors in place of names.

    What it says is what `thalweg.models.decoder.Decoder.calibrated` says, to the last operation.
    """

    bias: Tensor
    usual: Tensor

    def __init__(self, model: Model, names: list[tuple[str, str]]) -> None:
        super().__init__()
        self._network = model.network
        self._names = names
        self._task = model.task
        self._calibration = model.calibration
        target = model.schema.target
        self._state = target.state if target is not None else None
        for name in ("bias", "usual"):
            values = torch.tensor(getattr(model.calibration, name), dtype=torch.float64)
            self.register_buffer(name, values)

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` gives."""
        if self._task == "anomaly":
            return ["prediction", "surprise"]
        if self._task == "regression" and self._calibration.radius is not None:
            return ["prediction", "low", "high"]
        return ["prediction"]

    def forward(self, *fields: Tensor) -> tuple[Tensor, ...]:
        """Answer for encoded rows [N]."""
        features: dict[str, dict[str, Tensor]] = {}
        for (kind, name), tensor in zip(self._names, fields, strict=True):
            features.setdefault(kind, {})[name] = tensor
        outputs = self._network(features).float()
        answers = self._network.head.combine(outputs)
        if self._task == "anomaly":
            given, alone = answers.double().chunk(2, dim=1)
            surprise = (given + alone) / 2 - self.usual
            return surprise.sum(dim=1), surprise
        if self._task == "regression":
            return self._numbers(answers[:, 0], outputs)
        return (self._probabilities(answers),)

    def _numbers(self, answers: Tensor, outputs: Tensor) -> tuple[Tensor, ...]:
        """Give predictions and their intervals, each [N]."""
        found = [answers]
        radius, floor = self._calibration.radius, self._calibration.floor
        if radius is not None:
            centre = answers.double()
            width = torch.ones_like(centre) * _exact(radius)
            if floor is not None:
                width = width * (spread_of(outputs).double() + _exact(floor))
            found += [centre - width, centre + width]
        return tuple(self._units(one) for one in found)

    def _units(self, standardised: Tensor) -> Tensor:
        """Put standardised numbers into the target's own units, as its kind's `decode` does."""
        state = self._state
        if not isinstance(state, NumberState):
            raise AssertionError
        margin = MARGIN * (state.maximum - state.minimum)
        numbers = standardised.float().double() * _exact(state.deviation) + _exact(state.mean)
        least, most = _exact(state.minimum - margin), _exact(state.maximum + margin)
        return torch.minimum(torch.maximum(numbers, least), most)

    def _probabilities(self, answers: Tensor) -> Tensor:
        """Calibrate probabilities, as `thalweg.models.calibration.Calibration.probabilities`."""
        likely, temperature = answers.double(), _exact(self._calibration.temperature)
        if self._calibration.temperature == 1 and not len(self.bias):
            return likely
        least = _exact(LEAST)
        logits = torch.maximum(likely, least).log()
        if self._calibration.labels:
            odds = logits - torch.maximum(1 - likely, least).log()
            return (odds / temperature).sigmoid()
        scaled = logits / temperature
        return (scaled + self.bias if len(self.bias) else scaled).softmax(dim=1)


def _exact(number: float) -> Tensor:
    """Keep a number in double precision: an exporter takes plain ones for float32."""
    return torch.tensor(number, dtype=torch.float64)


def _example(schema: Schema) -> Fields:
    """Encode a few rows without any cell: the shapes of fields follow from the schema alone."""
    empty = pa.table({name: pa.nulls(ROWS) for name in schema.names})
    found: Fields = {}
    raw = compiling(schema)
    for kind, fields in schema.encode(empty).fields.items():
        if kind in raw:
            found[kind] = {
                name: array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
                for name, array in fields.items()
            }
        else:
            found[kind] = {name: _known(array) for name, array in fields.items()}
    return found


def _known(array: NDArray[Any]) -> NDArray[Any]:
    """Give an array in a dtype that torch reckons with."""
    wider = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
    return array.astype(wider.get(array.dtype, array.dtype))


def _exported(model: Model, fields: Fields) -> onnx.ModelProto:
    """Let torch write the network and the calibration as a graph of encoded fields."""
    names = [(kind, name) for kind, arrays in fields.items() for name in arrays]
    whole = _Whole(model, names).eval()
    rows = tuple(torch.from_numpy(np.ascontiguousarray(fields[k][n])) for k, n in names)
    shapes = (tuple({0: torch.export.Dim.DYNAMIC} for _ in rows),)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                torch.export.export(whole, rows, dynamic_shapes=shapes, strict=False),
                (),
                input_names=[f"{kind}.{name}" for kind, name in names],
                output_names=whole.outputs,
                opset_version=OPSETS[""],
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        first = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise OptionError(
            f"the network cannot be compiled ({first[:200]})",
            "parts that ONNX can say",
            "Serve it with torch, or train one with other encoders.",
        ) from error
    if program is None:
        raise AssertionError
    proto = program.model_proto
    proto.ir_version = IR
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep an exporter's remarks to itself: what it could not do, it raises."""
    before = logging.root.manager.disable
    # A level of torch's own logger would not hold for those below it.
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _narrow(proto: onnx.ModelProto, precision: str) -> None:
    """Round large weights in place; nodes before the others make them float32 again.

    What is reckoned with stays float32, row by row: matrix products of whole numbers would scale
    all rows of a batch together, so that an answer depended on its neighbours. A runtime folds
    these nodes when it loads the graph.
    """
    from onnx import TensorProto, helper, numpy_helper

    large = {name for node in proto.graph.node if node.op_type in _WEIGHED for name in node.input}
    nodes = []
    for tensor in [*proto.graph.initializer]:
        if tensor.name not in large or tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _NARROWED:
            continue
        name = tensor.name
        if precision == "float16":
            tensor.CopyFrom(numpy_helper.from_array(_half(values), f"{name}.half"))
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
            continue
        whole, scale = _eighth(values)
        tensor.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
        proto.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=TensorProto.FLOAT)
        nodes += [cast, helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name])]
    nodes.extend(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to float16; none becomes infinite."""
    most = float(np.finfo(np.float16).max)
    return values.clip(-most, most).astype(np.float16)


def _eighth(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights [..., inputs, outputs] to 8 bits, with a scale for each output.

    Examples
    --------
    >>> whole, scale = _eighth(np.array([[1.0, -8.0], [0.5, 4.0]], np.float32))
    >>> whole.tolist()
    [[127, -127], [64, 64]]
    """
    # Of kernels [outputs, inputs, ...] an output is a row; of all others it is the last axis.
    axes = tuple(range(1, values.ndim)) if values.ndim == 4 else (values.ndim - 2,)
    scale = np.abs(values).max(axis=axes, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


def _join(proto: onnx.ModelProto, schema: Schema, fields: Fields) -> None:
    """Put what the kinds say of raw cells before the network, in place."""
    from onnx import helper

    graph = Graph()
    renamed: dict[str, str] = {}
    dropped: list[str] = []
    raw = compiling(schema)
    for kind, arrays in fields.items():
        if kind not in raw:
            renamed |= {
                f"{kind}.{name}": _entered(graph, f"{kind}.{name}", array)
                for name, array in arrays.items()
            }
            continue
        states = [column.state for column in raw[kind]]
        cells = KINDS[kind].raw([pa.nulls(0)] * len(states), states).values
        entered = graph.input(kind, cells.dtype, ["N", len(states)])
        written = KINDS[kind].graph(graph, entered, states)
        renamed |= {f"{kind}.{name}": tensor for name, tensor in written.fields.items()}
        if written.dropped:
            dropped.append(written.dropped)
    if dropped:
        _output_dropped(graph, dropped)
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    nodes = [*graph.nodes(), *proto.graph.node]
    outputs = [*proto.graph.output, *graph.outputs()]
    joined = helper.make_graph(
        nodes,
        "thalweg",
        graph.inputs(),
        outputs,
        [*graph.initializers(), *proto.graph.initializer],
    )
    proto.graph.CopyFrom(joined)
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(*one) for one in OPSETS.items())


def _entered(graph: Graph, name: str, array: NDArray[Any]) -> str:
    """Declare a field [N, ...] that is encoded outside as an input."""
    from onnx import helper

    entered = graph.input(name, array.dtype, ["N", *array.shape[1:]])
    known = _known(array).dtype
    if known == array.dtype:
        return entered
    return graph.add("Cast", [entered], {"to": helper.np_dtype_to_tensor_dtype(known)})


def _output_dropped(graph: Graph, dropped: list[str]) -> None:
    """Say which rows a cleaning option sets aside, bool [N]."""
    joined = dropped[0]
    for other in dropped[1:]:
        joined = graph.add("Or", [joined, other])
    graph.add("Identity", [joined], name=DROPPED)
    graph.output(DROPPED, np.bool_, ["N"])


def _require(package: str) -> None:
    """Refuse to go on without a library."""
    try:
        importlib.import_module(package)
    except ImportError:
        raise not_installed("compiling a model", package, "train") from None
