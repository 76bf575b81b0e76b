"""The conformance suite of sources and sinks: what each promises, as plain functions.

Each check raises `NonconformityError` where a promise is broken. A format of your own is done when
these pass::

    from thalweg.sources.check import check_sink, check_source
    check_source(MySource(...))
    check_sink(lambda: open_sink(path), lambda: open_source(path), path, rows)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from thalweg.core.errors import ColumnError
from thalweg.sources.base import Batch, Position, Reject, Sink, Source

SIZES: Final = (1, 7, 1_000, 65_536)


class NonconformityError(AssertionError):
    """A promise of the contract is broken."""


def require(kept: bool, broken: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Raise `NonconformityError` with what is broken, unless the promise is kept."""
    if not kept:
        raise NonconformityError(broken)


# ---- sources -------------------------------------------------------------------------------


def check_source(source: Source) -> None:
    """Run every check of a source. It should be small: it is read again from every position.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """
    for check in SOURCE_CHECKS:
        check(source)


def batches_have_the_schema(source: Source) -> None:
    """Require every batch to have the source's schema, and none to be empty without rejects."""
    for batch in source.batches():
        found = batch.rows.schema
        require(found.equals(source.schema()), f"a batch has the schema {found}")
        require(bool(batch.rows.num_rows or batch.rejects), "a batch holds nothing")


def size_changes_nothing(source: Source) -> None:
    """Require the same rows and rejects for every batch size, and no batch above it."""
    whole = _all(source.batches())
    for size in SIZES:
        batches = list(source.batches(size=size))
        most = max((batch.rows.num_rows for batch in batches), default=0)
        require(most <= size, f"a batch of {most} rows where {size} were asked for")
        require(_all(iter(batches)) == whole, f"batches of {size} rows give other rows")


def reading_is_deterministic(source: Source) -> None:
    """Require two readings to give the same batches, positions and rejects."""
    first, second = (list(source.batches(size=5)) for _ in range(2))
    same = [(one.position, one.rejects) for one in first] == [
        (one.position, one.rejects) for one in second
    ]
    require(same and _all(iter(first)) == _all(iter(second)), "two readings differ")


def projection_keeps_the_order_asked_for(source: Source) -> None:
    """Require the columns asked for, in that order, with the rows and rejects of a full reading."""
    names = source.schema().names
    rows, rejects = _all(source.batches())
    for wanted in (names[::-1], names[:1], names[-1:]):
        expected = [tuple(row[names.index(name)] for name in wanted) for row in rows]
        for batch in source.batches(wanted):
            found = batch.rows.schema.names
            require(found == wanted, f"asked for {wanted}, got {found}")
        found_rows, found_rejects = _all(source.batches(wanted))
        require(found_rows == expected, f"the columns {wanted} alone hold other values")
        require(found_rejects == rejects, f"the columns {wanted} alone give other rejects")


def resuming_gives_the_rest(source: Source) -> None:
    """Require from every position exactly the rows and rejects that were not delivered."""
    for size in (3, 65_536):
        batches = list(source.batches(size=size))
        for done, batch in enumerate(batches, 1):
            rest = _all(iter(batches[done:]))
            for resumed_size in (2, 65_536):
                found = _all(source.batches(size=resumed_size, start=batch.position))
                require(found == rest, f"going on from {batch.position} gives other rows")
    start = _all(source.batches(start=Position()))
    require(start == _all(source.batches()), "the first position is not the beginning")


def a_missing_column_has_near_names(source: Source) -> None:
    """Require `ColumnError` for a column that is not there, naming the near one."""
    name = source.schema().names[0]
    try:
        list(source.batches([f"{name}_"]))
    except ColumnError as error:
        require(name in str(error), f"the error does not name {name!r}: {error}")
        require("\n" not in str(error), "the error has several lines")
        return
    raise NonconformityError("a missing column is not refused")


def length_is_the_number_of_rows(source: Source) -> None:
    """Require a length, where there is one, to be the number of rows."""
    length = source.length()
    found = len(_all(source.batches())[0])
    require(length in (None, found), f"the length is {length}, but there are {found} rows")


def fingerprint_stays(source: Source) -> None:
    """Require the same fingerprint as long as nothing changes."""
    before = source.fingerprint()
    list(source.batches())
    require(source.fingerprint() == before, "reading changes the fingerprint")


def fingerprint_changes_with_content(source: Source, changed: Source) -> None:
    """Require another fingerprint of a source with other content."""
    require(source.fingerprint() != changed.fingerprint(), "other content, same fingerprint")


# ---- sinks ---------------------------------------------------------------------------------


def check_sink(
    sink: Callable[[], Sink], source: Callable[[], Source], path: Path, rows: pa.RecordBatch
) -> None:
    """Run every check of a sink that writes a file.

    Parameters
    ----------
    sink
        Opens the sink, again and again.
    source
        Opens what was written.
    path
        The file, in a folder that is empty.
    rows
        Three rows or more, whose values the format keeps when they are compared as text.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """
    abort_leaves_nothing(sink, path, rows)
    what_was_written_is_read(sink, source, rows)
    abort_leaves_the_old(sink, path, rows)
    commit_replaces_at_once(sink, source, path, rows)


def abort_leaves_nothing(sink: Callable[[], Sink], path: Path, rows: pa.RecordBatch) -> None:
    """Require an aborted sink to leave no file, temporary ones included."""
    for write in (True, False):
        _aborted(sink, rows if write else None)
        left = sorted(one.name for one in path.parent.iterdir())
        require(not left, f"an aborted sink leaves {left}")


def what_was_written_is_read(
    sink: Callable[[], Sink], source: Callable[[], Source], rows: pa.RecordBatch
) -> None:
    """Require the rows that were written, in order, from batches of any size."""
    with sink() as opened:
        for start in range(0, rows.num_rows, 2):
            opened.write(rows.slice(start, 2))
    expected = _texts(rows)
    require(source().schema().names == rows.schema.names, "other columns than were written")
    found = [row for batch in source().batches() for row in _texts(batch.rows)]
    require(found == expected, "other rows than were written")


def abort_leaves_the_old(sink: Callable[[], Sink], path: Path, rows: pa.RecordBatch) -> None:
    """Require an aborted sink to leave an old file as it was, and nothing else."""
    before = path.read_bytes()
    _aborted(sink, rows)
    require(path.read_bytes() == before, "an aborted sink changes the old file")
    require(list(path.parent.iterdir()) == [path], "an aborted sink leaves temporary files")


def commit_replaces_at_once(
    sink: Callable[[], Sink], source: Callable[[], Source], path: Path, rows: pa.RecordBatch
) -> None:
    """Require the old file up to the commit, then the new one, and nothing else."""
    before = path.read_bytes()
    opened = sink()
    opened.write(rows.slice(0, 1))
    require(path.read_bytes() == before, "the old file changes before the commit")
    opened.commit()
    found = [row for batch in source().batches() for row in _texts(batch.rows)]
    require(found == _texts(rows.slice(0, 1)), "the commit does not replace the old rows")
    require(list(path.parent.iterdir()) == [path], "a commit leaves temporary files")


def _all(batches: Iterator[Batch]) -> tuple[list[tuple[object, ...]], list[Reject]]:
    """Collect rows and rejects."""
    rows: list[tuple[object, ...]] = []
    rejects: list[Reject] = []
    for batch in batches:
        rows.extend(zip(*(_comparable(column) for column in batch.rows.columns), strict=True))
        rejects.extend(batch.rejects)
    return rows, rejects


def _comparable(column: pa.Array) -> Sequence[object]:
    """Give values that are equal to themselves, which NaN is not."""
    values: list[object] = column.to_pylist()
    return [repr(value) for value in values] if pa.types.is_floating(column.type) else values


def _texts(rows: pa.RecordBatch) -> list[tuple[object, ...]]:
    """Give rows as text, for formats without types."""
    return list(
        zip(*(column.cast(pa.string()).to_pylist() for column in rows.columns), strict=True)
    )


def _aborted(sink: Callable[[], Sink], rows: pa.RecordBatch | None) -> None:
    """Open a sink and fail."""
    try:
        with sink() as opened:
            if rows is not None:
                opened.write(rows)
            raise InterruptedError
    except InterruptedError:
        return


SOURCE_CHECKS: Final = (
    batches_have_the_schema,
    size_changes_nothing,
    reading_is_deterministic,
    projection_keeps_the_order_asked_for,
    resuming_gives_the_rest,
    a_missing_column_has_near_names,
    length_is_the_number_of_rows,
    fingerprint_stays,
)
