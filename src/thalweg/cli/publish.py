"""``thalweg publish``: a table's rows sent as events."""

from __future__ import annotations

from thalweg.cli import options


def publish(
    source: options.Source,
    to: options.StreamSink,
    *,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Send a table's rows as events: to try a stream, or to fill a log."""
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen
    from thalweg.cli.progress import watching
    from thalweg.cli.streaming import gently
    from thalweg.sources import without_secrets

    with gently() as stopping, watching(quiet=quiet) as progress:
        sent = api.publish(source, to, rate=rate, stopping=stopping, progress=progress)
    if as_json:
        answer_json({"sent": sent, "to": without_secrets(to)})
        return
    if to != "-":
        pointers(screen(), {"sent": f"{sent:,}", "to": without_secrets(to)})
