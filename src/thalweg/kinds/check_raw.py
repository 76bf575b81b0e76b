"""What kinds that compile promise: the graph encodes to the bit, and single cells read alike."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, final, get_args, get_origin

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, OptionError, not_installed
from thalweg.kinds.base import Encoded, Raw, State
from thalweg.kinds.evidence import AnyKind, require, rows, same
from thalweg.kinds.graph import Graph
from thalweg.kinds.odd import TEXTS, odd_columns
from thalweg.stats import ColumnSummary

Check = Callable[[AnyKind], None]

ROWS: Final = 300

PLAIN: Final[tuple[object, ...]] = (
    *(None, True, False, 0, 1, -1, 7, 255, 2**53, 2**53 + 1, -(2**53) - 1, 2**63, -(10**30)),
    *(0.0, -0.0, 1.0, 0.5, -1.5, 1e16, 1e300, 5e-324, math.nan, math.inf, -math.inf),
    *(
        "",
        " ",
        "?",
        "n/a",
        "NaN",
        " NA ",
        "none",
        "-",
        "\t",
        "\u00a0x",
        "x",
        " x",
        "\x00",
        "\u212aa",
    ),
    *(
        "0",
        "1",
        "1.0",
        " 1",
        "01",
        "-0",
        "+1",
        "1e3",
        "7.50",
        "123456789012345678",
        "\u0661",
        "inf",
    ),
    *("true", "True", "TRUE", " yes", "no", "Off", "tRUE", "<", ">50K."),
    *("1970-01-01", "2024-02-29", "2023-02-29", "0001-01-01", "9999-12-31", "0000-01-01"),
    *("2024-05-31T08:26", "2024-05-31 08:26:59", "2024-05-31T24:00", "2024-05-31T08:26:60"),
    *("2024-05-31T08:26:59.123Z", "2024-05-31T08:26:59,123456+02:00", "2024-05-31T08:26:59.12"),
    *("2024-05-31T08:26:59.000001-23:59", "2024-05-31Z", "2024-05-31t08:26", "20240531"),
    *("2024-5-1", "31.05.2024", "05/31/2024", "2024-W01-1", "2024-05-31T08:26+24:00"),
)
"""Cells as JSON holds them, the odd ones among them."""


@final
class CompiledKind:
    """The graph of some columns of one kind, by itself.

    Parameters
    ----------
    kind
        One that compiles.
    states
        Fitted features.

    Attributes
    ----------
    nodes
        How many nodes the kind wrote.

    Raises
    ------
    OptionError
        Where onnx or onnxruntime is not installed.
    """

    def __init__(self, kind: AnyKind, states: Sequence[State]) -> None:
        try:
            import onnx  # noqa: F401 - the graph is written with it
            import onnxruntime
        except ImportError as error:
            package = error.name or "onnxruntime"
            raise not_installed("checking a kind that compiles", package, "serve,train") from None
        self._kind, self._states = kind, states
        nothing = [pa.nulls(1)] * len(states)
        like = kind.encode(nothing, states).fields
        graph = Graph(kind.name)
        dtype = kind.raw(nothing, states).values.dtype
        raw = graph.input("raw", dtype, ["N", len(states)])
        self._written = kind.graph(graph, raw, states)
        self.nodes = len(graph)
        fields = self._written.fields
        require(list(fields) == list(like), kind, f"the graph has the fields {', '.join(fields)}")
        for name, tensor in fields.items():
            floating = like[name].dtype.kind == "f"
            shape = ["N", *like[name].shape[1:]]
            graph.output(tensor, np.float32 if floating else np.int64, shape)
        if self._written.dropped:
            graph.output(self._written.dropped, np.bool_, ["N"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def encode(self, raw: Raw) -> Encoded:
        """Encode raw cells; whole numbers are int64."""
        found = self._session.run(None, {"raw": raw.values})
        fields = dict(zip(self._written.fields, found, strict=False))
        dropped = found[-1] if self._written.dropped else np.zeros(len(raw.values), dtype=bool)
        return Encoded(fields, dropped, raw.unreadable)

    def check(self, arrays: Sequence[pa.Array]) -> None:
        """Require the fields that the kind's own `encode` gives, of some rows, of one and of none.

        Parameters
        ----------
        arrays
            One for each state. Where the kind refuses them, nothing is checked.
        """
        kind = self._kind
        try:
            encoded = kind.encode(arrays, self._states)
        except ColumnError:
            return
        raw = kind.raw(arrays, self._states)
        count = len(raw.values)
        shape = encoded.unreadable.shape
        require(raw.values.shape == shape, kind, f"raw cells are {raw.values.shape}, not {shape}")
        for start, stop in ((0, count), (0, 0), *((at, at + 1) for at in range(min(count, 3)))):
            part = slice(start, stop)
            expected = rows(encoded, part)
            wide = {
                name: field if field.dtype.kind == "f" else field.astype(np.int64)
                for name, field in expected.fields.items()
            }
            expected = Encoded(wide, expected.dropped, expected.unreadable)
            found = self.encode(Raw(raw.values[part], raw.unreadable[part]))
            same(expected, found, kind, f"the graph, for {stop - start} rows,")


def reads_alike(kind: AnyKind, cells: Iterable[object], state: State) -> None:
    """Require cells of JSON to be read as `raw` reads them, or not at all."""
    read = kind.reader(state)
    for cell in cells:
        found = read(cell)
        if found is None:
            continue
        try:
            raw = kind.raw([pa.array([cell])], [state])
        except (pa.ArrowException, OverflowError, ColumnError):
            require(False, kind, f"{cell!r} is read as {found!r}, and refused by raw")  # noqa: FBT003
            continue
        careful = raw.values[0, 0]
        words = isinstance(careful, str)
        # The sign of 0 counts, and NaN is NaN.
        alike = found == careful if words else repr(found) == repr(float(careful))
        broken = f"{cell!r} is read as {found!r}, and as {careful!r} in an array"
        require(alike and not raw.unreadable[0, 0], kind, broken)


def options_of(kind: AnyKind) -> Iterator[Any]:
    """Give the kind's options as they are by default, and with every other word alone."""
    yield kind.options_type()
    for name, option in kind.options_type.model_fields.items():
        words = [
            word
            for each in (option.annotation, *get_args(option.annotation))
            if get_origin(each) is Literal
            for word in get_args(each)
        ]
        for word in words:
            yield kind.options_type.model_validate({name: word})


def the_graph_encodes(kind: AnyKind) -> None:
    """Require the graph's fields to be those of `encode` in every bit, whatever the options."""
    if not kind.compiles:
        return
    array = kind.sample(0, ROWS)
    other = array.take(pa.array(np.arange(ROWS)[::-1]))
    for options, state in _fitted(kind, array):
        compiled = CompiledKind(kind, [state])
        for cells in (array, *odd_columns()):
            compiled.check([cells])
        nothing = kind.fit(ColumnSummary(), options, "feature")
        CompiledKind(kind, [nothing, state, state]).check([array, array, other])


def the_graph_is_small(kind: AnyKind) -> None:
    """Require many columns to need no more nodes than one."""
    if not kind.compiles:
        return
    for _, state in _fitted(kind, kind.sample(0, ROWS)):
        few, many = (CompiledKind(kind, [state] * columns).nodes for columns in (1, 9))
        require(few == many, kind, f"one column takes {few} nodes, nine take {many}")


def cells_read_alike(kind: AnyKind) -> None:
    """Require single cells to be read as in an array, and most to be read at all."""
    if not kind.compiles:
        return
    array = kind.sample(0, ROWS)
    cells = array.to_pylist()
    foreign: tuple[object, ...] = ([], {}, b"", object())
    for _, state in _fitted(kind, array):
        reads_alike(kind, [*cells, *TEXTS, *PLAIN], state)
        read = kind.reader(state)
        require(all(read(cell) is None for cell in foreign), kind, "a cell of no JSON is read")
    read = kind.reader(next(state for _, state in _fitted(kind, array)))
    share = np.mean([read(cell) is not None for cell in cells])
    require(share > 0.8, kind, f"only {share:.0%} of the sample's cells are read by themselves")


def _fitted(kind: AnyKind, array: pa.Array) -> Iterator[tuple[Any, Any]]:
    """Fit a feature with the options as they are by default, and with every other word alone."""
    summary = ColumnSummary()
    summary.update(array)
    for options in options_of(kind):
        # Some mean something only beside another.
        with contextlib.suppress(OptionError):
            yield options, kind.fit(summary, options, "feature")


RAW_CHECKS: Final[tuple[Check, ...]] = (the_graph_encodes, the_graph_is_small, cells_read_alike)
"""Every check of this file."""
