"""A stream pipeline: what is read, what is done, where it goes; and the folder that remembers."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import quote

import pyarrow as pa

from thalweg.core.errors import ColumnError, OptionError, SourceError, ThalwegError, near
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.core.progress import Progress
from thalweg.serving.stream.claim import Lock
from thalweg.serving.stream.decoding import Decoder
from thalweg.serving.stream.lane import Lane, Tally
from thalweg.serving.stream.layout import ColumnType, infer_types
from thalweg.serving.stream.runner import Orders, Runner
from thalweg.serving.stream.work import DEAD, LATE, ROWS, WINDOWS, Clockwork, Work
from thalweg.sources.databases.address import database_of, without_secrets
from thalweg.sources.paths import scheme_of
from thalweg.sources.streams import OUTLETS, open_outlet, open_stream
from thalweg.sources.streams.base import Outlet, Position, Stream, Writer
from thalweg.stats.windows.spec import WindowSpec

if TYPE_CHECKING:
    from thalweg.models.model import Model

FORMAT: Final = 1
SAMPLE: Final = 1000
"""So many records are looked at for the columns that are no model's."""

STATES: Final = "thalweg-state"
"""The folder, where one is run, that the states of pipelines lie in by default."""


@final
@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is read, what is done, where it goes.

    Parameters
    ----------
    source
        The stream's URI: see `thalweg.sources.streams.open_stream`.
    outlets
        What comes out (``rows``, ``windows``, ``late``, ``dead``) -> the URI that it goes to.
        Late rows and dead letters go to logs in the state's folder by default.
    model
        Predicts; None for windows alone.
    windows
        Which windows; None for none.
    clockwork
        How event time is told.
    state
        The folder that remembers; by default one of `STATES`, named by source and outlets.
    lanes
        How many lanes the partitions are shared out to; by default as many as partitions where
        there are no windows, and else one, so that no window is parted.
    latency
        The seconds that a record may wait for others of its batch.
    every
        Seconds between two checkpoints.
    once
        Stop when nothing is left, and close all windows.
    latest
        Begin behind what is there now, the first time.
    keep
        Whether a row's own columns come before its prediction.
    """

    source: str
    outlets: Mapping[str, str]
    model: Model | None = None
    windows: WindowSpec | None = None
    clockwork: Clockwork = field(default_factory=Clockwork)
    state: Path | None = None
    lanes: int | None = None
    latency: float = 1.0
    every: float = 10.0
    once: bool = False
    latest: bool = False
    keep: bool = True

    @property
    def folder(self) -> Path:
        """The folder that remembers."""
        if self.state is not None:
            return self.state
        said = json.dumps([self.source, sorted(self.outlets.items())])
        return Path(STATES, hashlib.sha256(said.encode()).hexdigest()[:12])

    @property
    def goals(self) -> dict[str, str]:
        """Everything that comes out and where it goes."""
        aside = [DEAD] if self.windows is None else [DEAD, LATE]
        logs = {name: f"log://{quote(str(self.folder / name))}" for name in aside}
        return {**dict(self.outlets), **{k: v for k, v in logs.items() if k not in self.outlets}}


def run(pipeline: Pipeline, progress: Progress, stopping: Callable[[], bool]) -> Tally:
    """Run a pipeline until told to stop.

    Raises
    ------
    OptionError, ColumnError, SourceError
        Where the pipeline cannot be; nothing was begun.
    """
    _require_possible(pipeline)
    with _made(pipeline.folder), ExitStack() as stack:
        first = stack.enter_context(open_stream(pipeline.source, pipeline.folder))
        name, types, begin = _prepared(pipeline, first, progress, stopping)
        if types is None:
            return Tally()
        partitions = list(first.partitions())
        lanes = _lanes(pipeline, partitions)
        header, separator = first.columns, first.separator
        stack.pop_all()
    opened = [first]  # the first lane goes on with it: standard input cannot be opened again

    def make(number: int, folder: Path, tally: Tally) -> Lane:
        folder.mkdir(parents=True, exist_ok=True)
        stream = opened.pop() if opened else open_stream(pipeline.source, pipeline.folder)

        def work() -> Work:
            return Work(
                Decoder(types, stream.format, header, separator),
                pipeline.clockwork,
                pipeline.model,
                pipeline.windows,
                partitions[number::lanes],
                keep=pipeline.keep,
            )

        return Lane(
            folder,
            partitions[number::lanes],
            stream,
            _outlets(pipeline, name, number, folder, stream.uri),
            work,
            pipeline.latency,
            pipeline.every,
            tally,
            progress.note,
        )

    orders = Orders(pipeline.folder, lanes, once=pipeline.once, begin=begin)
    try:
        return Runner(orders, make, progress, stopping).run()
    finally:
        for stream in opened:  # no lane was this process's
            stream.close()


def explain(pipeline: Pipeline) -> dict[str, Any]:
    """Say what a pipeline does and what it promises, without running it.

    Returns
    -------
    dict
        Plain data: ``source``, ``lanes``, ``windows``, ``outputs`` (each with ``to`` and
        ``guarantee``), ``state``, ``how``.
    """
    with open_stream(pipeline.source, pipeline.folder) as stream:
        partitions = list(stream.partitions())
        source = {"uri": stream.uri, "format": stream.format, "partitions": len(partitions)}
        outlets = _outlets(pipeline, "explained", 0, pipeline.folder, stream.uri)
        outputs = {
            name: {"to": outlet.uri, "guarantee": outlet.guarantee}
            for name, outlet in outlets.items()
        }
        for outlet in outlets.values():
            outlet.close()
    lanes = _lanes(pipeline, partitions)
    return {
        "source": source,
        "lanes": lanes,
        "windows": None if pipeline.windows is None else pipeline.windows.to_json(),
        "outputs": outputs,
        "state": str(pipeline.folder),
        "how": (
            "Which records make a batch is written to the disk before the batch is worked on. "
            f"Every {pipeline.every:g} s all outputs are flushed, then a checkpoint of everything "
            "that is remembered is written, then the source is told. After a crash the same "
            "batches are made again from the checkpoint, and an output takes those that it does "
            "not have. A process that dies is replaced by another on the same state within two "
            "seconds."
            + (
                f" Each of {lanes} lanes has windows of its own: they are whole only where rows of "
                "a key lie in one partition."
                if lanes > 1 and pipeline.windows is not None
                else ""
            )
        ),
    }


def _lanes(pipeline: Pipeline, partitions: Sequence[str]) -> int:
    wanted = pipeline.lanes
    if wanted is None:
        return 1 if pipeline.windows is not None else len(partitions)
    if not 1 <= wanted <= len(partitions):
        raise OptionError(
            f"{wanted} lanes for {len(partitions)} partitions",
            f"from 1 to {len(partitions)}",
            "A lane needs a partition: make more of them, or use fewer lanes.",
        )
    return wanted


def _outlets(
    pipeline: Pipeline, name: str, number: int, folder: Path, source: str
) -> dict[str, Outlet]:
    """Open where things go: each output is a writer of its own."""
    return {
        output: open_outlet(uri, Writer(name, f"{number}-{output}", source), folder)
        for output, uri in pipeline.goals.items()
    }


def _require_possible(pipeline: Pipeline) -> None:
    """Refuse what cannot be, before anything is written."""
    if WINDOWS in pipeline.outlets and pipeline.windows is None:
        raise OptionError("a place for windows", "windows too", "Add --window 1m, for example.")
    for uri in pipeline.outlets.values():
        scheme = scheme_of(uri)
        if scheme and scheme not in OUTLETS and not database_of(uri):
            raise SourceError(
                f"{without_secrets(uri)} is nowhere that rows can be sent to",
                ", ".join(OUTLETS) + ", a folder or -",
                near(scheme, OUTLETS),
            )


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, and take it away again where a mistake shows before anything is begun."""
    fresh = [one for one in (folder, *folder.parents) if not one.exists()]
    with clear_of_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except ThalwegError:
        with suppress(OSError):  # others may have begun meanwhile
            if fresh and not (folder / "pipeline.json").exists():
                (folder / "setup.lock").unlink(missing_ok=True)
            for one in fresh:
                one.rmdir()
        raise


def _prepared(
    pipeline: Pipeline, stream: Stream, progress: Progress, stopping: Callable[[], bool]
) -> tuple[str, dict[str, ColumnType] | None, dict[str, Position]]:
    """Fill the state's folder, or check that it is this pipeline's.

    Gives its name, the columns (None where told to stop) and behind which records it begins.
    """
    folder = pipeline.folder
    path = folder / "pipeline.json"
    said = _said(pipeline)
    with Lock(folder / "setup.lock") as lock:
        while not lock.take():
            if stopping():
                return "", None, {}
            time.sleep(0.05)
        known = json.loads(path.read_text()) if path.exists() else None
        if known is not None:
            _require_same(folder, known, said)
            _require_columns(pipeline, known["types"])
            return known["name"], known["types"], known["begin"]
        _lanes(pipeline, stream.partitions())
        begin = _begin(pipeline, stream)
        types = _types(pipeline, stream, begin, progress, stopping)
        if types is None:
            return "", None, {}
        _require_columns(pipeline, types)
        name = f"thalweg-{secrets.token_hex(4)}"
        for outlet in _outlets(pipeline, name, 0, folder, pipeline.source).values():
            outlet.close()  # what cannot be opened is told before anything is begun
        with atomic_file(path) as building:
            made = {"format": FORMAT, "name": name, "types": types, "begin": begin, **said}
            building.write_text(json.dumps(made, indent=1))
    return name, types, begin


def _begin(pipeline: Pipeline, stream: Stream) -> dict[str, Position]:
    """Say behind which records to begin: told once, so that what comes meanwhile is not missed."""
    if not pipeline.latest:
        return {}
    newest = {name: stream.newest(name) for name in stream.partitions()}
    return {name: one for name, one in newest.items() if one is not None}


def _said(pipeline: Pipeline) -> dict[str, Any]:
    """Give what may not change from one run to the next, as it is remembered by it."""
    clockwork = pipeline.clockwork
    return {
        "source": without_secrets(pipeline.source),
        "windows": None if pipeline.windows is None else pipeline.windows.to_json(),
        "time": clockwork.column,
        "lateness": clockwork.lateness,
        "lanes": pipeline.lanes,
    }


def _require_same(folder: Path, known: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Refuse to go on with what another pipeline remembers."""
    if known.get("format") != FORMAT:
        raise OptionError(
            f"{folder} has format {known.get('format')!r}",
            f"format {FORMAT}",
            "Use the version of Thalweg that wrote it, or another --state.",
        )
    for name, value in said.items():
        if known.get(name) != value:
            raise OptionError(
                f"{name} is {json.dumps(value)}, and what {folder} remembers was made with "
                f"{json.dumps(known.get(name))}",
                "the same as before",
                "Give another --state to begin anew.",
            )


def _types(
    pipeline: Pipeline,
    stream: Stream,
    begin: Mapping[str, Position],
    progress: Progress,
    stopping: Callable[[], bool],
) -> dict[str, ColumnType] | None:
    """Say what the columns are: the model's by their kinds, others by the first records."""
    own: dict[str, ColumnType] = {}
    if pipeline.model is not None:
        schema = pipeline.model.schema
        kinds = {column.name: column.kind for column in schema.columns}
        for name in schema.raw:
            if name in kinds:
                own[name] = "number" if kinds[name] == "number" else "text"
        needed = {*schema.raw, pipeline.clockwork.column or schema.raw[0]}
        named = stream.format != "csv"  # else the first line must be waited for
        if named and not pipeline.keep and pipeline.windows is None and needed <= set(own):
            return own
    found = _found(pipeline, stream, begin, progress, stopping)
    if found is None:
        return None
    if pipeline.model is None:
        lenient: dict[str, ColumnType] = {"whole": "number", "real": "number"}
        by = () if pipeline.windows is None else pipeline.windows.by
        return {n: k if n in by else lenient.get(k, k) for n, k in found.items()}
    names = dict.fromkeys((*found, *pipeline.model.schema.raw))
    return {name: own.get(name, found.get(name, "text")) for name in names}


def _found(
    pipeline: Pipeline,
    stream: Stream,
    begin: Mapping[str, Position],
    progress: Progress,
    stopping: Callable[[], bool],
) -> dict[str, ColumnType] | None:
    """Wait for the first records that can be read, and give their columns; None where stopped."""
    partitions = stream.partitions()
    after = {name: begin.get(name) for name in partitions}
    mistake: SourceError | None = None
    progress.start("wait for the first records", None, "records")
    while not stopping():
        fetched = [stream.fetch(name, after[name], SAMPLE) for name in partitions]
        records = [one for one in fetched if one is not None]
        if records:
            if stream.format == "csv" and stream.columns is None:
                raise _nameless(stream.uri)
            payloads = pa.concat_arrays([one.payloads for one in records]).slice(0, SAMPLE)
            try:
                return infer_types(payloads, stream.format, stream.columns)
            except SourceError as error:  # poison, and others may come
                mistake = error
            after.update({one.partition: one.last for one in records})
        elif pipeline.once or stream.ended():
            if mistake is None or pipeline.model is not None:
                return None if mistake is None else {}
            raise mistake
        else:
            stream.wait(after, 0.25)
    return None


def _nameless(uri: str) -> SourceError:
    return SourceError(
        f"{uri} holds CSV whose columns have no names",
        "a .csv file, which names them in its first line",
        "Send events to a log or a broker as JSON or Arrow.",
    )


def _require_columns(pipeline: Pipeline, types: Mapping[str, ColumnType]) -> None:
    """Check that the columns that are asked for are there."""
    wanted = [pipeline.clockwork.column] if pipeline.clockwork.column else []
    if pipeline.windows is not None:
        answers = ["prediction"] if pipeline.model is not None else []
        wanted += [
            name
            for name in (*pipeline.windows.by, *(pipeline.windows.columns or ()))
            if name not in answers and not name.startswith("probability_")
        ]
    for name in wanted:
        if name not in types:
            raise ColumnError(
                f"column {name!r} not found in the first records",
                "a column that they have",
                near(name, types),
            )
    clash = {"prediction"} & set(types) if pipeline.model is not None and pipeline.keep else set()
    if clash and ROWS in pipeline.outlets:
        raise OptionError(
            "the rows have a column 'prediction' of their own",
            "columns of other names than the prediction's",
            "Leave the rows' own columns out with --no-keep, or rename it.",
        )
