"""Where a server listens: a port, who may reach it, and what it proves itself with."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, final

from thalweg.core.errors import OptionError


@final
@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server proves itself with.

    Parameters
    ----------
    chain, key
        PEM files: the certificate with those that vouch for it, and its private key.
    """

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Read them.

        Raises
        ------
        OptionError
            Where they cannot be read or do not belong together.
        """
        for file in (self.chain, self.key):
            if not file.is_file():
                raise OptionError(f"there is no file {file}", "PEM files", "Look at the paths.")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without this a key with a passphrase would ask for it at the terminal.
            context.load_cert_chain(self.chain, self.key, password="")
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise OptionError(
                f"the certificate {self.chain} with the key {self.key} cannot be used ({why})",
                "PEM files that belong together, the key without a passphrase",
                "Look at them with openssl x509 and openssl pkey.",
            ) from None
        return context


def require_safe(host: str, *, keys: bool, tls: bool, exposed: bool = False) -> None:
    """Refuse to serve others than this machine without keys and TLS, unless told so.

    Without keys anybody may ask; without TLS anybody between may read rows and keys.

    Parameters
    ----------
    host
        The address or name to listen at.
    keys, tls
        What there is.
    exposed
        Whether it is wanted all the same, as behind a proxy that sees to it.

    Raises
    ------
    OptionError
        Where it is not safe.

    Examples
    --------
    >>> require_safe("127.0.0.1", keys=False, tls=False)
    >>> require_safe("0.0.0.0", keys=True, tls=False)
    Traceback (most recent call last):
    thalweg.core.errors.OptionError: the host '0.0.0.0' is open to other machines, without TLS; \
expected keys and TLS, or a host of this machine alone. Give --certificate and --private-key, or \
say --exposed if a proxy in front sees to it.
    """
    if exposed or (keys and tls) or is_loopback(host):
        return
    lacking = [name for name, there in (("keys", keys), ("TLS", tls)) if not there]
    options = [*(["--keys"] if not keys else []), *(_TLS_OPTIONS if not tls else [])]
    raise OptionError(
        f"the host {host!r} is open to other machines, without {' and '.join(lacking)}",
        "keys and TLS, or a host of this machine alone",
        f"Give {' and '.join(options)}, or say --exposed if a proxy in front sees to it.",
    )


_TLS_OPTIONS: Final = ("--certificate", "--private-key")


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address or name.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "0.0.0.0", "", "192.0.2.7")]
    [True, True, False, False, False]
    """
    if not host:
        return False
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)


@lru_cache(64)
def is_own(host: bytes) -> bool:
    """Say whether a Host header names this machine, or an address.

    A page of another site may lead its own name here (DNS rebinding), but can say no other. What
    is no host at all (RFC 9110, 7.2) names nobody.

    Examples
    --------
    >>> [is_own(host) for host in (b"localhost:8080", b"127.0.0.1", b"[::1]:80", b"evil.example")]
    [True, True, True, False]
    """
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    if found is None:
        return False
    six, name = found.groups()
    if name is not None and (name == "localhost" or name.endswith(".localhost")):
        return True
    try:
        _ = ipaddress.IPv4Address(name) if six is None else ipaddress.IPv6Address(six)
    except ValueError:
        return False
    return True


_HOST: Final = re.compile(r"(?:\[([^][]+)\]|([^][:@/]+))(?::[0-9]*)?")


def listen(host: str, port: int) -> socket.socket:
    """Open a port.

    Parameters
    ----------
    host
        An address or a name.
    port
        0 for any that is free.

    Raises
    ------
    OptionError
        Where it is in use, or not ours to open.
    """
    if not 0 <= port <= 65_535:
        raise OptionError(f"the port is {port}", "0 to 65535", "Leave it out for the default.")
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise OptionError(
            f"the host {host!r} is unknown", "an address of this machine", "Such as 127.0.0.1."
        ) from None
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections still fade away is free; one that is listened at is not.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(2048)
    except OSError as error:
        opened.close()
        what, expected = _LISTEN.get(error.errno or 0, (f"cannot be opened ({error.strerror})", ""))
        raise OptionError(
            f"port {port} of {host!r} {what}",
            expected or "one that can",
            "Choose another with --port; 0 takes any that is free.",
        ) from None
    opened.settimeout(0)
    return opened


_LISTEN: Final = {
    errno.EADDRINUSE: ("is in use", "one that is free"),
    errno.EACCES: ("may not be opened by this user", "one above 1023"),
    errno.EADDRNOTAVAIL: ("is no port of this machine", "an address of this machine"),
}
