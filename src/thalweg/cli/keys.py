"""``thalweg keys``: who may ask a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from thalweg.serving.http.keys import Change

File = Annotated[str, typer.Argument(metavar="FILE", help="The file of keys, made with the first.")]
Add = Annotated[
    str | None, typer.Option("--add", metavar="NAME", help="Make a key; it is shown once.")
]
Remove = Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Take a key back.")]
Admin = Annotated[
    bool, typer.Option("--admin", help="With --add: may also roll back and steer traffic.")
]
Days = Annotated[
    float | None,
    typer.Option("--days", metavar="N", help="With --add: worth nothing after so many days."),
]


def keys(
    file: File,
    *,
    add: Add = None,
    remove: Remove = None,
    admin: Admin = False,
    days: Days = None,
    as_json: options.Json = False,
) -> None:
    """List the keys of a server, make one or take one back.

    The file holds hashes only. A server that runs reads it again within a second.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, pointers, screen

    found = api.keys(file, add=add, remove=remove, admin=admin, days=days)
    if as_json:
        answer_json(_plain(found))
        return
    console = screen()
    if found.key:
        pointers(console, {"key": found.key, "shown": "this once; the file holds its hash"})
        return
    console.print(_table(found))


def _plain(found: Change) -> dict[str, object]:
    """Give what may be told: no hashes."""
    told: dict[str, object] = {
        "keys": [
            {
                "name": key.name,
                "scope": key.scope,
                "created": key.created.isoformat(),
                "expires": None if key.expires is None else key.expires.isoformat(),
            }
            for key in found.keys
        ]
    }
    return {"key": found.key, **told} if found.key else told


def _table(found: Change) -> Table:
    """Draw a row for each key."""
    from datetime import UTC, datetime

    from rich.text import Text

    from thalweg.cli.answer import columns_table

    table = columns_table()
    for heading in ("key", "may", "created", "expires"):
        table.add_column(heading)
    now = datetime.now(UTC)
    for key in found.keys:
        over = key.expires is not None and key.expires <= now
        end = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        table.add_row(
            Text(key.name, style="bold"),
            Text(key.scope),
            Text(f"{key.created:%Y-%m-%d %H:%M}", style="dim"),
            Text(f"{end} (over)" if over else end, style="red" if over else "dim"),
        )
    return table
