"""Work on streams: predict endless events, learn from them, look after what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.api.given import names_of, predictor_of
from thalweg.core.durations import read_duration
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress, Silent

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
    from thalweg.models.model import Model
    from thalweg.monitor.versions import Rolled
    from thalweg.serving.stream.lane import Tally
    from thalweg.serving.stream.lessons import Lessons
    from thalweg.serving.stream.pipeline import Pipeline
    from thalweg.serving.stream.redrive import Redriven
    from thalweg.training.online.wishes import Wishes


def pipeline(
    source: str,
    *,
    model: Any = None,
    to: str | None = None,
    window: str | None = None,
    slide: str | None = None,
    session: str | None = None,
    by: Sequence[str] = (),
    measure: Sequence[str] | None = None,
    windows_to: str | None = None,
    time: str | None = None,
    lateness: str = "5s",
    late_to: str | None = None,
    dead_letters: str | None = None,
    state: str | Path | None = None,
    lanes: int | None = None,
    latency: str = "1s",
    checkpoint: str = "10s",
    once: bool = False,
    start: str = "first",
    keep: bool = True,
    compiled: bool = False,
    learn: bool = False,
    target: str | None = None,
    key: str | None = None,
    labels: str | None = None,
    wait: str = "7d",
    detector: str = "adwin",
    alerts_to: str | None = None,
    columns: Mapping[str, str] | None = None,
    drop: str | Sequence[str] = (),
    seed: int = 0,
) -> Pipeline:
    """Describe the work on an endless stream: `stream` does it.

    Durations are written ``250ms``, ``30s``, ``1m``, ``2h``, ``1d``, ``1w``.

    Parameters
    ----------
    source
        Where events come from: ``log://folder``, ``redis://host/0?stream=events``,
        ``nats://host?stream=EVENTS``, ``kafka://host/topic``,
        ``postgresql://host/shop?table=events&key=id``, the path of a file or folder that grows, or
        ``-`` for standard input.
    model
        A `Model` or the folder of a saved one; without one and without a ``target`` the stream is
        only watched by windows.
    to
        Where events with their predictions go: a log or broker as above, a table of a database, a
        folder for Parquet files, ``https://...``, or ``-`` for standard output. Without a model,
        where the results of windows go.
    window, slide, session
        How long windows are; how far apart they begin, where they overlap; or instead the pause
        that ends one.
    by
        The columns whose values have windows of their own.
    measure
        The columns that are measured; all others by default.
    windows_to
        Where the results of windows go, beside predictions.
    time
        The column with an event's time; by default it is when the stream took it.
    lateness
        How far behind a newer event one may come and still count in its window.
    late_to, dead_letters
        Where events that come later go, and records that cannot be read or predicted; by default
        to logs in the state's folder.
    state
        The folder that remembers; by default one in ``thalweg-state``, named by source and
        outputs. Processes that are given the same one share the work.
    lanes
        How many processes can share it: as many as partitions by default, and one where there are
        windows.
    latency
        How long an event may wait for others of its batch.
    checkpoint
        The time between two checkpoints.
    once
        Stop when nothing is left, and close all windows.
    start
        ``first`` or ``latest``: where to begin the first time.
    keep
        Whether an event's own columns come before its prediction.
    compiled
        Whether what the model was compiled to answers (see `compile`): quicker for few events at
        once, and without torch. It does not learn.
    learn
        Learn from labels as they come. A ``target`` without a model means it: then nothing was
        trained before, and everything is learned from the stream. A model without a target learns
        what counts as odd from the scores of the stream.
    target
        The column that labels come in; the model's own target by default.
    key
        The column that names an event, so that its label can come later: in a record with that name
        and the label. Without it only labels that come with their events are learned from.
    labels
        The stream that such records come on; by default the events' own.
    wait
        How long a prediction waits for its label.
    detector
        What watches the error for changes: ``adwin``, ``page-hinkley``, ``kswin`` or ``ddm``.
    alerts_to
        Where alerts of drift go: as ``to``, or an ``.ndjson`` file that is added to. By default to
        a log in the state's folder where learning is asked for; else nobody watches.
    columns, drop
        Without a model: column name -> ``KIND[,OPTION=VALUE...]``, and columns not to use.
    seed
        Draws the first weights of what learns, and what is rehearsed.

    Returns
    -------
    Pipeline
        The work, not yet begun.

    Raises
    ------
    OptionError
        Where options contradict each other or a duration cannot be read.
    """
    from thalweg.models.compiled import CompiledModel
    from thalweg.serving.stream.pipeline import Pipeline
    from thalweg.serving.stream.work import ALERTS, DEAD, LATE, ROWS, WINDOWS, Clockwork
    from thalweg.stats.windows import WindowSpec
    from thalweg.training.online.wishes import Wishes

    if model is None and target is None and windows_to is None:
        to, windows_to = None, to
    goals = {ROWS: to, WINDOWS: windows_to, LATE: late_to, DEAD: dead_letters, ALERTS: alerts_to}
    wishes = Wishes(detector, None, columns, names_of(drop), seed)
    predictor = None if model is None else predictor_of(model, compiled=compiled)
    if predictor is None and compiled:
        raise OptionError("compiled without a model", "the model that was compiled", "Name MODEL.")
    if predictor is not None and predictor.schema.features is not None:
        own = predictor.schema.features.time
        if time not in {None, own}:
            raise OptionError(
                f"time is {time!r} for a model whose windowed features go by {own!r}",
                "the time that the model was trained with",
                "Leave it out.",
            )
        time = own
    task = None if predictor is None else predictor.decoder.task
    follows = learn and task == "anomaly" and target is None
    lessons = None
    if (learn or target) and not follows:
        lessons = _lessons(_learnable(predictor), wishes, target, key, labels, wait)
    asked = {
        "key": key is not None,
        "labels": labels is not None,
        "wait": wait != "7d",
        "detector": detector != "adwin",
        "columns": bool(columns),
        "drop": bool(drop),
    }
    idle = [name for name, given in asked.items() if given and lessons is None]
    if idle:
        raise OptionError(
            f"{idle[0]} for a stream that is not learned from",
            f"{idle[0]} together with learning",
            "Add --learn, or --target COLUMN without a model.",
        )
    if predictor is None and lessons is None and window is None and session is None:
        raise OptionError(
            "neither a model nor a target nor windows",
            "something to do with the events",
            "Name a MODEL, or add --target COLUMN to learn from nothing, or --window 1m.",
        )
    if alerts_to is not None and isinstance(predictor, CompiledModel) and predictor.schema.wide:
        raise OptionError(
            "alerts of a compiled model that reads texts, pictures or sounds",
            "the model itself, whose embedding is watched",
            "Leave out --compiled, or --alerts-to.",
        )
    if start not in {"first", "latest"}:
        raise OptionError(f"start is {start!r}", "first or latest")
    return Pipeline(
        source,
        {name: uri for name, uri in goals.items() if uri is not None},
        predictor,
        WindowSpec.asked(
            window, slide, session, tuple(by), None if measure is None else tuple(measure)
        ),
        Clockwork(time, 0 if lateness == "0" else read_duration(lateness, "--lateness")),
        None if state is None else Path(state),
        lanes,
        read_duration(latency, "--latency") / 1e6,
        read_duration(checkpoint, "--checkpoint") / 1e6,
        once=once,
        latest=start == "latest",
        keep=keep,
        lessons=lessons,
        follows=follows,
    )


def _learnable(predictor: Model | CompiledModel | None) -> Model | None:
    """Refuse to learn with what a model was compiled to."""
    from thalweg.models.compiled import CompiledModel

    if isinstance(predictor, CompiledModel):
        raise OptionError(
            "learning with a compiled model",
            "the model itself, which can learn",
            "Leave out --compiled, or --learn.",
        )
    return predictor


def _lessons(
    model: Model | None,
    wishes: Wishes,
    target: str | None,
    key: str | None,
    labels: str | None,
    wait: str,
) -> Lessons:
    """Say what is learned from a stream."""
    from thalweg.serving.stream.lessons import Lessons

    if target is None and model is not None and model.schema.target is not None:
        target = model.schema.target.name
    if target is None:
        raise OptionError(
            "learning without a target", "the column that labels come in", "Add --target COLUMN."
        )
    if labels is not None and key is None:
        raise OptionError(
            "labels on a stream of their own without a key",
            "the column that names an event there and here",
            "Add --key COLUMN.",
        )
    if model is not None:
        from thalweg.training.online.start import require_learnable

        require_learnable(model)
        if target in model.schema.raw:
            raise OptionError(
                f"the target is {target!r}, which the model reads",
                "the column that labels come in",
                "Leave it out for the model's own target.",
            )
    if model is not None and (wishes.columns or wishes.drop):
        raise OptionError(
            "kinds of columns for a trained model",
            "kinds of columns where nothing was trained before",
            "Leave out --column and --drop.",
        )
    if target in wishes.drop or target == key:
        raise OptionError(
            f"{target!r} is the target, and {'the key' if target == key else 'to be dropped'}",
            "a column of labels and nothing else",
            "Name another column.",
        )
    return Lessons(target, key, labels, read_duration(wait, "--wait"), wishes)


def stream(
    pipeline: Pipeline,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Tally:
    """Work on an endless stream, each event exactly once, until told to stop.

    Parameters
    ----------
    pipeline
        What to do: see `pipeline`.
    stopping
        Asked between two batches whether to stop.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Tally
        How many records, rows, windows and dead letters there were.

    Examples
    --------
    >>> publish({"city": ["Ulm", "Bonn", "Ulm"], "price": [3.0, 4.0, 5.0]}, "log://sales")
    3
    >>> work = pipeline("log://sales", window="1h", by=["city"], to="log://hours", once=True)
    >>> stream(work).windows
    2
    """
    from thalweg.serving.stream.running import run

    return run(pipeline, progress or Silent(), stopping)


def watch(
    source: str,
    to: str,
    *,
    window: str | None = None,
    slide: str | None = None,
    session: str | None = None,
    by: Sequence[str] = (),
    measure: Sequence[str] | None = None,
    time: str | None = None,
    lateness: str = "5s",
    state: str | Path | None = None,
    once: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Tally:
    """Keep a stream's statistics by windows of time, with no model: `pipeline`, then `stream`.

    Parameters
    ----------
    source
        Where events come from.
    to
        Where the results of windows go.
    window, slide, session, by, measure, time, lateness, state, once
        See `pipeline`.
    stopping, progress
        See `stream`.

    Returns
    -------
    Tally
        How many records, rows, windows and dead letters there were.

    Examples
    --------
    >>> publish({"city": ["Ulm", "Bonn"], "price": [3.0, 4.0]}, "log://prices")
    2
    >>> watch("log://prices", "log://days", window="1d", once=True).windows
    1
    """
    work = pipeline(
        source,
        to=to,
        window=window,
        slide=slide,
        session=session,
        by=by,
        measure=measure,
        time=time,
        lateness=lateness,
        state=state,
        once=once,
    )
    return stream(work, stopping=stopping, progress=progress)


def explain_stream(pipeline: Pipeline) -> dict[str, Any]:
    """Say what a pipeline would do and what it promises, and do nothing.

    Returns
    -------
    dict
        Plain data: ``source``, ``lanes``, ``windows``, ``outputs`` with the guarantee of each,
        ``state``, ``how``.
    """
    from thalweg.serving.stream.running import explain

    return explain(pipeline)


def redrive(
    letters: str,
    *,
    to: str | None = None,
    reason: str = "",
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> Redriven:
    """Send dead letters again, each once, as the bytes that came.

    Parameters
    ----------
    letters
        The folder of a stream's state, or the ``log://`` URI of dead letters.
    to
        Where to; by default to the stream that they came from.
    reason
        Only those whose reason holds this text.
    stopping, progress
        See `stream`.

    Returns
    -------
    Redriven
        How many were sent, and how many passed over.
    """
    from thalweg.serving.stream.redrive import redrive as send

    return send(letters, to, reason, progress or Silent(), stopping)


def publish(
    source: Any,
    to: str,
    *,
    rate: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> int:
    """Send a table's rows as events: to try a stream, or to fill a log.

    Parameters
    ----------
    source
        A table: see `profile`.
    to
        Where to: see `stream`.
    rate
        How many a second at most.
    stopping, progress
        See `stream`.

    Returns
    -------
    int
        How many were sent.

    Examples
    --------
    >>> publish({"card": ["a", "b"], "amount": [3.5, 7.0]}, "log://payments")
    2
    """
    from thalweg.serving.stream.redrive import publish as send
    from thalweg.sources import open_source

    return send(open_source(source), to, rate, progress or Silent(), stopping)


def rollback(state: str | Path, *, version: int | None = None) -> Rolled:
    """Go back to an earlier version of a model that learns on a stream.

    The order is written to the folder of the stream's state; a stream that runs follows it with its
    next batch, one that does not when it starts again.

    Parameters
    ----------
    state
        The folder of the stream's state.
    version
        Where to; by default the version that was served before the current one.

    Returns
    -------
    Rolled
        Which version is to be served, and all that are there.
    """
    from thalweg.monitor.versions import rollback as order

    return order(Path(state), version)
