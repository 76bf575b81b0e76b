"""Predict every row of a source, a batch at a time, into a sink or a table."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.progress import Progress
from thalweg.data.schema import require
from thalweg.models.model import Model, Prediction
from thalweg.sources import Reject, Source, open_sink, write_rejects

ROWS: Final = 65_536


@final
@dataclass(slots=True)
class Tally:
    """What happened to the rows of a batch run: every row is in exactly one count.

    Parameters
    ----------
    predicted
        Rows that have a prediction.
    unreadable
        Column -> cells that could not be read and were taken as missing.
    rejects
        Rows without a prediction, each with the reason.
    """

    predicted: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)


def predict(
    model: Model, source: Source, tally: Tally, progress: Progress, *, keep: bool = True
) -> Iterator[pa.RecordBatch]:
    """Predict a source's rows in order, in constant memory.

    Parameters
    ----------
    model
        Predicts.
    source
        Gives rows.
    tally
        Counts what happened, while the iterator runs.
    progress
        Told of every batch.
    keep
        Give the source's own columns before the prediction's.

    Yields
    ------
    pyarrow.RecordBatch
        Rows with their prediction; rows that cannot have one are in ``tally.rejects``.

    Raises
    ------
    ColumnError
        Where a column is missing, is of the wrong type, or holds no readable cell at all in the
        first batch.
    SourceError
        Where the source cannot be read or has no rows.
    """
    require(model.schema.names, source.schema().names)
    columns = None if keep else model.schema.names
    progress.start("predict", source.length(), "rows")
    done = 0
    for batch in source.batches(columns, ROWS):
        tally.rejects.extend(batch.rejects)
        rows = batch.rows
        if not rows.num_rows:
            continue
        prediction = model.predict(rows)
        if not done:
            _check(rows, prediction, source)
        for name, cells in prediction.unreadable.items():
            tally.unreadable[name] += int(cells.sum())
        for row in np.flatnonzero(prediction.dropped):
            line = done + int(row) + 1
            content = str(rows.slice(int(row), 1).to_pylist()[0])[:10_000]
            tally.rejects.append(
                Reject(source.uri, line, "set aside by a cleaning option", content)
            )
        stays = pa.array(~prediction.dropped)
        answers = prediction.columns
        joined = _beside(rows, answers) if keep else answers
        kept = joined.filter(stays)
        done += rows.num_rows
        tally.predicted += kept.num_rows
        progress.advance(rows.num_rows)
        yield kept
    progress.stop()
    if not done:
        raise SourceError(
            f"{source.uri} has no rows", "a header and rows below it", "Is it the right file?"
        )


def _check(rows: pa.RecordBatch, prediction: Prediction, source: Source) -> None:
    """Refuse a column of which not one cell can be read: it is of another kind now."""
    for name, cells in prediction.unreadable.items():
        present = rows.num_rows - rows.column(name).null_count
        if present > 1 and int(cells.sum()) >= present:
            first = rows.column(name).drop_null()[0].as_py()
            raise ColumnError(
                f"column {name!r} of {source.uri} holds values such as {str(first)[:40]!r}",
                "the kind of values that the model was trained on",
                "Not one of them can be read: is it the right column?",
            )


def _beside(rows: pa.RecordBatch, answers: pa.RecordBatch) -> pa.RecordBatch:
    """Put the answers after the rows' own columns, whose names win no clash."""
    taken = set(answers.schema.names)
    own = [name for name in rows.schema.names if name not in taken]
    arrays = [rows.column(name) for name in own]
    fields = [rows.schema.field(name) for name in own]
    return pa.RecordBatch.from_arrays(
        [*arrays, *answers.columns], schema=pa.schema([*fields, *answers.schema])
    )


def predict_all(
    model: Model, source: Source, to: Path | None, progress: Progress, *, keep: bool = True
) -> pa.Table:
    """Predict a source into a table, or into a file.

    Parameters
    ----------
    model, source, progress, keep
        See `predict`.
    to
        The file to write, or None for a table.

    Returns
    -------
    pyarrow.Table
        The rows with their predictions; the columns alone where they went to a file. The schema's
        metadata say how many were ``predicted``.
    """
    tally = Tally()
    pieces: list[pa.RecordBatch] = []
    with contextlib.ExitStack() as stack:
        sink = None if to is None else stack.enter_context(open_sink(to))
        for rows in predict(model, source, tally, progress, keep=keep):
            if sink is None:
                pieces.append(rows)
            else:
                sink.write(rows)
                pieces = [rows.slice(0, 0)]
    for name, cells in tally.unreadable.items():
        progress.note(f"{cells:,} cells of {name!r} could not be read and were taken as missing")
    if tally.rejects:
        where = ""
        if to is not None:
            path = to.with_name(f"{to.name}.rejects.ndjson")
            write_rejects(tally.rejects, path)
            where = f": see {path}"
        progress.note(f"{len(tally.rejects):,} rows were set aside without a prediction{where}")
    table = pa.Table.from_batches(pieces)
    return table.replace_schema_metadata({"predicted": str(tally.predicted)})
