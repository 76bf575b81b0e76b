"""``thalweg drift``: what has changed between two tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from thalweg.cli import options

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

    from thalweg.monitor.tables import Drift

SHOWN: Final = 40
"""So many columns that have not changed are printed; the page and ``--json`` have all."""

Before = Annotated[
    str,
    typer.Argument(metavar="BEFORE", help="What it was: a table, or the folder of a saved model."),
]
After = Annotated[str, typer.Argument(metavar="AFTER", help="What it is: a table.")]
Page = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write the comparison as a page too."),
]


def drift(
    before: Before,
    after: After,
    *,
    html: Page = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare two tables column by column: what has changed, and how far.

    A table is anything that profile reads. In place of BEFORE a saved model stands for the rows it
    was trained on and the columns it reads. Columns of times, and keys that each row has one of,
    move by themselves: of them only what is missing is compared.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen
    from thalweg.cli.progress import watching

    with watching(quiet=quiet) as progress:
        found = api.drift(before, after, html=html, progress=progress)
    if as_json:
        answer_json(found.to_json())
        return
    console = screen()
    console.print(_table(found))
    console.print()
    changed, count = len(found.drifted), len(found.columns)
    rows = f"{found.reference.rows:,} rows before, {found.summary.rows:,} after"
    console.print(f"{changed:,} of {count:,} columns have changed; {rows}", style="dim")
    if html:
        pointers(console, {"page": html})


def _table(found: Drift) -> Table:
    """Draw a row for each column, those that changed most first."""
    from rich.text import Text

    from thalweg.cli.answer import columns_table
    from thalweg.lab.report.wording import chance, cut

    table = columns_table()
    for heading in ("column", "", "changed", "distance", "by luck", "PSI", "missing"):
        justify: JustifyMethod = "right" if heading in ("distance", "by luck", "PSI") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "changed")
    quiet = 0
    for one in found.columns:
        quiet += not one.drifted
        if quiet > SHOWN:
            table.add_row(Text(f"and {len(found.columns) - table.row_count:,} more", style="dim"))
            break
        style = "bold yellow" if one.drifted else "dim"
        measured = bool(one.measure) and bool(one.reasons != ("missing column",))
        table.add_row(
            Text(cut(one.name, 24), style=style),
            Text("●" if one.drifted else "", style=style),
            Text(cut(one.words, 60) if one.words else "no"),
            Text(f"{one.distance:.3f}" if measured else ""),
            Text(chance(one.p) if measured else "", style="dim"),
            Text(f"{one.psi:.3f}" if measured else "", style="dim"),
            Text(_missing(one.missing_before, one.missing_after), style="dim"),
        )
    return table


def _missing(before: float, after: float) -> str:
    """Say what is missing, where anything is."""
    from thalweg.lab.report.wording import share

    if not before and not after:
        return ""
    was, now = share(before), share(after)
    return was if was == now else f"{was} → {now}"
