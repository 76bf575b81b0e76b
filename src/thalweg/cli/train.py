"""``thalweg train``: a deep model of one column of a table, or of what its rows are like."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.cli import options
from thalweg.core.errors import OptionError

if TYPE_CHECKING:
    from thalweg.models.model import Model


def train(
    source: options.SourceOfSettings = None,
    *,
    query: options.Query = None,
    target: options.Target = None,
    truth: options.Truth = None,
    test: options.Test = None,
    split: options.Split = None,
    column: options.Columns = None,
    drop: options.Drop = None,
    files: options.Files = None,
    feature: options.Feature = None,
    time: options.Time = None,
    minutes: options.Minutes = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    balance: options.Balance = None,
    threshold: options.Threshold = None,
    dials: options.Dials = None,
    cache: options.Cache = None,
    baselines: options.Baselines = None,
    resume: options.Resume = None,
    settings: options.SettingsFile = None,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train, judge and save a deep model.

    It learns one column of a table from the others; without --target, what rows are like, to find
    odd ones. Baselines are trained and judged on the same rows. All figures are on rows that the
    model never saw, with 95% intervals.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json
    from thalweg.cli.progress import watching
    from thalweg.cli.settings import Settings, read_settings
    from thalweg.sources import with_query

    typed = Settings(
        source=source,
        query=query,
        target=target,
        truth=truth,
        out=out,
        test=test,
        split=split,
        minutes=minutes,
        epochs=epochs,
        columns=options.kinds(column or ()) or None,
        drop=drop or None,
        files=files,
        features=feature or None,
        time=time,
        seed=seed,
        resume=resume,
        balance=balance,
        threshold=threshold,
        baselines=None if baselines is None else options.listed(baselines),
        cache=cache,
        recipe=options.pairs(dials or (), "--set", "learning_rate=3e-4") or None,
    )
    run = typed.over(read_settings(settings)) if settings else typed
    if run.source is None:
        raise OptionError("SOURCE is missing", "a table to learn from", "Name a file or folder.")
    asked = with_query(run.source, run.query)
    folder = run.out or default_folder(asked, run.target)
    given = run.given() | {"source": asked, "out": folder}
    given.pop("query", None)
    with watching(quiet=quiet) as progress:
        model = api.train(**given, progress=progress)
    if as_json:
        answer_json(api.show(model))
    else:
        _tell(model, asked)


def default_folder(source: str, target: str | None) -> str:
    """Name a model after its source and target.

    Examples
    --------
    >>> default_folder("data/housing.csv.gz", "median price")
    'housing-median_price'
    >>> default_folder("data/2024-*.parquet", "price")
    'data-price'
    >>> default_folder("postgresql://ann:sesame@db/shop?table=orders", "price")
    'orders-price'
    >>> default_folder("logins.csv", None)
    'logins-anomalies'
    """
    from thalweg.sources import database_of, name_of

    path = Path(name_of(source) if database_of(source) else source)
    while any(sign in path.name for sign in "*?["):
        path = path.parent
    stem = path.name.partition(".")[0] or "model"
    return re.sub(r"[^\w-]+", "_", f"{stem}-{target or 'anomalies'}")


def _tell(model: Model, source: str) -> None:
    """Print the figures, where things lie and what to type next."""
    from thalweg.cli.answer import pointers, screen, summed_up, tell_standing
    from thalweg.sources import database_of

    console = screen()
    if model.evaluation is not None:
        tell_standing(console, model.evaluation, model.training.settings)
        console.print()
    console.print(summed_up(model.rows, model.seconds), style="dim", soft_wrap=True)
    console.print()
    if model.path is not None:
        suffixes = [] if database_of(source) else Path(source).suffixes[-2:]
        ending = "".join(suffixes) or ".parquet"
        words = ["predict", str(model.path), f"NEW_ROWS{ending}", "--to", f"predictions{ending}"]
        pointers(
            console,
            {
                "model": str(model.path),
                "report": str(model.path / "report.html"),
                "next": shlex.join(["thalweg", *words]),
            },
        )
