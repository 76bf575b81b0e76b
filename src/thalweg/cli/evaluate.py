"""``thalweg evaluate``: a model against rows that it never saw."""

from __future__ import annotations

from thalweg.cli import options
from thalweg.core.errors import OptionError


def evaluate(
    model: options.JudgedModel,
    source: options.JudgedSource = None,
    *,
    query: options.Query = None,
    files: options.Files = None,
    truth: options.Truth = None,
    prequential: options.Prequential = False,
    target: options.LiveTarget = None,
    delay: options.Delay = 0,
    time: options.Ordered = None,
    changes: options.Changes = "",
    rivals: options.Rivals = "",
    column: options.Columns = None,
    drop: options.Drop = None,
    detector: options.Detector = "adwin",
    seed: options.Seed = None,
    html: options.Html = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Judge a model on rows that it never saw.

    Every figure comes with a 95% interval. The rows need the model's columns and its target.
    Only you can know that they were not among those it was trained on.

    With --prequential the rows are a stream: each is predicted first and learned from when its
    label comes, --delay rows later. Then MODEL may be left out: with --target alone, everything is
    learned from the stream.
    """
    if prequential:
        from thalweg.cli.flow import Asked, tell_stream

        asked = Asked(
            model if source is not None else None,
            source if source is not None else model,
            query,
            target,
            delay,
            time,
            changes,
            options.listed(rivals),
            options.kinds(column or ()),
            drop or (),
            detector,
            seed or 0,
            html,
        )
        tell_stream(asked, as_json=as_json, quiet=quiet)
        return
    wanted = {
        "--target": target,
        "--delay": delay,
        "--time": time,
        "--changes": changes,
        "--rivals": rivals,
        "--column": column,
        "--drop": drop,
        "--html": html,
    }
    for name, value in wanted.items():
        if value:
            raise OptionError(
                f"{name} without --prequential", f"{name} for a stream", "Add --prequential."
            )
    if source is None:
        raise OptionError("SOURCE is missing", "rows to judge on", "Name a file or folder.")
    from thalweg.sources import with_query

    _judge(model, with_query(source, query), files, truth, as_json=as_json, quiet=quiet)


def _judge(
    model: str, rows: str, files: str | None, truth: str | None, *, as_json: bool, quiet: bool
) -> None:
    """Judge a model as it is."""
    import time

    from thalweg import api
    from thalweg.cli.answer import answer_json, screen, tell_standing
    from thalweg.cli.progress import duration, watching

    begun = time.monotonic()
    with watching(quiet=quiet) as progress:
        judged = api.evaluate(model, rows, files=files, truth=truth, progress=progress)
    seconds = time.monotonic() - begun
    if as_json:
        told = judged.model_dump(mode="json") | {
            "rows": {"test": judged.rows},
            "baselines": {name: rival.metrics for name, rival in judged.baselines.items()},
            "seconds": seconds,
            "model": model,
        }
        answer_json(told)
        return
    console = screen()
    tell_standing(console, judged)
    console.print()
    console.print(f"{judged.rows:,} rows; {duration(seconds)}", style="dim")
