"""``thalweg redrive``: dead letters sent again, as they came."""

from __future__ import annotations

from thalweg.cli import options


def redrive(
    letters: options.Letters,
    *,
    to: options.RedriveTo = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Send a stream's dead letters again, each once, as the bytes that came.

    After what made them fail was mended: they go through the stream like new events.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen
    from thalweg.cli.progress import watching
    from thalweg.cli.streaming import gently

    with gently() as stopping, watching(quiet=quiet) as progress:
        found = api.redrive(letters, to=to, reason=reason, stopping=stopping, progress=progress)
    if as_json:
        answer_json({"sent": found.sent, "passed": found.passed})
        return
    pointers(screen(), {"sent": f"{found.sent:,}", "passed over": f"{found.passed:,}"})
