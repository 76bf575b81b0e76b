"""Predict every row of a source, a batch at a time, into a sink or a table."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, SourceError
from thalweg.core.files import clear_of_disk
from thalweg.core.progress import Progress
from thalweg.data.features.source import FeaturedSource
from thalweg.data.passes import batch_rows, row_bytes, told
from thalweg.data.schema import CLEANED, require
from thalweg.models.decoder import Prediction
from thalweg.serving.answers import answered
from thalweg.sources import Reject, Source, open_sink
from thalweg.sources.memory import MemorySource
from thalweg.sources.paths import shown
from thalweg.sources.sinks import beside, decoded, draft, remove

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
    from thalweg.models.model import Model

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
    rejected
        Rows without a prediction.
    rejects
        Those of them that nobody has taken yet, each with the reason. The line of a row that a
        cleaning option sets aside is its number among the rows that could be read.
    """

    predicted: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Count rows that get no prediction."""
        before = len(self.rejects)
        self.rejects.extend(rejects)
        self.rejected += len(self.rejects) - before

    def take(self) -> list[Reject]:
        """Give the rejects that nobody has taken yet, so that they need not be held."""
        taken, self.rejects = self.rejects, []
        return taken


def predict(
    model: Model | CompiledModel,
    source: Source,
    tally: Tally,
    progress: Progress,
    *,
    keep: bool = True,
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
    OptionError
        Where its columns are kept and one is named like one of the prediction's.
    """
    require(model.schema.names, source.schema().names)
    columns = None if keep else model.schema.names
    progress.start("predict", source.length(), "rows")
    done = 0
    size = batch_rows(source, row_bytes(model.schema), most=ROWS)
    for batch in source.batches(columns, size):
        tally.reject(batch.rejects)
        rows = batch.rows
        if not rows.num_rows:
            continue
        prediction = model.predict(rows, source.folder)
        if not done:
            _check(rows, prediction, source)
        for name, cells in prediction.unreadable.items():
            tally.unreadable[name] += int(cells.sum())
        tally.reject(_set_aside(rows, prediction, source.uri, done))
        stays = pa.array(~prediction.dropped)
        answers = prediction.columns
        joined = answered(rows, answers) if keep else answers
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


def _set_aside(
    rows: pa.RecordBatch, prediction: Prediction, origin: str, before: int
) -> Iterator[Reject]:
    """Write down the rows that are refused, or set aside by a cleaning option."""
    for row in np.flatnonzero(prediction.dropped).tolist():
        reasons = (why for why, mask in prediction.refused.items() if mask[row])
        yield Reject(origin, before + row + 1, next(reasons, CLEANED), told(rows.slice(row, 1)))


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


@contextlib.contextmanager
def _rejects_file(path: str) -> Iterator[Callable[[Iterable[Reject]], None]]:
    """Write rejects as they come, so that memory does not grow with them; without any, no file.

    At the end the file replaces that of another run, which would be misleading.
    """
    building = draft(path)
    try:
        with building.path.open("w", encoding="utf-8") as file:

            def write(rejects: Iterable[Reject]) -> None:
                with clear_of_disk(shown(path)):
                    for reject in rejects:
                        file.write(json.dumps(asdict(reject), ensure_ascii=False) + "\n")

            yield write
            with clear_of_disk(shown(path)):
                file.flush()
        if building.path.stat().st_size:
            building.commit()
        else:
            remove(path)
    finally:
        building.abort()


def predict_all(
    model: Model | CompiledModel,
    source: Source,
    to: str | Path | None,
    progress: Progress,
    *,
    keep: bool = True,
) -> pa.Table:
    """Predict a source into a table, or into a file.

    Parameters
    ----------
    model, source, progress, keep
        See `predict`.
    to
        The path or URI of the file to write, or None for a table.

    Returns
    -------
    pyarrow.Table
        The rows with their predictions; the columns alone where they went to a file. The schema's
        metadata say how many were ``predicted``.
    """
    tally = Tally()
    own = source.rows if isinstance(source, FeaturedSource) else source
    pieces: list[pa.RecordBatch] = []
    aside = None if to is None else beside(to, ".rejects.ndjson")
    with contextlib.ExitStack() as stack:
        sink = None if to is None else stack.enter_context(open_sink(to))
        # Left before the sink is: no prediction is to be seen without what was set aside.
        write = None if aside is None else stack.enter_context(_rejects_file(aside))
        for rows in predict(model, source, tally, progress, keep=keep):
            if sink is None or write is None:
                # A user's own categories stay; those that a file was read as are texts.
                pieces.append(rows if isinstance(own, MemorySource) else decoded(rows))
            else:
                sink.write(rows)
                write(tally.take())
                pieces = [rows.slice(0, 0)]
        if write is not None:
            write(tally.take())
    for name, cells in tally.unreadable.items():
        progress.note(f"{cells:,} cells of {name!r} could not be read and were taken as missing")
    if tally.rejected:
        where = "" if aside is None else f": see {shown(aside)}"
        progress.note(f"{tally.rejected:,} rows were set aside without a prediction{where}")
    table = pa.Table.from_batches(pieces)
    return table.replace_schema_metadata({"predicted": str(tally.predicted)})
