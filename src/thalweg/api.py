"""The verbs: what a user calls, from Python here and from a shell through `thalweg.cli`.

Each verb joins rooms below it and holds no logic of its own. What is not needed is not imported:
`profile` never loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.durations import read_duration
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress, Silent

if TYPE_CHECKING:
    import pyarrow as pa

    from thalweg.data.features.declare import Features
    from thalweg.data.profile import Profile
    from thalweg.models.model import Model
    from thalweg.models.record import Evaluation
    from thalweg.monitor.tables import Drift
    from thalweg.monitor.versions import Rolled
    from thalweg.serving.stream.lane import Tally
    from thalweg.serving.stream.lessons import Lessons
    from thalweg.serving.stream.pipeline import Pipeline
    from thalweg.serving.stream.redrive import Redriven
    from thalweg.training.online.record import Flow
    from thalweg.training.online.wishes import Wishes
    from thalweg.training.train import Run


def profile(
    source: Any,
    *,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    files: str | Path | None = None,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Read a table once and say what is in it.

    Parameters
    ----------
    source
        A path, folder or pattern, or a table of pandas, Polars or Arrow.
    target
        A column that is to be predicted: it is then looked at as a target.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]``.
    files
        The folder that paths of pictures and sounds are meant from and may lead into; by default
        that of the table's own file.
    html
        Where to write the profile as a page.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Profile
        The statistics of every column, and what each is taken for and why.

    Examples
    --------
    >>> profile({"age": [31, 45, 52], "city": ["Ulm", "Bonn", "Ulm"]}).schema.names
    ['age', 'city']
    """
    from thalweg.data.profile import profile as read
    from thalweg.sources import open_source

    found = read(
        open_source(source, files=files), target, dict(columns or {}), progress or Silent()
    )
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report import render_profile

        page = render_profile(
            name=found.name, profile=found.summary, schema=found.schema, warnings=found.warnings
        )
        with atomic_file(html) as building:
            building.write_text(page, encoding="utf-8")
    return found


def train(
    source: Any,
    target: str | None = None,
    *,
    out: str | Path | None = None,
    test: Any = None,
    split: str = "random",
    minutes: float | None = 5.0,
    epochs: int | None = None,
    columns: Mapping[str, str] | None = None,
    drop: str | Sequence[str] = (),
    files: str | Path | None = None,
    features: str | Sequence[str] = (),
    time: str | None = None,
    seed: int = 0,
    resume: bool = False,
    balance: str = "none",
    threshold: str | float | None = None,
    baselines: str | Sequence[str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    truth: str | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train, judge and save a deep model of one column of a table, or of what its rows are like.

    Parameters
    ----------
    source
        A path, folder or pattern, or a table of pandas, Polars or Arrow.
    target
        The column to predict. Numbers make a regression, few different values classes. Without one
        it is learned how likely rows are, to find odd ones (anomalies).
    out
        The folder to save the model in; not saved by default.
    test
        Rows to judge on; by default 20% of the source are held out.
    split
        ``random`` (stratified by class), ``stratified``, ``group:COLUMN`` or ``time:COLUMN``.
    minutes
        The most time for training the network; None or infinity for as long as the recipe says.
        Reading, baselines and the report come on top.
    epochs
        Passes over the training rows; by default the recipe's, lowered to fit the time.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]``, such as ``{"zip": "category"}``.
    drop
        Columns not to use: one name or several.
    files
        The folder that paths of pictures and sounds are meant from and may lead into; by default
        that of the table's own file.
    features
        Windowed features, one or several, such as ``"spend_1h = sum(amount) by card over 1h"``: of
        ``count()``, ``sum``, ``mean``, ``max``, ``min``, ``distinct`` and ``last`` of a column, and
        ``since()`` in seconds. They see the rows before a row's own time and become columns.
    time
        The column that says when a row was; features need it.
    seed
        The same seed, rows and processor give the same model, bit for bit, unless ``minutes``
        binds: the epochs that fit then depend on the speed that was measured. To repeat such a
        run, give its ``epochs`` and ``minutes=None``.
    resume
        Go on from where a run into the same ``out`` was interrupted.
    balance
        For rare classes: ``none``, ``weights``, ``oversample``, ``undersample`` or ``focal``.
    threshold
        What the decision between two classes, or on each label, is to serve: ``f1`` (the default),
        ``accuracy``, ``balanced_accuracy``, two costs (``"1:5"``), or a probability. Not for other
        targets. Without a target the share of ordinary rows that may be called odd, by default
        0.01.
    baselines
        Names of rivals, one or several, to train and judge on the same rows; all that are
        installed by default.
    recipe
        Dials by name; see `thalweg.models.recipe.Recipe`.
    cache
        Where the encoded rows of large tables are kept, so that the next training on them starts
        at once: a folder, by default ``$THALWEG_CACHE`` or else one in the user's cache folder, or
        ``"none"``.
    truth
        Without a target: a column that says which rows are odd, which only judging looks at, as
        ``COLUMN`` (the rarer of two values) or ``COLUMN=VALUE``.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Model
        Trained and judged; see ``model.evaluation``.

    Raises
    ------
    ThalwegError
        Where an argument, the source or the target cannot be; nothing is left half-written.
    """
    from thalweg.lab.study import Question, study
    from thalweg.training.train import Run

    seconds = seconds_of(minutes)
    minutes = None if seconds is None else minutes
    drop, baselines = _names(drop), None if baselines is None else _names(baselines)
    features = _names(features)
    given = {k: v for k, v in locals().items() if k in _SETTINGS}
    if resume and out is None:
        raise OptionError("resume without out", "the folder of the run", "Say where it was to go.")
    dials = {**(recipe or {}), **({} if epochs is None else {"epochs": epochs})}
    wanted = dict(columns or {})
    kept = _cache(cache)
    windowed = _windowed(features, time)
    question = Question(
        source, target, test, split, wanted, drop, dials, baselines, kept, files, windowed, truth
    )
    folder = None if out is None else _folder(out)
    run = Run(
        seed,
        seconds,
        balance,
        threshold,
        None if folder is None else folder.with_name(f".{folder.name}.run"),
        resume,
        {name: _plain(value) for name, value in given.items()},
    )
    progress = progress or Silent()
    _announce(folder, run, progress)
    try:
        return study(question, run, folder, progress)
    except KeyboardInterrupt:
        if _checkpoint(run):
            progress.note("the run is kept: go on with --resume")
        raise


def seconds_of(minutes: float | None) -> float | None:
    """Read how long training may take; None for no limit.

    Raises
    ------
    OptionError
        Where it is not a number above 0.

    Examples
    --------
    >>> seconds_of(0.5), seconds_of(math.inf)
    (30.0, None)
    """
    if minutes is None:
        return None
    if not minutes > 0:  # which nan is not either
        raise OptionError(f"minutes is {minutes}", "a number above 0", "Leave it out for 5.")
    return None if math.isinf(60 * minutes) else 60 * minutes


def _cache(given: str | Path | None) -> Path | None:
    """Find the folder of encoded rows; None for none."""
    from thalweg.data.cache import default_folder

    if given == "none":
        return None
    return default_folder() if given is None else Path(given)


def _windowed(features: Sequence[str], time: str | None) -> Features | None:
    """Read the windowed features; None for none."""
    from thalweg.data.features.declare import Features

    if not features and time is not None:
        raise OptionError(
            f"time is {time!r} without features",
            "features that need it",
            'Add --feature "spend_1h = sum(amount) by card over 1h", or leave it out.',
        )
    return Features.parse(features, time) if features else None


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Take a lone text as one name, not as a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def _folder(out: str | Path) -> Path:
    """Give a model's folder a name of its own, beside which the run's checkpoints can lie."""
    folder = Path(out)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    if not folder.name:
        raise OptionError(f"out is {str(out)!r}", "a folder with a name", "Add the model's name.")
    return folder


def _checkpoint(run: Run) -> bool:
    """Tell whether an interrupted run left something to go on from."""
    from thalweg.training.train import CHECKPOINT, PLAN

    folder = run.folder
    return folder is not None and (folder / PLAN).exists() and (folder / CHECKPOINT).exists()


def _announce(folder: Path | None, run: Run, progress: Progress) -> None:
    """Say what becomes of the model and the checkpoint that are there."""
    from thalweg.models.artifact import DESCRIPTION

    if folder is not None and (folder / DESCRIPTION).exists():
        progress.note(f"replaces the model in {folder}")
    kept = _checkpoint(run)
    if kept and not run.resume:
        progress.note("an interrupted run is there: it starts again, as --resume was not given")
    if run.resume and not kept:
        progress.note("there is no checkpoint to resume: the run starts from the beginning")


_SETTINGS = frozenset(
    {"source", "target", "test", "split", "minutes", "epochs", "columns", "drop", "files", "seed"}
    | {"balance", "threshold", "baselines", "recipe", "features", "time", "truth"}
)


def _plain(value: Any) -> Any:
    """Write an argument down as JSON holds it; a table in memory by its type alone."""
    from thalweg.sources import without_secrets

    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return without_secrets(value)
        case Path():
            return str(value)
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return f"<{type(value).__name__}>"


def load(folder: str | Path) -> Model:
    """Read a saved model. Nothing in the folder can run code.

    Raises
    ------
    ArtifactError
        Where there is none, or it is damaged, foreign or of another version.
    """
    from thalweg.models.model import Model

    return Model.load(Path(folder))


def evaluate(
    model: Any,
    source: Any,
    *,
    files: str | Path | None = None,
    truth: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model on rows that it never saw.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.
    source
        Rows with the target.
    files
        The folder that paths of pictures and sounds are meant from; see `train`.
    truth
        For a model without a target: the column that says which rows are odd; by default the one
        that it was trained with, where the rows have it.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Evaluation
        Metrics with 95% intervals, and what they hide: weak slices, calibration.
    """
    from thalweg.data.features.source import featured
    from thalweg.lab.evaluate import evaluate as judge
    from thalweg.sources import open_source

    loaded, progress = _model(model), progress or Silent()
    with featured(open_source(source, files=files), loaded.schema.features, progress) as rows:
        return judge(loaded, rows, progress, truth)


def prequential(
    source: Any,
    *,
    model: Any = None,
    target: str | None = None,
    delay: int = 0,
    time: str | None = None,
    rivals: str | Sequence[str] = (),
    changes: Sequence[int] = (),
    columns: Mapping[str, str] | None = None,
    drop: str | Sequence[str] = (),
    detector: str = "adwin",
    experts: Sequence[str] | None = None,
    html: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Flow:
    """Judge how well rows can be predicted while they are learned from, as on a stream.

    Every row is predicted first; its label comes ``delay`` rows later, is scored, and is learned
    from (Dawid 1984). ``thalweg evaluate --prequential`` in a shell.

    Parameters
    ----------
    source
        The rows, in the order in which they came: see `profile`.
    model
        A `Model` or the folder of a saved one, which goes on learning; without one nothing was
        learned before.
    target
        The column that labels come in; the model's own by default.
    delay
        So many rows are predicted between a row and its label.
    time
        The column with the rows' times, by which they must be in order.
    rivals
        ``forest`` and ``hoeffding tree``: River's learners on the same rows, beside the last label
        and the commonest class.
    changes
        Before which rows the stream is known to change, for the report.
    columns, drop
        Without a model: column name -> ``KIND[,OPTION=VALUE...]``, and columns not to use.
    detector
        See `pipeline`.
    experts
        Who is asked: some of ``fast``, ``challenger``, ``slow``, ``frozen``, ``tree``, ``last``.
    html
        Where to write the report.
    seed
        Draws the first weights, what is rehearsed, and the forest.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Flow
        Scores over the whole stream, of late and as curves, beside the baselines'.

    Examples
    --------
    >>> rows = {"x": [0.0, 1.0] * 200, "up": ["no", "yes"] * 200}
    >>> prequential(rows, target="up").standing.metrics["accuracy"] > 0.9
    True
    """
    from thalweg.data.features.source import featured
    from thalweg.lab.prequential import prequential as judge
    from thalweg.sources import open_source
    from thalweg.training.online.start import begin
    from thalweg.training.online.wishes import Wishes

    progress = progress or Silent()
    trained = None if model is None else _model(model)
    opened = open_source(source)
    wishes = Wishes(detector, experts, columns, (*_names(drop), *([time] if time else [])), seed)
    if target is None and trained is not None and trained.schema.target is not None:
        target = trained.schema.target.name
    if target is None:
        raise OptionError(
            "a stream without a target", "the column that labels come in", "Add --target COLUMN."
        )
    features = None if trained is None else trained.schema.features
    with featured(opened, features, progress) as rows:
        learner = begin(rows, target, wishes, trained)
        flow = judge(
            learner,
            rows,
            target,
            delay,
            progress,
            _names(rivals),
            when=time,
            changes=changes,
            seed=seed,
        )
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report.flow import render_flow

        with atomic_file(html) as building:
            building.write_text(render_flow(flow, name=opened.uri), encoding="utf-8")
    return flow


def predict(
    model: Any,
    source: Any,
    *,
    to: str | Path | None = None,
    keep: bool = True,
    files: str | Path | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Predict every row of a source.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.
    source
        Rows with every column that the model reads.
    to
        A file to write to, whole or not at all; the format follows its name. Or a table of a
        database: ``postgresql://host/shop?table=scores``. Rows that could not be read or predicted
        go to a file of that name with ``.rejects.ndjson`` behind.
    keep
        Whether the source's own columns come before the prediction's.
    files
        The folder that paths of pictures and sounds are meant from; see `train`.
    progress
        Told of the work; silent by default.

    Returns
    -------
    pyarrow.Table
        The rows; none of them where they went to a file.
    """
    from thalweg.data.features.source import featured
    from thalweg.serving.batch import predict_all
    from thalweg.sources import open_source

    loaded, progress = _model(model), progress or Silent()
    with featured(open_source(source, files=files), loaded.schema.features, progress) as rows:
        return predict_all(loaded, rows, to, progress, keep=keep)


def show(model: Any) -> dict[str, Any]:
    """Tell what a model is, how it was trained and how well it does.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.

    Returns
    -------
    dict
        Plain data: ``task``, ``rows``, ``metrics``, ``baselines``, ``seconds``, ``model`` and
        the record.
    """
    from thalweg.lab.study import answer

    return answer(_model(model))


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
    from thalweg.serving.stream.pipeline import Pipeline
    from thalweg.serving.stream.work import ALERTS, DEAD, LATE, ROWS, WINDOWS, Clockwork
    from thalweg.stats.windows import WindowSpec
    from thalweg.training.online.wishes import Wishes

    if model is None and target is None and windows_to is None:
        to, windows_to = None, to
    goals = {ROWS: to, WINDOWS: windows_to, LATE: late_to, DEAD: dead_letters, ALERTS: alerts_to}
    wishes = Wishes(detector, None, columns, _names(drop), seed)
    trained = None if model is None else _model(model)
    if trained is not None and trained.schema.features is not None:
        own = trained.schema.features.time
        if time not in {None, own}:
            raise OptionError(
                f"time is {time!r} for a model whose windowed features go by {own!r}",
                "the time that the model was trained with",
                "Leave it out.",
            )
        time = own
    follows = learn and trained is not None and trained.task == "anomaly" and target is None
    lessons = None
    if (learn or target) and not follows:
        lessons = _lessons(trained, wishes, target, key, labels, wait)
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
    if trained is None and lessons is None and window is None and session is None:
        raise OptionError(
            "neither a model nor a target nor windows",
            "something to do with the events",
            "Name a MODEL, or add --target COLUMN to learn from nothing, or --window 1m.",
        )
    if start not in {"first", "latest"}:
        raise OptionError(f"start is {start!r}", "first or latest")
    return Pipeline(
        source,
        {name: uri for name, uri in goals.items() if uri is not None},
        trained,
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


def drift(
    before: Any,
    after: Any,
    *,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> Drift:
    """Compare two tables column by column: which have changed, in what, and how far.

    Parameters
    ----------
    before
        What it was: a table (see `profile`), a model or the folder of one, which stands for the
        rows it was trained on and the columns it reads, or a
        `thalweg.stats.drift.reference.Reference`.
    after
        What it is: a table.
    html
        Where to write the comparison as a page.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Drift
        How far each column has moved, the farthest first.

    Examples
    --------
    >>> found = drift({"size": [*range(300)] * 2}, {"size": [*range(100, 400)] * 2})
    >>> [(one.name, one.words) for one in found.drifted]
    [('size', 'mean 149.5 → 249.5')]
    """
    from thalweg.monitor.tables import compare_tables
    from thalweg.sources import open_source
    from thalweg.stats.drift.reference import Reference

    model, told = _judge(before)
    if model is not None:
        if model.reference is None:
            raise OptionError(
                f"{told} keeps no reference of its training rows",
                "a model that was trained by this version, or a table",
                "Train it again, or give the table that it was trained on.",
            )
        before = model.reference
        told = told or "model"
    given = before if isinstance(before, Reference) else open_source(before)
    # Of what a model does not read nothing is known, and its target need not be there.
    known = None if model is None or model.reference is None else model.reference.columns
    target = [] if model is None or model.schema.target is None else [model.schema.target.name]
    found = compare_tables(given, open_source(after), progress or Silent(), told, known, target)
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report import render_drift

        page = render_drift(
            before=found.before,
            after=found.after,
            reference=found.reference,
            summary=found.summary,
            drifts=found.columns,
        )
        with atomic_file(html) as building:
            building.write_text(page, encoding="utf-8")
    return found


def _judge(given: Any) -> tuple[Model | None, str]:
    """Take a model, or a folder that holds one, and its name; None where it is something else."""
    if isinstance(given, str | Path):
        from thalweg.models.artifact import DESCRIPTION

        is_model = (Path(given) / DESCRIPTION).is_file()
        return (_model(given), str(given)) if is_model else (None, "")
    if type(given).__name__ == "Model":
        from thalweg.models.model import Model

        return (given, "the model") if isinstance(given, Model) else (None, "")
    return None, "reference"


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


def _model(given: Any) -> Model:
    from thalweg.models.model import Model

    return given if isinstance(given, Model) else Model.load(Path(given))
