"""How much one request may ask and how often one client may: fixed limits and a token bucket."""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from thalweg.core.errors import OptionError

__all__ = ["Limits", "Rate", "RateLimit", "client", "read_rate", "retry_after"]

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_WRITTEN: Final = re.compile(r"\s*(\d{1,9})\s*/\s*(s|m|h)\s*", re.ASCII)


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What is the most of one request and of one server.

    Parameters
    ----------
    body
        Bytes of a body. 32 MiB hold 100,000 rows of Adult as JSON, or a few photographs.
    rows
        Rows of one request. 100,000 rows of a small model take about a second: more would let
        others wait, and are better sent in parts, or by ``thalweg predict``.
    seconds
        For a body to arrive whole: a client that sends a byte now and then
        (slow loris) holds its place no longer.
    head
        Bytes of the request line and headers together. Browsers send less than 8 KiB.
    head_seconds
        For the headers to arrive, and the time that an idle connection is kept.
    connections
        Open at once: at 32 MiB a body and with few whole bodies at any moment a small machine
        lives through it, and a process may have 1,024 files open by default on Linux.

    Examples
    --------
    >>> Limits().rows, Limits(rows=10).rows
    (100000, 10)
    """

    body: int = 32 * 2**20
    rows: int = 100_000
    seconds: float = 30.0
    head: int = 16 * 2**10
    head_seconds: float = 10.0
    connections: int = 900

    def __post_init__(self) -> None:
        for name in ("body", "rows", "seconds", "head", "head_seconds", "connections"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise OptionError(
                    f"the limit of {name.replace('_', ' ')} is {value}",
                    "a number above 0",
                    "Leave it out for the default.",
                )


@final
@dataclass(frozen=True, slots=True)
class Rate:
    """How often a client may ask.

    Parameters
    ----------
    a_second
        Requests a second in the long run.
    burst
        Requests at once after a pause.
    """

    a_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.a_second) and self.a_second > 0 and self.burst >= 1):
            raise OptionError(
                f"the rate is {self.a_second} requests a second, {self.burst} at once",
                "numbers above 0",
                "Write it as 100/s, 600/m or 1000/h.",
            )


def read_rate(text: str) -> Rate:
    """Read a rate as people write it.

    Parameters
    ----------
    text
        Requests and a unit of time; as many may come at once, of the long units a tenth.

    Raises
    ------
    OptionError
        Where it is none.

    Examples
    --------
    >>> read_rate("100/s")
    Rate(a_second=100.0, burst=100)
    >>> read_rate("600/m")
    Rate(a_second=10.0, burst=60)
    """
    found = _WRITTEN.fullmatch(text)
    if found is None or not int(found[1]):
        raise OptionError(f"the rate is {text!r}", "such as 100/s, 600/m or 1000/h", "")
    number, unit = int(found[1]), found[2]
    return Rate(number / _UNITS[unit], number if unit == "s" else max(1, number // 10))


@final
class RateLimit:
    """A token bucket for each client, of one number each.

    It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, 1993): what
    is kept is when a client's bucket will be full again, so that a bucket that is full needs no
    memory and many clients need no timer.

    Parameters
    ----------
    rate
        The same for all clients.
    clients
        How many are remembered at most. Beyond it those are forgotten that will be full first:
        they lose least by it.
    clock
        Gives seconds, never back.

    Examples
    --------
    >>> now = [0.0]
    >>> limit = RateLimit(Rate(a_second=2.0, burst=2), clock=lambda: now[0])
    >>> [limit.take("mobile") for _ in range(4)]
    [0.0, 0.0, 0.5, 0.5]
    >>> now[0] = 0.5
    >>> limit.take("mobile")
    0.0
    """

    def __init__(
        self, rate: Rate, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self._clients = clients
        self._clock = clock
        self._interval = 1.0 / rate.a_second
        self._tolerance = rate.burst * self._interval
        self._full: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full)

    def take(self, who: str) -> float:
        """Take a token out of a client's bucket.

        Parameters
        ----------
        who
            A key's name, or `client` of an address.

        Returns
        -------
        float
            0.0 where the request may go on; else seconds until one may.
        """
        now = self._clock()
        full = max(self._full.get(who, now), now) + self._interval
        early = full - now - self._tolerance
        # Sums of times in seconds are inexact in the last digits: nobody waits a nanosecond.
        if early > 1e-9:
            return early
        self._full[who] = full
        if len(self._full) > self._clients:
            self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget buckets that are full, and if these are few those that will be first."""
        kept = {who: full for who, full in self._full.items() if full > now}
        most = self._clients * 9 // 10
        if len(kept) > most:
            latest = sorted(kept.items(), key=lambda one: one[1])
            kept = dict(latest[len(kept) - most :])
        self._full = kept


def client(address: str) -> str:
    """Name the client behind an address: one that has IPv6 has 2**64 addresses.

    Examples
    --------
    >>> client("192.0.2.1"), client("2001:db8::1"), client("::ffff:192.0.2.1"), client("")
    ('192.0.2.1', '2001:db8::/64', '192.0.2.1', 'unknown')
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))


def retry_after(seconds: float) -> str:
    """Write a ``Retry-After`` header: whole seconds, rounded up, at least one.

    Examples
    --------
    >>> retry_after(0.02), retry_after(1.2)
    ('1', '2')
    """
    return str(max(1, math.ceil(seconds)))
