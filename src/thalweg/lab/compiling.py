"""Compile a saved model, and say what it costs: how far answers move, what they are worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import OptionError, SourceError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.features.source import featured
from thalweg.data.passes import batch_rows, row_bytes
from thalweg.lab.evaluate import truth_of
from thalweg.lab.metrics import score
from thalweg.models import artifact
from thalweg.models.agreement import Difference, difference, made_rows
from thalweg.models.compile import compile_models
from thalweg.models.compiled import CompiledModel
from thalweg.models.decoder import Prediction
from thalweg.models.model import Model
from thalweg.sources import Source

COMPARED: Final = 10_000
"""The most rows that the models are compared by."""

MANY: Final = 1_000
"""How many rows are many, where the time of a row is told."""

TIMED: Final = 0.2
"""For so many seconds each is timed."""

LEAST: Final = 5
"""So often at least."""

Ask = Callable[[pa.Table], Prediction]


@final
@dataclass(frozen=True, slots=True)
class Speed:
    """How long a row takes, in microseconds, from its raw cells to its answer.

    Parameters
    ----------
    one
        Asked by itself.
    many
        Among `MANY`.
    """

    one: float
    many: float


@final
@dataclass(frozen=True, slots=True)
class Variant:
    """A compiled model.

    Parameters
    ----------
    precision, file, bytes
        How exact it is, its file's name in the model's folder, and how large that is.
    difference
        How far it is from the model.
    metrics
        What it is worth, where the rows have the target.
    speed
        How long a row takes.
    """

    precision: str
    file: str
    bytes: int
    difference: Difference
    metrics: Mapping[str, float]
    speed: Speed


@final
@dataclass(frozen=True, slots=True)
class Compilation:
    """What `compile_folder` has done.

    Parameters
    ----------
    model
        The model's folder.
    identity
        See `thalweg.models.artifact.identity`.
    rows
        How many rows it was compared by.
    made
        Whether these were made up, because nobody gave any.
    metrics, speed
        Of the model itself.
    variants
        In the order asked for.
    """

    model: str
    identity: str
    rows: int
    made: bool
    metrics: Mapping[str, float]
    speed: Speed
    variants: Sequence[Variant] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return asdict(self)


def compile_folder(
    folder: Path,
    progress: Progress,
    *,
    source: Source | None = None,
    precisions: Sequence[str] = artifact.PRECISIONS[:1],
) -> Compilation:
    """Compile a saved model, compare it with what it was made of, and keep it in its folder.

    Nothing is kept where a model in full precision would say something else than the model.

    Parameters
    ----------
    folder
        The saved model.
    progress
        Told of every stage.
    source
        Rows to compare by, with the target or without; by default rows are made.
    precisions
        Which are wanted.

    Raises
    ------
    ArtifactError
        Where the folder is no whole model.
    OptionError
        Where a precision is unknown, or the network has a part that cannot be compiled.
    DisagreementError
        Where the compiled model in full precision differs: our own fault.
    """
    wanted = list(dict.fromkeys(precisions))
    names = {precision: artifact.graph_name(precision) for precision in wanted}
    if not wanted:
        raise OptionError("no precision is given", "one of " + ", ".join(artifact.PRECISIONS))
    model = Model.load(folder)
    rows = made_rows(model.schema) if source is None else _read(model, source, progress)
    files = None if source is None else source.folder
    own = model.predict(rows, files)
    metrics = {} if source is None else _metrics(model, rows, own)
    speed = _speed(partial(model.predict, folder=files), rows, progress, "model")
    progress.start("compile", None, "steps")
    graphs = compile_models(model, wanted)
    variants = []
    for precision, graph in graphs.items():
        progress.start(f"compare {precision}", None, "rows")
        compiled = CompiledModel(model.schema, model.calibration, model.identity, precision, graph)
        said = compiled.predict(rows, files)
        apart = difference(model, own, said)
        if precision == artifact.PRECISIONS[0]:
            apart.require()
        worth = _metrics(model, rows, said) if metrics else {}
        timed = _speed(partial(compiled.predict, folder=files), rows, progress, precision)
        variants.append(Variant(precision, names[precision], len(graph), apart, worth, timed))
    progress.start("save", None, "files")
    files_of = {names[precision]: graph for precision, graph in graphs.items()}
    artifact.add(folder, files_of, model.identity)
    progress.stop()
    made = source is None
    return Compilation(str(folder), model.identity, len(rows), made, metrics, speed, variants)


def _read(model: Model, source: Source, progress: Progress) -> pa.Table:
    """Read the first rows of a source, with the target where it has one."""
    pieces: list[pa.RecordBatch] = []
    held = 0
    with featured(source, model.schema.features, progress) as given:
        there = given.schema().names
        target = model.schema.target
        wanted = [*model.schema.names]
        if target is not None and target.name in there:
            wanted.append(target.name)
        size = batch_rows(given, row_bytes(model.schema), most=COMPARED)
        progress.start("read", given.length(), "rows")
        for batch in given.batches(list(dict.fromkeys(wanted)), size):
            pieces.append(batch.rows.slice(0, COMPARED - held))
            held += pieces[-1].num_rows
            progress.advance(pieces[-1].num_rows)
            if held >= COMPARED:
                break
        progress.stop()
    if not held:
        raise SourceError(f"{source.uri} has no rows", "rows to compare by", "Leave it out.")
    return pa.Table.from_batches(pieces)


def _metrics(model: Model, rows: pa.Table, said: Prediction) -> dict[str, float]:
    """Measure what answers are worth, where the rows have the target."""
    schema = model.schema
    if schema.target is None or schema.target.name not in rows.column_names:
        return {}
    target = schema.encode_target(rows)
    kept = ~(target.dropped | said.dropped)
    truth = truth_of(model, Arrays({}, {name: x[kept] for name, x in target.fields.items()}))
    columns = said.columns.filter(pa.array(kept))
    if model.task == "regression":
        prediction, *bounds = (
            columns.column(place).to_numpy() for place in range(columns.num_columns)
        )
        between = (bounds[0], bounds[1]) if bounds else None
        return score(model.task, truth, prediction, bounds=between)
    shares = np.stack(
        [columns.column(f"probability_{name}").to_numpy() for name in model.classes], axis=1
    )
    return score(model.task, truth, shares, threshold=model.calibration.threshold)


def _speed(ask: Ask, rows: pa.Table, progress: Progress, what: str) -> Speed:
    """Time one row and many."""
    progress.start(f"time {what}", 2, "runs")
    whole = pa.concat_tables([rows] * -(-MANY // max(1, len(rows)))).slice(0, MANY)
    found = []
    for some in (whole.slice(0, 1).combine_chunks(), whole.combine_chunks()):
        found.append(_microseconds(partial(ask, some)) / len(some))
        progress.advance(1)
    progress.stop()
    return Speed(*found)


def _microseconds(work: Callable[[], object]) -> float:
    """Give the median time of some work in microseconds."""
    work()
    begun, times = time.perf_counter(), list[float]()
    while len(times) < LEAST or time.perf_counter() - begun < TIMED:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6
