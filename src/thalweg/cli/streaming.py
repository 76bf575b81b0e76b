"""What the verbs over streams share: run until stopped gently, then say what happened."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from thalweg import api
from thalweg.cli.answer import answer_json, pointers, screen
from thalweg.cli.progress import watching

if TYPE_CHECKING:
    from thalweg.serving.stream.pipeline import Pipeline


def go(pipeline: Pipeline, *, explain: bool, as_json: bool, quiet: bool) -> None:
    """Run a pipeline, or say what it would do."""
    if explain:
        _explained(api.explain_stream(pipeline), as_json=as_json)
        return
    begun = time.monotonic()
    with gently() as stopping, watching(quiet=quiet) as progress:
        tally = api.stream(pipeline, stopping=stopping, progress=progress)
    seconds = time.monotonic() - begun
    told = {
        "records": tally.records,
        "rows": tally.rows,
        "windows": tally.windows,
        "late": tally.late,
        "dead_letters": tally.dead,
        "unreadable": tally.unreadable,
        "seconds": seconds,
        "state": str(pipeline.folder),
    }
    if pipeline.watched:
        told["alerts"] = tally.alerts
    if tally.standing is not None:
        told |= {"version": tally.version, "learned": tally.standing.model_dump(mode="json")}
    if as_json:
        shares = {"p50": 0.5, "p99": 0.99}
        took = {name: tally.latencies.share(share) * 1e3 for name, share in shares.items()}
        answer_json({**told, "latency_ms": took})
        return
    if quiet or "-" in pipeline.goals.values():  # standard output is the answer
        return
    lines = {
        "events": f"{tally.records:,} in {seconds:,.1f} s",
        "dead letters": f"{tally.dead:,}: {pipeline.goals['dead']}",
        "state": str(pipeline.folder),
    }
    if pipeline.windows is not None:
        lines["windows"] = f"{tally.windows:,} closed, {tally.late:,} events too late"
    if pipeline.watched:
        lines["alerts"] = f"{tally.alerts:,}: {pipeline.goals['alerts']}"
    if tally.version is not None:
        lines["version"] = f"{tally.version}: {pipeline.folder}/versions"
    if tally.dead:
        lines["next"] = f"thalweg redrive {pipeline.folder}"
    console = screen()
    if tally.standing is not None and tally.standing.events:
        from thalweg.cli.flow import tell_standing

        tell_standing(console, tally.standing)
        console.print()
    pointers(console, lines)


@contextmanager
def gently() -> Iterator[Callable[[], bool]]:
    """Give what says whether to stop: the first SIGTERM or Ctrl-C asks, the second ends at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    for one in before:
        signal.signal(one, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _explained(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        answer_json(found)
        return
    source = found["source"]
    lines = {
        "from": f"{source['uri']} ({source['format']}, {source['partitions']} partitions, "
        f"{found['lanes']} lanes)"
    }
    for name, output in found["outputs"].items():
        lines[name] = f"{output['to']}: {output['guarantee']}"
    lines["state"] = found["state"]
    pointers(screen(), lines)
    sys.stdout.write(f"\n{found['how']}\n")
