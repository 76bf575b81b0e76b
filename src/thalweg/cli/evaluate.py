"""``thalweg evaluate``: a model against rows that it never saw."""

from __future__ import annotations

from thalweg.cli import options


def evaluate(
    model: options.Model,
    source: options.Source,
    *,
    query: options.Query = None,
    files: options.Files = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Judge a model on rows that it never saw.

    Every figure comes with a 95% interval. The rows need the model's columns and its target.
    Only you can know that they were not among those it was trained on.
    """
    import time

    from thalweg import api
    from thalweg.cli.answer import answer_json, screen, tell_standing
    from thalweg.cli.progress import duration, watching
    from thalweg.sources import with_query

    begun = time.monotonic()
    with watching(quiet=quiet) as progress:
        judged = api.evaluate(model, with_query(source, query), files=files, progress=progress)
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
