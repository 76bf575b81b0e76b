"""``thalweg watch``: the statistics of a stream by windows of time, with no model at all."""

from __future__ import annotations

from thalweg.cli import options


def watch(
    source: options.Stream,
    *,
    to: options.StreamSink = "-",
    window: options.Window = None,
    slide: options.Slide = None,
    session: options.Session = None,
    by: options.By = None,
    measure: options.Measure = None,
    time: options.EventTime = None,
    lateness: options.Lateness = "5s",
    late_to: options.LateTo = None,
    dead_letters: options.DeadLetters = None,
    state: options.State = None,
    lanes: options.Lanes = None,
    checkpoint: options.CheckpointEvery = "10s",
    once: options.Once = False,
    start: options.Start = "first",
    explain: options.Explain = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Keep the statistics of a stream by windows of time: counts, means, quantiles, top values.

    A window closes when events are so much newer that none of its own can come any more, or when
    the stream has been silent for a while.
    """
    from thalweg import api
    from thalweg.cli.streaming import go
    from thalweg.core.errors import OptionError

    if window is None and session is None:
        raise OptionError("no windows", "--window TIME or --session TIME", "Add --window 1m.")
    pipeline = api.pipeline(
        source,
        to=to,
        window=window,
        slide=slide,
        session=session,
        by=by or (),
        measure=measure,
        time=time,
        lateness=lateness,
        late_to=late_to,
        dead_letters=dead_letters,
        state=state,
        lanes=lanes,
        checkpoint=checkpoint,
        once=once,
        start=start,
    )
    go(pipeline, explain=explain, as_json=as_json, quiet=quiet)
