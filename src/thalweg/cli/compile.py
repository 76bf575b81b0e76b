"""``thalweg compile``: a model as one graph that answers without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from thalweg.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from thalweg.lab.compiling import Compilation

SHOWN: Final = 3
"""So many metrics are printed; ``--json`` has all."""

Rows = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="Rows to compare by, with the target if there is one; rows are made by default. "
        + options.FORMATS,
    ),
]
Precision = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="float32 (the default), or float16 or int8 for smaller files. Repeat as needed.",
    ),
]


def compile(  # noqa: A001 - the verb's own name
    model: options.Model,
    source: Rows = None,
    *,
    query: options.Query = None,
    precision: Precision = None,
    files: options.Files = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compile a model for ONNX Runtime: what thalweg serve answers with.

    The graph takes raw cells and gives calibrated answers. It is kept in MODEL's folder, and only
    after it has answered the same rows as the model: with float32 the same within 1e-5.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen
    from thalweg.cli.progress import watching
    from thalweg.sources import with_query

    rows = None if source is None else with_query(source, query)
    with watching(quiet=quiet) as progress:
        found = api.compile(
            model, rows, precision=precision or "float32", files=files, progress=progress
        )
    if as_json:
        answer_json(found.to_json())
        return
    console = screen()
    console.print(_table(found))
    console.print()
    kind = "rows that were made of what the model knows" if found.made else "rows"
    console.print(f"compared by {found.rows:,} {kind}", style="dim")
    pointers(console, {"next": f"thalweg serve {model}"})


def _table(found: Compilation) -> Table:
    """Draw a column for the model and for each compiled one."""
    from rich.text import Text

    from thalweg.cli.answer import columns_table
    from thalweg.lab.report.wording import metric_named, number

    table = columns_table()
    for place, heading in enumerate(["", "model", *(one.precision for one in found.variants)]):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    table.add_row("size", "", *(_size(one.bytes) for one in found.variants))
    apart = (Text(f"{one.difference.largest:.1e}", style="dim") for one in found.variants)
    table.add_row("differs by", "", *apart)
    if any(one.difference.decisions for one in found.variants):
        others = (f"{one.difference.decisions:,}" for one in found.variants)
        table.add_row("other decisions", "", *others)
    for name, value in found.metrics.items():
        table.add_row(
            metric_named(name).label,
            number(value),
            *(number(one.metrics[name]) for one in found.variants),
        )
    speeds = [found.speed, *(one.speed for one in found.variants)]
    table.add_row("µs for one row", *(f"{speed.one:,.0f}" for speed in speeds))
    table.add_row("µs a row of 1,000", *(f"{speed.many:,.1f}" for speed in speeds))
    return table


def _size(count: int) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> _size(750_619), _size(1_411_187)
    ('751 kB', '1.4 MB')
    """
    return f"{count / 1e3:,.0f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"
