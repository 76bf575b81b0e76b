"""``thalweg profile``: what is in a table."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from thalweg.cli import options

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

    from thalweg.data.profile import Profile
    from thalweg.lab.report.profiles import Bar, Card

LEVELS: Final = "▁▂▃▄▅▆▇█"
CELLS: Final = 12
WIDEST: Final = 40

COUNT: Final = re.compile(r", [\d,]+ different values$")
"""What a reason says of the number of distinct values, which has a column of its own."""


def profile(
    source: options.Source,
    *,
    query: options.Query = None,
    target: options.Target = None,
    column: options.Columns = None,
    files: options.Files = None,
    html: options.Html = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read a table once and say what is in it.

    Every column with its kind, why, what is missing and what it holds. Nothing is trained.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen
    from thalweg.cli.progress import watching
    from thalweg.sources import with_query, without_secrets

    said = options.kinds(column or ())
    asked = with_query(source, query)
    with watching(quiet=quiet) as progress:
        found = api.profile(
            asked, target=target, columns=said, files=files, html=html, progress=progress
        )
    if as_json:
        answer_json(found.to_json())
        return
    console = screen()
    console.print(columns_of(found))
    console.print()
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    count = len(found.summary.columns)
    console.print(f"{found.summary.rows:,} rows, {count:,} columns", style="dim")
    goal = target or "COLUMN"
    pages = {"page": html} if html else {}
    command = shlex.join(["thalweg", "train", without_secrets(asked), "--target", goal])
    pointers(console, {**pages, "next": command})


def columns_of(found: Profile) -> Table:
    """Draw a row for each column, the target first and those that are not read last."""
    from rich.text import Text

    from thalweg.cli.answer import columns_table
    from thalweg.lab.report.profiles import cards
    from thalweg.lab.report.wording import cut

    table = columns_table()
    for heading in ("column", "kind", "why", "missing", "distinct", "values"):
        # Where the screen is narrow, reasons and values wrap; all else stays whole.
        justify: JustifyMethod = "right" if heading in ("missing", "distinct") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading not in ("why", "values"))
    for card in cards(found.summary, found.schema):
        style = {"target": "bold cyan", "ignored": "dim"}.get(card.role, "")
        why = COUNT.sub("", card.because)
        table.add_row(
            Text(cut(card.name, 24), style=style),
            Text(card.kind or "not read", style=style),
            Text(cut(f"target; {why}" if card.role == "target" else why, WIDEST), style="dim"),
            Text(card.missing_text if card.missing else "", style="yellow"),
            Text(dict(card.facts).get("different", "")),
            Text(_values(card), style=style),
        )
    return table


def _values(card: Card) -> str:
    """Show what a column holds: a small histogram between its ends, or its frequent values."""
    if card.bars:
        low, high = card.ends
        return f"{low} {sparkline(card.bars)} {high}"
    from thalweg.lab.report.wording import cut

    found = [f"{cut(top.text, 16)} {top.share}" for top in card.tops[:3]]
    while len(found) > 1 and len(", ".join(found)) > WIDEST:
        found.pop()
    return ", ".join(found)


def sparkline(bars: Sequence[Bar]) -> str:
    """Draw a histogram with a line of block characters.

    Parameters
    ----------
    bars
        Bars in percent of the drawing's width and height, from left to right.
    """
    heights = [0.0] * CELLS
    for bar in bars:
        place = min(int((bar.left + bar.width / 2) / 100 * CELLS), CELLS - 1)
        heights[place] = max(heights[place], bar.height)
    return "".join(
        LEVELS[min(int(height / 100 * len(LEVELS)), len(LEVELS) - 1)] if height else " "
        for height in heights
    )
