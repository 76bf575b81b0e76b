"""What a verb says at its end: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thalweg.cli.progress import duration
from thalweg.lab.report.standing import Contender, contests, decision
from thalweg.models.record import Evaluation, Rows

BEST: Final = "★"
WIDTH: Final = 120


def answer_json(answer: Mapping[str, Any]) -> None:
    """Print one JSON object on one line.

    What is not a finite number becomes null; bytes become base64.
    """
    typer.echo(to_json(answer, inf_nan_mode="null", bytes_mode="base64").decode())


def screen() -> Console:
    """Give standard output: as wide as the terminal, and 120 columns where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def columns_table() -> Table:
    """Begin a table in the one style that all answers share."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def tell_standing(
    console: Console, evaluation: Evaluation, settings: Mapping[str, Any] | None = None
) -> None:
    """Print the metrics and, below them, how to read them; see `standing` and `decision`."""
    console.print(standing(evaluation))
    said = decision(evaluation, settings)
    if said:
        console.print()
        console.print(Text(said, style="dim"))


def standing(evaluation: Evaluation) -> Table:
    """Draw the metrics with their 95% intervals beside those of the baselines.

    Returns
    -------
    rich.table.Table
        A row for each metric, the leading one first, and a column for each model, the strongest
        baseline first; the best of each row is marked.
    """
    table = columns_table()
    found = contests(evaluation)
    table.add_column("")
    table.add_column("thalweg", justify="right")
    table.add_column("95% interval")
    for rival in found[0].contenders[1:] if found else ():
        table.add_column(rival.label, justify="right")
    for contest in found:
        own, *rivals = contest.contenders
        bounds = Text(own.bounds, style="dim")
        table.add_row(Text(contest.metric.label), _cell(own), bounds, *map(_cell, rivals))
    return table


def _cell(contender: Contender) -> Text:
    if contender.best:
        return Text(f"{BEST} {contender.text}", style="bold green")
    return Text(contender.text, style="" if contender.figure else "dim")


def summed_up(rows: Rows, seconds: float) -> str:
    """Say how many rows went where, and how long it took.

    Examples
    --------
    >>> summed_up(Rows(train=14448, validation=2064, test=4128), 252.0)
    '14,448 rows to train, 2,064 for validation, 4,128 for test; 4 min 12 s'
    """
    words = {
        "train": "rows to train",
        "validation": "for validation",
        "test": "for test",
        "dropped": "dropped",
        "rejected": "set aside",
    }
    counts = rows.model_dump()
    counted = ", ".join(f"{counts[name]:,} {word}" for name, word in words.items() if counts[name])
    return f"{counted}; {duration(seconds)}"


def pointers(console: Console, lines: Mapping[str, str]) -> None:
    """Print where things are and what to type next: a word and a text on each line."""
    width = max(map(len, lines))
    for word, text in lines.items():
        # A path or a command must stay whole, so that it can be copied.
        console.print(Text(f"{word:<{width}}  ", style="dim") + Text(text), soft_wrap=True)
