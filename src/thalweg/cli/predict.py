"""``thalweg predict``: an answer for every row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thalweg.cli import options

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN: Final = 10
WIDEST: Final = 60


def predict(
    model: options.Model,
    source: options.Source,
    *,
    query: options.Query = None,
    to: options.Sink = None,
    keep: options.Keep = True,
    compiled: options.Compiled = False,
    files: options.Files = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict every row of a table.

    Classes come with their probabilities and numbers with their interval. Columns that the model
    does not read are passed over; the target need not be there.
    """
    import time

    from rich.text import Text

    from thalweg import api
    from thalweg.cli.answer import answer_json, columns_table, pointers, screen
    from thalweg.cli.progress import watching
    from thalweg.sources import with_query, without_secrets

    begun = time.monotonic()
    asked = with_query(source, query)
    written = None if to is None else without_secrets(to)
    with watching(quiet=quiet) as progress:
        found = api.predict(
            model, asked, to=to, keep=keep, compiled=compiled, files=files, progress=progress
        )
    if as_json:
        told = {
            "rows": _counted(found),
            "columns": found.column_names,
            "to": written,
            "seconds": time.monotonic() - begun,
            "model": model,
        }
        answer_json(told if written else told | {"predictions": found.to_pylist()})
        return
    console = screen()
    if written:
        pointers(console, {"rows": f"{_counted(found):,}", "written": written})
        return
    table = columns_table()
    for name in found.column_names:
        table.add_column(Text(name))
    for row in found.slice(0, SHOWN).to_pylist():
        table.add_row(*(Text(_shown(value)) for value in row.values()))
    console.print(table)
    if found.num_rows > SHOWN:
        console.print(f"and {found.num_rows - SHOWN:,} more", style="dim")
    console.print()
    pointers(console, {"next": "add --to FILE to keep them all"})


def _shown(value: object) -> str:
    """Show a cell in a table: of bytes how many, of a long text its beginning."""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    text = "" if value is None else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _counted(found: pa.Table) -> int:
    """Count the predicted rows, also those that went to a file."""
    return int((found.schema.metadata or {}).get(b"predicted", found.num_rows))
