"""A compiled model: one ONNX graph from raw cells to calibrated answers, run without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import ArtifactError, not_installed
from thalweg.data.schema import Column, Schema, refusals
from thalweg.kinds import KINDS
from thalweg.models import artifact
from thalweg.models.calibration import Calibration
from thalweg.models.decoder import Answers, Decoder, Prediction
from thalweg.models.graphfile import refusal

if TYPE_CHECKING:
    from thalweg.stats.drift.reference import Reference

META: Final = "thalweg"
"""Under which name a graph says what it is, as JSON."""

DROPPED: Final = "dropped"
"""The output that says which rows a cleaning option sets aside; not there where none can."""

PIECE_BYTES: Final = 1 << 22
"""So much input is looked at together: what networks make of it is a hundred times more."""

PIECE_ROWS: Final = 4096
"""The most rows looked at together."""

_UNFIT: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

Inputs = Mapping[str, NDArray[Any]]
"""The graph's inputs by name, [N, ...] each."""

Reader = Callable[[object], float | str | None]


@final
@dataclass(frozen=True, slots=True)
class Feed:
    """Rows as the graph reads them.

    Parameters
    ----------
    inputs
        See `Inputs`.
    rows
        How many, N.
    dropped
        Bool [N]: rows that are set aside before the graph sees them.
    unreadable
        Column name -> bool [N]: cells that were there but could not be read; only columns that
        have some.
    refused
        Why rows are ``dropped`` whose cells are damaged or not to be trusted -> bool [N].
    """

    inputs: Inputs
    rows: int
    dropped: NDArray[np.bool_]
    unreadable: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What the graph says of rows [N].

    Parameters
    ----------
    answers
        Calibrated, in the target's own units.
    dropped
        Bool [N]: rows that a cleaning option sets aside.
    """

    answers: Answers
    dropped: NDArray[np.bool_]


@final
class CompiledModel:
    """A model that answers without torch, as `thalweg.models.model.Model` does.

    Parameters
    ----------
    schema
        The fitted columns.
    calibration
        What the answers' threshold and tail are read from; probabilities and intervals are the
        graph's own.
    identity
        See the attribute.
    precision
        See the attribute.
    graph
        The bytes of the ONNX file.
    threads
        How many threads one run may use.
    reference
        What the columns looked like in the training rows, as JSON; None where that is not known.

    Attributes
    ----------
    schema, decoder
        As the model's own.
    identity
        12 hexadecimal digits that stand for the model: weights and description.
    precision
        ``float32``, ``float16`` or ``int8``.

    Raises
    ------
    ArtifactError
        Where the graph is not to be trusted, cannot be read, or is another model's.
    OptionError
        Where ONNX Runtime is not installed.
    """

    def __init__(
        self,
        schema: Schema,
        calibration: Calibration,
        identity: str,
        precision: str,
        graph: bytes,
        threads: int = 1,
        reference: Mapping[str, Any] | None = None,
    ) -> None:
        self.schema = schema
        self.decoder = Decoder(schema, calibration)
        self.identity = identity
        self.precision = precision
        self._reference = reference
        self._session = _session(graph, threads)
        _require_own(self._session, schema, identity)
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._raw = compiling(schema)
        self._kinds = schema.by_kind()
        self._empty = {
            kind: KINDS[kind].raw([pa.nulls(1)] * len(columns), [c.state for c in columns]).values
            for kind, columns in self._raw.items()
        }
        self._readers = self._read_by()

    @classmethod
    def load(cls, folder: Path, precision: str = "float32", threads: int = 1) -> Self:
        """Read the compiled graph out of a model's folder; nothing in it can run code.

        Parameters
        ----------
        folder
            A saved model that was compiled.
        precision
            ``float32``, ``float16`` or ``int8``.
        threads
            How many threads one run may use.

        Raises
        ------
        ArtifactError
            Where it is damaged, foreign or of another version.
        OptionError
            Where the model is not compiled to this precision, or ONNX Runtime is not installed.
        """
        facts, graph = artifact.load_graph(folder, precision)
        try:
            schema = Schema.from_json(facts["schema"])
            calibration = Calibration.model_validate(facts["calibration"])
            identity = artifact.identity(facts)
            reference = facts.get("reference")
            return cls(schema, calibration, identity, precision, graph, threads, reference)
        except _UNFIT as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise _unfit(f"{folder} is no model that this version can read ({first})") from None

    @cached_property
    def reference(self) -> Reference | None:
        """What the columns looked like in the training rows; drift alone asks for it.

        Raises
        ------
        ArtifactError
            Where it is not what this version writes.
        """
        from thalweg.stats.drift.reference import Reference

        try:
            return None if self._reference is None else Reference.model_validate(self._reference)
        except ValueError as error:
            raise _unfit(f"the model's reference cannot be read ({error})") from None

    @property
    def columns(self) -> list[str]:
        """The names of the columns that rows should have."""
        return self.schema.names

    def feed(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Feed:
        """Read rows of any form, with all care.

        Parameters
        ----------
        rows, folder
            As `thalweg.models.model.Model.predict` takes them.

        Raises
        ------
        ColumnError
            Where a column is missing or its type can never be of its kind.
        """
        cells = self.schema.read(rows, folder)
        inputs: dict[str, NDArray[Any]] = {}
        refused = dict(cells.refused)
        unreadable: dict[str, NDArray[np.bool_]] = {}
        dropped = np.zeros(cells.rows, dtype=np.bool_)
        for kind, columns in self._kinds.items():
            states = [column.state for column in columns]
            if kind in self._raw:
                raw = KINDS[kind].raw(cells.arrays[kind], states)
                inputs[kind], unread = raw.values, raw.unreadable
            else:
                part = KINDS[kind].encode(cells.arrays[kind], states)
                inputs |= {f"{kind}.{name}": array for name, array in part.fields.items()}
                refused |= refusals(part, columns)
                dropped |= part.dropped
                unread = part.unreadable
            if unread.any():
                places = np.flatnonzero(unread.any(axis=0)).tolist()
                unreadable |= {columns[place].name: unread[:, place] for place in places}
        for mask in refused.values():
            dropped |= mask
        return Feed(inputs, cells.rows, dropped, unreadable, refused)

    def quick(self, rows: Sequence[Mapping[str, object]]) -> Feed | None:
        """Read plain JSON rows; None where a cell needs the care of `feed`.

        A column that a row lacks is a missing cell. Where this gives something, it is what `feed`
        gives of the same cells.
        """
        if self._readers is None:
            return None
        inputs = {}
        for kind, readers, dtype in self._readers:
            cells = [read(row.get(name)) for row in rows for name, read in readers]
            if None in cells:
                return None
            inputs[kind] = np.array(cells, dtype).reshape(len(rows), len(readers))
        return Feed(inputs, len(rows), np.zeros(len(rows), dtype=np.bool_))

    def run(self, inputs: Inputs) -> Run:
        """Answer for rows [N] in numbers: one run of the graph, however many they are."""
        found = self._session.run(self._outputs, inputs)
        named = dict(zip(self._outputs, found, strict=True))
        dropped = named.pop(DROPPED, None)
        if dropped is None:
            dropped = np.zeros(len(named["prediction"]), dtype=np.bool_)
        return Run(Answers(**named), dropped)

    def predict(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Prediction:
        """Predict rows, as `thalweg.models.model.Model.predict` does.

        Many rows are run in pieces, so that memory does not grow with them.
        """
        feed = self.feed(rows, folder)
        run = self._run_all(feed)
        dropped = feed.dropped | run.dropped
        return self.decoder.prediction(run.answers, dropped, feed.unreadable, feed.refused)

    def _run_all(self, feed: Feed) -> Run:
        """Run the graph over pieces of rows."""
        if not feed.rows:
            # Some operators of the runtime give nothing a wrong shape: one row is asked, none told.
            return _none_of(self.run({name: _one(x) for name, x in feed.inputs.items()}))
        size = _piece_rows(feed.inputs)
        if feed.rows <= size:
            return self.run(feed.inputs)
        pieces = [
            self.run({name: array[at : at + size] for name, array in feed.inputs.items()})
            for at in range(0, feed.rows, size)
        ]
        joined = {
            name: np.concatenate([getattr(piece.answers, name) for piece in pieces])
            for name in self._outputs
            if name != DROPPED
        }
        return Run(Answers(**joined), np.concatenate([piece.dropped for piece in pieces]))

    def _read_by(self) -> list[tuple[str, list[tuple[str, Reader]], Any]] | None:
        """Give each kind's readers of plain cells; None where some column needs more than one."""
        if len(self._raw) < len(self._kinds) or self.schema.curves or self.schema.features:
            return None
        return [
            (
                kind,
                [(column.name, KINDS[kind].reader(column.state)) for column in columns],
                self._empty[kind].dtype,
            )
            for kind, columns in self._raw.items()
        ]


def compiling(schema: Schema) -> dict[str, list[Column]]:
    """Group the columns whose raw cells a graph reads by kind; all others come encoded."""
    return {kind: columns for kind, columns in schema.by_kind().items() if KINDS[kind].compiles}


def _piece_rows(inputs: Inputs) -> int:
    """Say how many rows are run together; wide ones (pictures, sounds) go by few."""
    row = sum(array[:1].nbytes for array in inputs.values())
    return max(16, min(PIECE_ROWS, PIECE_BYTES // max(1, row)))


def _one(array: NDArray[Any]) -> NDArray[Any]:
    """Give a row of nothing in the form of [0, ...]."""
    return np.full((1, *array.shape[1:]), "" if array.dtype == np.object_ else 0, array.dtype)


def _none_of(run: Run) -> Run:
    """Leave all rows out."""
    said = (run.answers.prediction, run.answers.low, run.answers.high, run.answers.surprise)
    prediction, *others = (None if one is None else one[:0] for one in said)
    if prediction is None:
        raise AssertionError
    return Run(Answers(prediction, *others), run.dropped[:0])


def _session(graph: bytes, threads: int) -> Any:
    """Load a graph that can be trusted into ONNX Runtime."""
    why = refusal(graph)
    if why is not None:
        raise _unfit(f"the compiled graph {why}")
    try:
        import onnxruntime
    except ImportError:
        raise not_installed("a compiled model", "onnxruntime", "serve") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # one for each number of rows ever asked: memory would grow
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The runtime's exceptions share no class of their own.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        first = str(error).splitlines()[0][:200]
        raise _unfit(f"the compiled graph cannot be run ({first})") from None


def _require_own(session: Any, schema: Schema, identity: str) -> None:
    """Refuse a graph that is of another model."""
    told = json.loads(session.get_modelmeta().custom_metadata_map.get(META, "{}"))
    wanted = {kind: [c.name for c in columns] for kind, columns in compiling(schema).items()}
    if not isinstance(told, dict) or told.get("identity") != identity:
        raise _unfit("the compiled graph is of another model, or of none of ours")
    if told.get("inputs") != wanted:
        raise _unfit("the compiled graph reads other columns than the model")


def _unfit(given: str) -> ArtifactError:
    """Say that a graph cannot be used."""
    return ArtifactError(
        given,
        "a graph that this version of Thalweg compiled from this very model",
        "Compile it again: thalweg compile MODEL.",
    )
