"""What is decided before a pipeline's first record, and never again: its columns, its name."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import ColumnError, OptionError, SourceError, ThalwegError, near
from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.core.progress import Progress
from thalweg.serving.stream.claim import Lock
from thalweg.serving.stream.decoding import Decoder
from thalweg.serving.stream.layout import ColumnType, infer_types
from thalweg.serving.stream.lessons import Lessons
from thalweg.serving.stream.pipeline import Pipeline
from thalweg.serving.stream.work import LABELS, ROWS, WINDOWS
from thalweg.sources.databases.address import database_of, without_secrets
from thalweg.sources.paths import scheme_of
from thalweg.sources.streams import OUTLETS
from thalweg.sources.streams.base import Position, Stream
from thalweg.sources.streams.joined import Joined

FORMAT: Final = 1
SAMPLE: Final = 1000
"""So many records are looked at for the columns that are no model's."""


def require_possible(pipeline: Pipeline) -> None:
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
def made(folder: Path) -> Iterator[None]:
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


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided before a pipeline's first record, and never again.

    ``name`` tells its outputs from others', ``begin`` says behind which records it begins, ``cold``
    what a learner without a model knows of the columns.
    """

    name: str
    types: dict[str, ColumnType]
    begin: dict[str, Position]
    cold: dict[str, Any] | None = None


def prepare(
    pipeline: Pipeline, stream: Stream, progress: Progress, stopping: Callable[[], bool]
) -> Plan | None:
    """Fill the state's folder, or check that it is this pipeline's; None where told to stop."""
    folder = pipeline.folder
    path = folder / "pipeline.json"
    said = _said(pipeline)
    with Lock(folder / "setup.lock") as lock:
        while not lock.take():
            if stopping():
                return None
            time.sleep(0.05)
        known = json.loads(path.read_text()) if path.exists() else None
        if known is not None:
            _require_same(folder, known, said)
            _require_columns(pipeline, known["types"])
            return Plan(known["name"], known["types"], known["begin"], known.get("cold"))
        pipeline.share(stream.partitions())
        begin = _begin(pipeline, stream)
        found = _types(pipeline, stream, begin, progress, stopping)
        if found is None:
            return None
        types, cold = found
        _require_columns(pipeline, types)
        plan = Plan(f"thalweg-{secrets.token_hex(4)}", types, begin, cold)
        for outlet in pipeline.open_outlets(plan.name, 0, folder, pipeline.source).values():
            outlet.close()  # what cannot be opened is told before anything is begun
        with atomic_file(path) as building:
            made = {"format": FORMAT, **asdict(plan), **said}
            building.write_text(json.dumps(made, indent=1))
    return plan


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
        "learn": True if pipeline.lessons is not None else None,
        **({} if pipeline.lessons is None else pipeline.lessons.to_json()),
        "follows": pipeline.follows or None,  # which states of older versions do not name
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
) -> tuple[dict[str, ColumnType], dict[str, Any] | None] | None:
    """Say what the columns are: the model's by their kinds, others by the first records.

    Gives what a learner without a model must know of them too.
    """
    own = _own_types(pipeline)
    if pipeline.model is not None:
        raw = pipeline.model.schema.raw
        needed = {*raw, pipeline.clockwork.column or raw[0]}
        named = stream.format != "csv"  # else the first line must be waited for
        named = named and pipeline.lessons is None
        if named and not pipeline.keep and pipeline.windows is None and needed <= set(own):
            return own, None
    payloads = _first(pipeline, stream, begin, progress, stopping)
    if payloads is None:
        return None
    found = infer_types(payloads, stream.format, stream.columns) if len(payloads) else {}
    if pipeline.lessons is not None and found:
        _require_lessons(pipeline.lessons, found)
    if pipeline.model is not None:
        names = dict.fromkeys((*found, *own))
        return {name: own.get(name, found.get(name, "text")) for name in names}, None
    lenient: dict[str, ColumnType] = {"whole": "number", "real": "number"}
    by = () if pipeline.windows is None else pipeline.windows.by
    types = {n: k if n in by else lenient.get(k, k) for n, k in found.items()} | own
    if pipeline.lessons is None:
        return types, None
    return _cold(pipeline, pipeline.lessons, stream, payloads, types)


def _cold(
    pipeline: Pipeline,
    lessons: Lessons,
    stream: Stream,
    payloads: pa.Array,
    types: dict[str, ColumnType],
) -> tuple[dict[str, ColumnType], dict[str, Any]]:
    """Say what a learner that begins with nothing must know of the columns."""
    from thalweg.training.online.start import look

    labels = None
    if isinstance(stream, Joined) and lessons.target not in types:
        labels, types[lessons.target] = _first_labels(stream, lessons)
    decoder = Decoder(types, stream.format, stream.columns, stream.separator)
    aside = [name for name in (lessons.key, pipeline.clockwork.column) if name in types]
    wishes = replace(lessons.wishes, drop=[*lessons.wishes.drop, *filter(None, aside)])
    return types, look(decoder.decode(payloads).rows, lessons.target, wishes, labels).to_json()


def _first_labels(stream: Joined, lessons: Lessons) -> tuple[pa.Array, ColumnType]:
    """Look at the labels that are there already, and say what they are; classes by default."""
    found = [stream.second.fetch(name, None, SAMPLE) for name in stream.second.partitions()]
    records = [one.payloads for one in found if one is not None]
    if not records:
        return pa.array([], pa.string()), "text"
    payloads, second = pa.concat_arrays(records), stream.second
    kind = infer_types(payloads, second.format, second.columns).get(lessons.target, "text")
    wanted: ColumnType = "text" if kind == "text" else "number"
    decoder = Decoder({lessons.target: wanted}, second.format, second.columns, second.separator)
    return decoder.decode(payloads).rows.column(0), wanted


def _require_lessons(lessons: Lessons, found: Mapping[str, ColumnType]) -> None:
    """Check that the columns that labels come with are there."""
    wanted = {} if lessons.key is None else {"key": lessons.key}
    if lessons.key is None:  # else labels may come later, or elsewhere
        wanted["target"] = lessons.target
    for what, name in wanted.items():
        if name not in found:
            raise ColumnError(
                f"the {what} {name!r} is not a column of the first records",
                "a column that they have",
                near(name, found),
            )


def _own_types(pipeline: Pipeline) -> dict[str, ColumnType]:
    """Say what the columns of the model are, and those that labels come with."""
    own: dict[str, ColumnType] = {}
    if pipeline.model is not None:
        schema = pipeline.model.schema
        kinds = {column.name: column.kind for column in schema.columns}
        for name in schema.raw:
            if name in kinds:
                own[name] = "number" if kinds[name] == "number" else "text"
    if pipeline.lessons is not None:
        if pipeline.model is not None:
            numbers = pipeline.model.decoder.task == "regression"
            own[pipeline.lessons.target] = "number" if numbers else "text"
        if pipeline.lessons.key is not None:
            own[pipeline.lessons.key] = "text"
    return own


def _first(
    pipeline: Pipeline,
    stream: Stream,
    begin: Mapping[str, Position],
    progress: Progress,
    stopping: Callable[[], bool],
) -> pa.Array | None:
    """Wait for the first records that can be read; None where stopped, or where none ever came."""
    partitions = [name for name in stream.partitions() if not name.startswith(LABELS)]
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
                infer_types(payloads, stream.format, stream.columns)
            except SourceError as error:  # poison, and others may come
                mistake = error
            else:
                return payloads
            after.update({one.partition: one.last for one in records})
        elif pipeline.once or stream.ended():
            if mistake is None or pipeline.model is not None:
                return None if mistake is None else pa.array([], pa.large_binary())
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
        answers = ["prediction"] if pipeline.predicts else []
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
    made = {"prediction"} if pipeline.lessons is None else {"prediction", "probability", "version"}
    clash = made & set(types) if pipeline.predicts and pipeline.keep else set()
    if clash and ROWS in pipeline.outlets:
        raise OptionError(
            f"the rows have a column {min(clash)!r} of their own",
            "columns of other names than the prediction's",
            "Leave the rows' own columns out with --no-keep, or rename it.",
        )
