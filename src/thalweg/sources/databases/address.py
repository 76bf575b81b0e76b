"""Where a database's rows are: URIs taken apart, put together, and told without their secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final
from urllib.parse import quote, unquote

from thalweg.core.errors import OptionError, SourceError, near

SCHEMES: Final = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "duckdb": "duckdb",
}
"""What a URI of a database begins with -> the module that reads it."""

SERVERS: Final = frozenset({"postgresql", "mysql"})
MODES: Final = ("fail", "append", "replace")

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9]+)?:")
SECRET: Final = re.compile(r"pass|pwd|secret|token|credential|access_?key|api_?key|signature", re.I)
_HOSTS: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?(,[^:,]*(:\d*)?)*")
_OURS: Final = ("table", "query", "if_exists")


@final
@dataclass(frozen=True, slots=True)
class Address:
    """A database's URI, taken apart.

    Parameters
    ----------
    scheme
        Which kind of database: a value of `SCHEMES`.
    shown
        The URI for people, free of secrets.
    user, password, host, port, database
        As the URI has them, without percent signs; empty where it is silent. A file's path is its
        database.
    options
        What the URI says behind the question mark and is the driver's to understand.
    table
        The table: schema and name, or the name alone; empty for a query.
    query
        The query; empty for a table.
    mode
        What a sink does where the table exists: one of `MODES`.
    """

    scheme: str
    shown: str
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: int | None = None
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    table: tuple[str, ...] = ()
    query: str = ""
    mode: str = "fail"

    @property
    def server(self) -> str:
        """Name the server, or the file, for people."""
        if self.scheme not in SERVERS:
            return self.database
        port = f":{self.port}" if self.port else ""
        return f"{self.host or 'this machine'}{port}"

    def exists(self) -> SourceError:
        """Say that a table to write is there already."""
        return SourceError(
            f"{self.shown} is there already",
            "a new table",
            "Add &if_exists=append or &if_exists=replace to the URI, or choose another name.",
        )

    def missing(self, names: Iterable[str]) -> SourceError:
        """Say that a table is not there, with near names."""
        table = ".".join(self.table)
        return SourceError(
            f"{self.server} has no table {table!r} in {self.database or 'its database'!r}"
            if self.scheme in SERVERS
            else f"{self.database} has no table {table!r}",
            "a table or a view that you may read",
            near(table, names),
        )

    def clean(self, text: object) -> str:
        """Put a driver's words into one line, free of the secrets."""
        return hidden(text, self.password, self.options)


def hidden(text: object, password: str, options: Mapping[str, str]) -> str:
    """Put a driver's words into one line, free of a password and of secret options.

    Examples
    --------
    >>> hidden("no  sesame%21 here.", "sesame!", {})
    'no *** here'
    """
    said = " ".join(str(text).split())
    secrets = [password, *(value for name, value in options.items() if SECRET.search(name))]
    for secret in filter(None, secrets):
        said = said.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return said[:300].rstrip(" .")


def database_of(uri: str) -> str:
    """Give the kind of database that a URI is of; an empty text for a path or another URI.

    Examples
    --------
    >>> database_of("mariadb://localhost/shop?table=orders"), database_of("C:/rows.csv")
    ('mysql', '')
    """
    match = _SCHEME.match(uri)
    return SCHEMES.get(match[1].lower(), "") if match else ""


def parse(uri: str) -> Address:
    """Take a database's URI apart.

    Raises
    ------
    SourceError
        Where it cannot be read, or does not say which rows are meant.

    Examples
    --------
    >>> address = parse("postgresql://ann@db.example:5433/shop?table=sales.orders")
    >>> address.server, address.database, address.table
    ('db.example:5433', 'shop', ('sales', 'orders'))
    """
    scheme = database_of(uri)
    shown = without_secrets(uri)
    body = uri[uri.index(":") + 1 :]
    body = body.removeprefix("//") if scheme in SERVERS else body
    main, _, said = body.partition("?")
    options = _options(said)
    ours = {name: options.pop(name, "") for name in _OURS}
    mode = ours["if_exists"] or "fail"
    if mode not in MODES:
        raise SourceError(
            f"{shown} says if_exists={mode}", "if_exists=append, replace or fail", "Choose one."
        )
    if bool(ours["table"]) == bool(ours["query"]):
        raise SourceError(
            f"{shown} names {'a table and a query' if ours['table'] else 'no table'}",
            "a table or a query",
            "Add ?table=NAME to the URI, or ask a question of your own with --query.",
        )
    table, query = _table(ours["table"]), ours["query"].strip().rstrip(";").rstrip()
    if scheme not in SERVERS:
        return Address(scheme, shown, "", "", "", None, _file(main), options, table, query, mode)
    account, _, place = main.rpartition("@")
    user, _, password = account.partition(":")
    server, _, database = place.partition("/")
    host, port = _port(server, shown)
    return Address(
        scheme,
        shown,
        unquote(user),
        unquote(password),
        unquote(host),
        port,
        unquote(database),
        options,
        table,
        query,
        mode,
    )


def without_secrets(uri: str) -> str:
    """Give a URI without its password and whatever else it says in secret.

    A path, or a URI that holds none, is given back as it is.

    Examples
    --------
    >>> without_secrets("postgresql://ann:sesame@db/shop?table=orders&sslpassword=hush")
    'postgresql://ann@db/shop?table=orders'
    >>> without_secrets("data/rows.csv")
    'data/rows.csv'
    """
    scheme, found, body = uri.partition("://")
    if not found or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
        return uri
    main, mark, said = body.partition("?")
    # A password with a slash in it is no good URI, but is a password.
    network, slash, rest = (main, "", "") if database_of(uri) in SERVERS else main.partition("/")
    account, at, place = network.rpartition("@")
    if at:
        main = f"{account.partition(':')[0]}@{place}{slash}{rest}"
    elif database_of(uri) in SERVERS and not _HOSTS.fullmatch(main.partition("/")[0]):
        return f"{scheme}://***"
    pieces = [one for one in said.split("&") if not SECRET.search(one.partition("=")[0])]
    return f"{scheme}://{main}{mark if any(pieces) else ''}{'&'.join(pieces)}"


def name_of(uri: str) -> str:
    """Give a short name for what a database's URI means, to call a file by.

    Examples
    --------
    >>> name_of("mysql://ann:sesame@db/shop?table=sales.orders")
    'sales.orders'
    """
    said = _options(uri.partition("?")[2])
    return re.sub(r"[^\w.-]+", "_", said.get("table", "")).strip("_") or "query"


def with_query(uri: str, query: str | None) -> str:
    """Add a query to a database's URI; without one, give it back as it is.

    Raises
    ------
    OptionError
        Where it is no database's, is empty, or names a table or a query already.

    Examples
    --------
    >>> with_query("sqlite:///shop.db", "select 1 as one")
    'sqlite:///shop.db?query=select%201%20as%20one'
    """
    if query is None:
        return uri
    shown = without_secrets(uri)
    if not database_of(uri):
        raise OptionError(
            f"a query of {shown}", "a database to ask", "Name one, such as postgresql://host/db."
        )
    _, mark, said = uri.partition("?")
    if {"table", "query"} & set(_options(said)):
        raise OptionError(
            f"a query, and {shown} says which rows already",
            "one of both",
            "Leave the table or the query out.",
        )
    if not query.strip():
        raise OptionError("an empty query", "a query such as select * from orders")
    return f"{uri}{'&' if mark else '?'}query={quote(query, safe='')}"


def _options(said: str) -> dict[str, str]:
    """Read what stands behind the question mark: a plus is a plus, as in a query's sums."""
    pairs = [one.partition("=") for one in said.split("&") if one]
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _file(body: str) -> str:
    """Find a file's place.

    Behind three slashes stands, as tools differ, a path from the root or from here: the one that
    is there, else the one whose folder is.
    """
    if not body.startswith("//"):
        return unquote(body)
    path = Path(unquote(body.removeprefix("//")))
    if not path.is_absolute() or str(path).startswith("//"):
        return str(path).replace("//", "/", 1)
    here = Path(*path.parts[1:])
    if path.exists() or here.exists():
        return str(path if path.exists() else here)
    return str(path if path.parent.is_dir() and path.parent != path.parent.parent else here)


def _table(said: str) -> tuple[str, ...]:
    """Take a table's name apart at its dots; quotes keep a dot in a name."""
    pieces = re.findall(r'"((?:[^"]|"")*)"|([^."]+)', said)
    return tuple(quoted.replace('""', '"') or plain for quoted, plain in pieces)


def _port(server: str, shown: str) -> tuple[str, int | None]:
    """Take host and port apart; the host may be an address in brackets."""
    host, colon, port = server.rpartition(":")
    if "," in server:  # Several servers, of which the driver takes the first that answers.
        return server, None
    if not colon or "]" in port:
        return server.strip("[]"), None
    if port and not (port.isdigit() and int(port) < 65536):
        raise SourceError(f"{shown} has the port {port!r}", "a number", "Check the URI.")
    return host.strip("[]"), int(port) if port else None
