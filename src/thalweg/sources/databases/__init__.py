"""Databases as sources and sinks, one file each, with what is its own beside it.

To add one: write its file and add it to `DATABASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from thalweg.sources.databases import duckdb, mysql, postgresql, sqlite
from thalweg.sources.databases.address import Address
from thalweg.sources.databases.sql import Database

DATABASES: Final[dict[str, Callable[[Address], Database]]] = {
    "postgresql": postgresql.PostgreSql,
    "mysql": mysql.MySql,
    "sqlite": sqlite.Sqlite,
    "duckdb": duckdb.DuckDb,
}
"""The kind of database -> what reads and writes it."""
