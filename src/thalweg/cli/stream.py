"""``thalweg stream``: a model over an endless stream of events."""

from __future__ import annotations

from thalweg.cli import options


def stream(
    source: options.Stream,
    to: options.StreamSink,
    *,
    model: options.LiveModel = None,
    compiled: options.Compiled = False,
    learn: options.Learn = False,
    target: options.LiveTarget = None,
    key: options.Key = None,
    labels: options.Labels = None,
    wait: options.Wait = "7d",
    detector: options.Detector = "adwin",
    alerts_to: options.AlertsTo = None,
    column: options.Columns = None,
    drop: options.Drop = None,
    seed: options.Seed = None,
    window: options.Window = None,
    slide: options.Slide = None,
    session: options.Session = None,
    by: options.By = None,
    measure: options.Measure = None,
    windows_to: options.WindowsTo = None,
    time: options.EventTime = None,
    lateness: options.Lateness = "5s",
    late_to: options.LateTo = None,
    dead_letters: options.DeadLetters = None,
    state: options.State = None,
    lanes: options.Lanes = None,
    latency: options.Latency = "1s",
    checkpoint: options.CheckpointEvery = "10s",
    once: options.Once = False,
    start: options.Start = "first",
    keep: options.Keep = True,
    explain: options.Explain = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict the events of an endless stream, each exactly once.

    Killed at any moment and started again it goes on where it was: nothing is lost, nothing comes
    twice. SIGTERM and Ctrl-C end the batch and save. Start it several times with one --state to
    share the work; the lanes of a process that dies are taken over.

    With --learn the model learns from labels as they come; with --target and no MODEL it begins
    with nothing. Each event is predicted first and learned from when its label is there, which is
    also how it is scored. Drift is watched for and told.
    """
    from thalweg import api
    from thalweg.cli.streaming import go

    pipeline = api.pipeline(
        source,
        model=model,
        compiled=compiled,
        to=to,
        window=window,
        slide=slide,
        session=session,
        by=by or (),
        measure=measure,
        windows_to=windows_to,
        time=time,
        lateness=lateness,
        late_to=late_to,
        dead_letters=dead_letters,
        state=state,
        lanes=lanes,
        latency=latency,
        checkpoint=checkpoint,
        once=once,
        start=start,
        keep=keep,
        learn=learn,
        target=target,
        key=key,
        labels=labels,
        wait=wait,
        detector=detector,
        alerts_to=alerts_to,
        columns=options.kinds(column or ()),
        drop=drop or (),
        seed=seed or 0,
    )
    go(pipeline, explain=explain, as_json=as_json, quiet=quiet)
