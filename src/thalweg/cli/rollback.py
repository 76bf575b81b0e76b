"""``thalweg rollback``: back to an earlier version of a model that learns on a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from thalweg.monitor.versions import Rolled

StreamState = Annotated[
    str, typer.Argument(metavar="STATE", help="The folder of the state of a stream that learns.")
]
To = Annotated[
    int | None,
    typer.Option(
        "--to",
        metavar="VERSION",
        help="Where to; the one served before the current one by default.",
    ),
]


def rollback(state: StreamState, *, to: To = None, as_json: options.Json = False) -> None:
    """Go back to an earlier version of a model that learns on a stream.

    A stream that runs follows with its next batch, with what was learned by then; one that does not
    run, when it starts again.
    """
    from dataclasses import asdict

    from thalweg import api
    from thalweg.cli.answer import answer_json, screen

    found = api.rollback(state, version=to)
    if as_json:
        answer_json(asdict(found))
        return
    console = screen()
    console.print(_table(found))
    console.print()
    console.print(f"version {found.version} is to be served (order {found.order})", style="dim")


def _table(found: Rolled) -> Table:
    """Draw a row for each version."""
    from rich.text import Text

    from thalweg.cli.answer import BEST, columns_table

    table = columns_table()
    for heading in ("version", "", "from", "made", "because"):
        table.add_column(heading, justify="right" if heading in {"version", "from"} else "left")
    for one in found.versions:
        served = one.number == found.version
        table.add_row(
            Text(str(one.number), style="bold green" if served else ""),
            Text(BEST if served else "", style="bold green"),
            "" if one.parent is None else str(one.parent),
            Text(_moment(one.made), style="dim"),
            Text(one.damage or one.because, style="red" if one.damage else ""),
        )
    return table


def _moment(microseconds: int) -> str:
    """Say when something was, in UTC."""
    from datetime import UTC, datetime

    if not microseconds:
        return ""
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
