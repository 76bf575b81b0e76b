"""Where a broker's stream is: URIs taken apart, and told without their secrets."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final, cast, final
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import LostConnectionError, SourceError, near
from thalweg.sources.databases.address import SECRET, hidden
from thalweg.sources.streams.base import Format

FORMATS: Final = ("json", "csv", "arrow")
SECONDS: Final = 10.0
"""How long a server may be silent before it counts as lost."""

BYTES: Final = 16 << 20
"""About how much is fetched at a time."""


@final
@dataclass(frozen=True, slots=True)
class Broker:
    """A stream's URI, taken apart.

    Parameters
    ----------
    shown
        The URI for people, free of secrets.
    user, password
        As the URI has them, without percent signs; empty where it is silent.
    hosts
        Each server as ``(host, port)``.
    path
        What stands between the hosts and the question mark.
    options
        What stands behind the question mark.
    secure
        Whether the connection is to be encrypted.
    """

    shown: str
    user: str
    password: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...]
    path: str
    options: Mapping[str, str] = field(repr=False)
    secure: bool = False

    @property
    def server(self) -> str:
        """Name the servers, for people."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts)

    @property
    def format(self) -> Format:
        """How the payloads are written."""
        found = self.options.get("format", "json")
        if found not in FORMATS:
            raise SourceError(
                f"{self.shown} says format={found}", "format=json, csv or arrow", "Choose one."
            )
        return cast("Format", found)

    @property
    def partitions(self) -> int:
        """How many partitions the URI speaks of; 0 where it is silent."""
        found = self.options.get("partitions", "")
        if not found:
            return 0
        if not (found.isascii() and found.isdigit() and 0 < int(found) <= 65_536):
            raise SourceError(
                f"{self.shown} says partitions={found}", "a number from 1 to 65536", "Correct it."
            )
        return int(found)

    def names(self, stem: str) -> tuple[str, ...]:
        """Name the partitions: numbered where the URI says how many."""
        return tuple(f"{stem}{i}" for i in range(self.partitions)) or (stem[:-1],)

    def clean(self, said: object) -> str:
        """Put a driver's words into one line, free of the secrets."""
        return hidden(said, self.password, self.options)

    def lost(self, error: object) -> LostConnectionError:
        """Say that the server cannot be reached now."""
        return LostConnectionError(
            f"{self.server} does not answer ({self.clean(error) or type(error).__name__})",
            "a server that takes connections",
            "Start it, or check host, port and network; what was not finished is done again.",
        )

    def begun_anew(self) -> LostConnectionError:
        """Say that a flush that failed has to be followed by `resume`."""
        return LostConnectionError(
            f"the last flush to {self.shown} failed",
            "a writer that resumes",
            "Resume, and write again what was not flushed.",
        )

    def refused(self, error: object) -> SourceError:
        """Say that the server said no."""
        return SourceError(
            f"{self.server} refuses ({self.clean(error)})",
            f"what {self.shown} asks for",
            "Check user, password and names.",
        )


def parse(uri: str, port: int, allowed: Iterable[str]) -> Broker:
    """Take a stream's URI apart.

    Parameters
    ----------
    uri
        ``scheme://[user:password@]host[:port][,host...]/path?option=value``.
    port
        The port of hosts that name none.
    allowed
        Which options it may have; one with a dot in it is always the driver's own.

    Examples
    --------
    >>> broker = parse("redis://ann:sesame@db/0?stream=events&partitions=2", 6379, ["stream"])
    Traceback (most recent call last):
    thalweg.core.errors.SourceError: redis://ann@db/0?stream=events&partitions=2 says partitions=;
    expected an option that is known. There are: stream.
    >>> broker = parse("redis://ann:sesame@db/0?stream=events", 6379, ["stream"])
    >>> broker.shown, broker.server, broker.path
    ('redis://ann@db/0?stream=events', 'db:6379', '0')
    """
    scheme, _, body = uri.partition("://")
    main, _, said = body.partition("?")
    account, at, place = main.rpartition("@")  # A password with a slash in it is a password.
    network, slash, path = place.partition("/")
    user, colon, password = account.partition(":")
    if scheme in ("nats", "tls") and not colon:  # A token, which is a password alone.
        user, password, at = "", user, ""
    pairs = [one.partition("=") for one in said.split("&") if one]
    open_pairs = "&".join("".join(one) for one in pairs if not SECRET.search(one[0]))
    shown = f"{scheme}://{user}{at}{network}{slash}{path}{'?' if open_pairs else ''}{open_pairs}"
    options = {unquote(name): unquote(value) for name, _, value in pairs}
    known = list(allowed)
    for name in options:
        if name not in known and "." not in name:
            raise SourceError(f"{shown} says {name}=", "an option that is known", near(name, known))
    hosts = tuple(_place(one, port, shown) for one in network.split(","))
    return Broker(
        shown,
        unquote(user),
        unquote(password),
        hosts,
        unquote(path),
        options,
        scheme in ("rediss", "tls"),
    )


def driver(name: str) -> ModuleType:
    """Load what speaks to a broker.

    Raises
    ------
    SourceError
        Where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        package = name.partition(".")[0]
        if (missing.name or "").partition(".")[0] != package:
            raise
        raise SourceError(
            f"the package {package} is not installed",
            "it, to read and write this kind of stream",
            "Run: pip install 'thalweg[stream]'",
        ) from None


def shares(count: int, keys: pa.LargeStringArray | None, parts: int, turn: int) -> NDArray[np.intp]:
    """Say to which of some partitions each record goes: equal keys to the same one, for ever.

    Parameters
    ----------
    count
        How many records.
    keys
        large_string [count], or None: then all go to one partition.
    parts
        How many partitions.
    turn
        Whose turn it is where there are no keys.

    Examples
    --------
    >>> shares(3, pa.array(["a", "b", "a"], pa.large_string()), 4, 0).tolist()
    [3, 1, 3]
    """
    if keys is None or parts == 1:
        return np.full(count, turn % parts, dtype=np.intp)
    coded = keys.fill_null("").dictionary_encode()
    each = [zlib.crc32(key.encode()) % parts for key in coded.dictionary.to_pylist()]
    found: NDArray[np.intp] = np.array(each, dtype=np.intp)[coded.indices.to_numpy()]
    return found


def _place(server: str, port: int, shown: str) -> tuple[str, int]:
    """Take host and port apart; the host may be an address in brackets."""
    host, colon, said = server.rpartition(":")
    if not colon or "]" in said:
        host, said = server, ""
    if said and not (said.isascii() and said.isdigit() and 0 < int(said) < 65_536):
        raise SourceError(f"{shown} has the port {said!r}", "a number", "Check the URI.")
    return host.strip("[]") or "127.0.0.1", int(said or port)
