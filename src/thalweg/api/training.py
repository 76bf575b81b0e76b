"""Train a model of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.api.given import names_of, require_torch
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress, Silent

if TYPE_CHECKING:
    from thalweg.data.features.declare import Features
    from thalweg.models.model import Model
    from thalweg.training.train import Run


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
    require_torch("training")
    from thalweg.lab.study import Question, study
    from thalweg.training.train import Run

    seconds = seconds_of(minutes)
    minutes = None if seconds is None else minutes
    drop, baselines = names_of(drop), None if baselines is None else names_of(baselines)
    features = names_of(features)
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
