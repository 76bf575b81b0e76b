"""Run a stream pipeline, or say what it would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from thalweg.core.progress import Progress
from thalweg.monitor.versions import VERSIONS, Versions
from thalweg.serving.stream.decoding import Decoder
from thalweg.serving.stream.lane import Lane, Tally
from thalweg.serving.stream.oddness import Oddness
from thalweg.serving.stream.pipeline import Pipeline
from thalweg.serving.stream.runner import Orders, Runner
from thalweg.serving.stream.setup import Plan, made, prepare, require_possible
from thalweg.serving.stream.vigil import Vigil
from thalweg.serving.stream.work import LABELS, Work
from thalweg.sources.streams.base import Stream
from thalweg.sources.streams.joined import Joined


def run(pipeline: Pipeline, progress: Progress, stopping: Callable[[], bool]) -> Tally:
    """Run a pipeline until told to stop.

    Raises
    ------
    OptionError, ColumnError, SourceError
        Where the pipeline cannot be; nothing was begun.
    """
    require_possible(pipeline)
    with made(pipeline.folder), ExitStack() as stack:
        first = stack.enter_context(pipeline.open())
        plan = prepare(pipeline, first, progress, stopping)
        if plan is None:
            return Tally()
        partitions = list(first.partitions())
        lanes = pipeline.share(partitions)
        stack.pop_all()
    opened = [first]  # the first lane goes on with it: standard input cannot be opened again
    name, begin = plan.name, plan.begin

    def make(number: int, folder: Path, tally: Tally) -> Lane:
        folder.mkdir(parents=True, exist_ok=True)
        stream = opened.pop() if opened else pipeline.open()

        def work() -> Work:
            return _work(pipeline, plan, stream, partitions[number::lanes], folder)

        return Lane(
            folder,
            partitions[number::lanes],
            stream,
            pipeline.open_outlets(name, number, folder, stream.uri),
            work,
            pipeline.latency,
            pipeline.every,
            tally,
            progress.note,
        )

    orders = Orders(pipeline.folder, lanes, once=pipeline.once, begin=begin)
    try:
        return Runner(orders, make, progress, stopping).run()
    finally:
        for stream in opened:  # no lane was this process's
            stream.close()


def explain(pipeline: Pipeline) -> dict[str, Any]:
    """Say what a pipeline does and what it promises, without running it.

    Returns
    -------
    dict
        Plain data: ``source``, ``lanes``, ``windows``, ``outputs`` (each with ``to`` and
        ``guarantee``), ``state``, ``how``.
    """
    with pipeline.open() as stream:
        partitions = list(stream.partitions())
        source = {"uri": stream.uri, "format": stream.format, "partitions": len(partitions)}
        outlets = pipeline.open_outlets("explained", 0, pipeline.folder, stream.uri)
        outputs = {
            name: {"to": outlet.uri, "guarantee": outlet.guarantee}
            for name, outlet in outlets.items()
        }
        for outlet in outlets.values():
            outlet.close()
    lanes = pipeline.share(partitions)
    return {
        "source": source,
        "lanes": lanes,
        "windows": None if pipeline.windows is None else pipeline.windows.to_json(),
        "outputs": outputs,
        "state": str(pipeline.folder),
        "how": (
            "Which records make a batch is written to the disk before the batch is worked on. "
            f"Every {pipeline.every:g} s all outputs are flushed, then a checkpoint of everything "
            "that is remembered is written, then the source is told. After a crash the same "
            "batches are made again from the checkpoint, and an output takes those that it does "
            "not have. A process that dies is replaced by another on the same state within two "
            "seconds."
            + (
                f" Each of {lanes} lanes has windows of its own: they are whole only where rows of "
                "a key lie in one partition."
                if lanes > 1 and pipeline.windows is not None
                else ""
            )
        ),
    }


def _work(
    pipeline: Pipeline, plan: Plan, stream: Stream, partitions: Sequence[str], folder: Path
) -> Work:
    """Make the work of a lane, which remembers nothing yet."""
    lessons, labels, learning = pipeline.lessons, None, None
    if lessons is not None:
        from thalweg.serving.stream.learning import Learning
        from thalweg.training.online.start import Beginning

        versions = Versions(pipeline.folder / VERSIONS)
        beginning = None if plan.cold is None else Beginning.from_json(plan.cold)
        learning = Learning(lessons, folder, versions, pipeline.trained, beginning)
        if isinstance(stream, Joined):
            own = {name: plan.types[name] for name in (lessons.key, lessons.target) if name}
            second = stream.second
            labels = Decoder(own, second.format, second.columns, second.separator)
    vigil, looked = None, None
    if pipeline.watched:
        model, trained = pipeline.model, pipeline.trained
        inputs = [] if model is None else model.schema.names
        inputs = inputs if learning is None else learning.learner.schema.names
        vigil = Vigil(inputs, None if model is None else model.reference)
        looked = trained if trained is not None and trained.schema.wide else None
    oddness = None
    if pipeline.follows and pipeline.model is not None:
        oddness = Oddness(pipeline.model)
    return Work(
        Decoder(plan.types, stream.format, stream.columns, stream.separator),
        pipeline.clockwork,
        pipeline.model,
        pipeline.windows,
        [one for one in partitions if not one.startswith(LABELS)],
        learning=learning,
        labels=labels,
        vigil=vigil,
        looked=looked,
        oddness=oddness,
        keep=pipeline.keep,
    )
