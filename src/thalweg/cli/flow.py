"""What is printed of a stream that was predicted first and learned from later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from thalweg import api
from thalweg.cli.answer import BEST, answer_json, columns_table, screen
from thalweg.cli.progress import duration, watching
from thalweg.core.errors import OptionError
from thalweg.lab.report.flow import LABELS, behind, delay_sentence, figure, named, scores_table
from thalweg.lab.report.wording import counted, joined
from thalweg.sources import with_query
from thalweg.training.online.record import Flow, Standing

_NO_LABEL: Final = "No label came, so nothing can be said of how good the predictions were."


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a stream in a shell; see `thalweg.api.prequential`."""

    model: str | None
    source: str
    query: str | None
    target: str | None
    delay: int
    time: str | None
    changes: str
    rivals: Sequence[str]
    columns: Mapping[str, str]
    drop: Sequence[str]
    detector: str
    seed: int
    html: str | None


def tell_stream(asked: Asked, *, as_json: bool, quiet: bool) -> None:
    """Judge what learns from a stream, and print how well it did."""
    with watching(quiet=quiet) as progress:
        flow = api.prequential(
            with_query(asked.source, asked.query),
            model=asked.model,
            target=asked.target,
            delay=asked.delay,
            time=asked.time,
            rivals=asked.rivals,
            changes=_rows(asked.changes),
            columns=asked.columns,
            drop=asked.drop,
            detector=asked.detector,
            html=asked.html,
            seed=asked.seed,
            progress=progress,
        )
    if as_json:
        told = flow.model_dump(mode="json")
        standing = told.pop("standing")
        answer_json(
            told
            | standing
            | {
                "rows": {"test": flow.standing.events},
                "metrics": flow.standing.metrics,
                "baselines": flow.standing.baselines,
                "model": asked.model,
            }
        )
        return
    console = screen()
    tell_flow(console, flow)
    size = [f"{flow.standing.events:,} rows", f"{flow.events_per_second:,.0f} rows/s"]
    if not flow.standing.metrics:  # nothing was done, so its speed says nothing
        size.pop()
    console.print("; ".join([*size, duration(flow.seconds)]), style="dim")


def _rows(text: str) -> list[int]:
    """Read row numbers with commas between them."""
    try:
        return [int(one) for one in text.split(",") if one.strip()]
    except ValueError:
        raise OptionError(
            f"--changes is {text!r}", "numbers of rows", "Write --changes 1000,2000."
        ) from None


def tell_flow(console: Console, flow: Flow) -> None:
    """Print the scores beside those of the last label and of rivals, never without the delay."""
    if not flow.standing.metrics:
        console.print(_NO_LABEL)
        return
    console.print(scores(flow))
    console.print()
    for line in remarks(flow):
        console.print(Text(line, style="dim"))


def tell_standing(console: Console, standing: Standing) -> None:
    """Print in a few lines how good the predictions of a stream were, each before its label."""
    if not standing.metrics:
        console.print(_NO_LABEL)
        return
    names = {key: LABELS[key][0] for key in LABELS if key in standing.metrics}
    table = columns_table()
    table.add_column("predicted before the label came")
    for name in names.values():
        table.add_column(name, justify="right")
    rows = {"so far": standing.metrics, "of late": standing.recent}
    for who, found in (rows | standing.baselines).items():
        table.add_row(named(who), *(figure(key, found.get(key)) for key in names))
    console.print(table)
    delays = standing.delays
    late = "" if delays is None else f"; {delays.median:,.0f} events later in the median"
    line = f"{standing.labels:,} labels of {standing.events:,} events ({standing.seen:.1%}){late}"
    changes = f"; {counted(len(standing.marks), 'change')} confirmed" if standing.marks else ""
    console.print(Text(f"{line}{changes}", style="dim"))


def scores(flow: Flow) -> Table:
    """Draw the table: a row for each, the learner first, and a column for each metric."""
    table = columns_table()
    columns, lines = scores_table(flow)
    table.add_column(f"label delay {counted(flow.delay, 'row')}")
    for column in columns:
        table.add_column(column, justify="right")
    part = ""
    for line in lines:
        if line.part == "its experts":
            table.add_row(Text(f"{line.part}:", style="dim"))
        part = line.part or part
        dim = "dim" if part == "its experts" else ""
        cells = [
            Text(f"{BEST} {text}", style="bold green") if best else Text(text, style=dim)
            for text, best in line.cells
        ]
        table.add_row(Text(line.name, style="bold" if line.own else dim), *cells)
    return table


def remarks(flow: Flow) -> list[str]:
    """Say when labels came, who is better, and what changed in the stream."""
    said = [delay_sentence(flow)]
    better = behind(flow)
    if better:
        verb = "does" if len(better) == 1 else "do"
        said.append(f"{joined(better)} {verb} better over the whole stream.")
    for kind, word in (("given", "known"), ("confirmed", "confirmed by the detector")):
        marks = [one for one in flow.standing.marks if one.kind == kind]
        waits = [one.recovered for one in marks if one.recovered is not None]
        if marks:
            line = f"{counted(len(marks), 'change')} {word}"
            if waits:
                middle = median(waits)
                after = f"after {middle:,.0f} labels" if middle else "at once"
                line += f"; {len(waits):,} recovered from, {after}"
                line += " (median)" if len(waits) > 1 else ""
            said.append(f"{line}.")
    return [*said, *flow.warnings]
