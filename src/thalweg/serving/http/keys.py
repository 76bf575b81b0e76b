"""Bearer keys: who may ask, and who may change what is asked. Only their hashes are kept.

A key is ``tw_`` and 32 random bytes in base64url, shown once, when it is made. The file holds its
SHA-256, once and without salt: slow, salted hashes (scrypt, Argon2) make up for passwords that
people can remember and others can guess; 256 random bits cannot be guessed, so that trying out
hashes is as hopeless with SHA-256, and a request need not wait for a tenth of a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self, final

from thalweg.core.errors import OptionError, SourceError, ThalwegError, near
from thalweg.core.files import atomic_file
from thalweg.serving.http.log import Log

__all__ = ["Change", "Key", "Keys", "Scope", "Who", "change_keys"]

Scope = Literal["predict", "admin"]

_PREFIX: Final = "tw_"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST: Final = 2**20
_SCHEME: Final = b"bearer "


@final
@dataclass(frozen=True, slots=True)
class Who:
    """Whom a key belongs to.

    Parameters
    ----------
    name
        The key's name.
    scope
        ``predict``, or ``admin``, who may also roll back and steer traffic.
    """

    name: str
    scope: Scope

    @property
    def admin(self) -> bool:
        """Whether more than asking is allowed."""
        return self.scope == "admin"


@final
@dataclass(frozen=True, slots=True)
class Key:
    """One key, as the file knows it.

    Parameters
    ----------
    name
        Unique in the file.
    sha256
        The key's hash.
    scope
        See `Who`.
    created, expires
        When, in UTC; ``expires`` is None for never.
    """

    name: str
    sha256: str = field(repr=False)
    scope: Scope
    created: datetime
    expires: datetime | None = None


@final
@dataclass(frozen=True, slots=True)
class Change:
    """What became of a file of keys.

    Parameters
    ----------
    keys
        All that are there now.
    key
        The new key itself, to be shown once; empty where none was made.
    """

    keys: tuple[Key, ...]
    key: str = field(default="", repr=False)


@final
class Keys:
    """The keys of a server, read again when their file changes.

    Parameters
    ----------
    path
        The file.
    log
        Told when the file was read again, or cannot be.
    clock
        Gives seconds since 1970.

    Raises
    ------
    SourceError
        Where there is no such file, it is no file of keys, or others than its owner may write it.
    """

    def __init__(
        self, path: Path, log: Log | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._log = log
        self._clock = clock
        self._seen = _signature(path)
        self._refused = ""  # why it was not read again, as told last
        self._looked = clock()
        self._keys = _read(path)

    @classmethod
    def load(cls, path: Path, log: Log | None = None) -> Self:
        """Read a file of keys; see the class."""
        return cls(path, log)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"Keys({str(self.path)!r}, {len(self)} of them)"

    def check(self, header: bytes | str | None) -> Who | None:
        """Say whose key a request bears.

        Whatever the header holds, one hash is computed and compared with that of every key, so
        that the time tells nothing about how close a guess was.

        Parameters
        ----------
        header
            The value of ``Authorization``, None where there is none.

        Returns
        -------
        Who or None
            None where there is no such key, or it has expired.
        """
        now = self._clock()
        if not 0 <= now - self._looked < 1:
            self.refresh()
        digest = hashlib.sha256(_token(header)).hexdigest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        if found is None or (found.expires is not None and found.expires.timestamp() <= now):
            return None
        return Who(found.name, found.scope)

    def refresh(self) -> bool:
        """Read the file again if it has changed, and say whether it was.

        A file that is gone or damaged is told of once; the keys that were known stay, so that a
        slip locks nobody out. To take a key back, remove it from the file.
        """
        self._looked = self._clock()
        signature = _signature(self.path)
        if signature == self._seen:
            return False
        try:
            self._keys = _read(self.path)
        except ThalwegError as error:
            # It is tried again: what was wrong may be mended without a change of the content.
            if self._log is not None and self._refused != str(error):
                self._log.error("keys not read again, the known ones stay", reason=str(error))
            self._refused = str(error)
            return False
        self._seen, self._refused = signature, ""
        if self._log is not None:
            self._log.info("keys read again", keys=len(self._keys))
        return True


def change_keys(
    path: Path,
    *,
    add: str | None = None,
    remove: str | None = None,
    admin: bool = False,
    days: float | None = None,
    clock: Callable[[], float] = time.time,
) -> Change:
    """Add a key to a file of keys, remove one, or only list them.

    Parameters
    ----------
    path
        The file; made with the first key, for its owner alone.
    add, remove
        The name of a key: letters, digits, ``.``, ``_``, ``@`` and ``-``.
    admin
        Whether the new key may also roll back and steer traffic.
    days
        After how many days the new key is worth nothing; by default it never is.
    clock
        Gives seconds since 1970.

    Returns
    -------
    Change
        The keys that are there now, and the new one.

    Raises
    ------
    OptionError
        Where a name or a number of days cannot be, a name is taken, or there is none to remove.
    SourceError
        Where the file is no file of keys, or cannot be written.

    Examples
    --------
    >>> made = change_keys(Path("keys.json"), add="mobile")
    >>> made.key[:3], len(made.key), made.keys[0].scope
    ('tw_', 46, 'predict')
    >>> Keys(Path("keys.json")).check(f"Bearer {made.key}")
    Who(name='mobile', scope='predict')
    """
    if add is None and (admin or days is not None):
        raise OptionError(
            "--admin or --days is given without --add",
            "them beside a key that is made",
            "Name it with --add; a key that is there cannot be changed.",
        )
    if add is None and remove is None:
        return Change(_read(path))
    with _locked(path):
        keys = list(_read(path)) if remove is not None or path.exists() else []
        if remove is not None:
            names = [key.name for key in keys]
            if remove not in names:
                raise OptionError(
                    f"{path} has no key {remove!r}", "one it has", near(remove, names)
                )
            del keys[names.index(remove)]
        secret = ""
        if add is not None:
            _require_name(path, add, keys)
            secret = _PREFIX + secrets.token_urlsafe(32)
            now = datetime.fromtimestamp(int(clock()), UTC)
            hashed = hashlib.sha256(secret.encode()).hexdigest()
            scope: Scope = "admin" if admin else "predict"
            keys.append(Key(add, hashed, scope, now, _end(now, days)))
        _write(path, keys)
    return Change(tuple(keys), secret)


def _require_name(path: Path, name: str, keys: list[Key]) -> None:
    if not _NAME.fullmatch(name):
        # A key that was pasted in the wrong place must not end up in a terminal's log.
        shown = "what was given" if _PREFIX in name else repr(name[:80])
        raise OptionError(
            f"{shown} is no name of a key", "letters, digits, '.', '_', '@' and '-', up to 64"
        )
    if name.startswith(_PREFIX):
        raise OptionError("a name begins with tw_, as keys do", "another name")
    if any(name == key.name for key in keys):
        raise OptionError(
            f"{path} has a key {name!r} already",
            "a name that is free",
            f"Remove it first with --remove {name}, or add another.",
        )


def _end(now: datetime, days: float | None) -> datetime | None:
    if days is None:
        return None
    if not (math.isfinite(days) and 0 < days <= 36_525):
        raise OptionError(
            f"--days is {days:g}", "a number above 0, up to a century", "Leave it out for ever."
        )
    return now + timedelta(seconds=math.ceil(days * 86_400))


def _token(header: bytes | str | None) -> bytes:
    """Give what follows ``Bearer``; what has another form is a token that no key has."""
    if header is None:
        return b""
    given = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    return given[len(_SCHEME) :].strip() if given[: len(_SCHEME)].lower() == _SCHEME else b""


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> tuple[Key, ...]:
    """Read and check a file of keys."""
    again = "Make one: thalweg keys FILE --add NAME."
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror})", "a file of keys", again
        ) from None
    if mode & 0o022:
        raise SourceError(
            f"{path} can be written by others than its owner",
            "a file of keys that only its owner can write",
            f"Run: chmod 600 {path}",
        )
    try:
        found = json.loads(content) if len(content) <= _LONGEST else None
        keys = tuple(_key(one) for one in found["keys"])  # type: ignore[index]  # checked by except
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        # The file's own words are left out: somebody may have put a key itself there.
        raise SourceError(f"{path} is no file of keys", "one as thalweg writes it", again) from None
    if len({key.name for key in keys}) < len(keys):
        raise SourceError(f"{path} has two keys of one name", "each name once", again)
    return keys


def _key(plain: dict[str, Any]) -> Key:
    name, sha256, scope = plain["name"], plain["sha256"], plain["scope"]
    if not (_NAME.fullmatch(name) and _HASH.fullmatch(sha256) and scope in {"predict", "admin"}):
        raise ValueError
    expires = plain.get("expires")
    return Key(
        name,
        sha256,
        scope,
        _moment(plain["created"]),
        None if expires is None else _moment(expires),
    )


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


def _write(path: Path, keys: list[Key]) -> None:
    """Write the file for its owner alone, whole or not at all."""
    plain = {
        "keys": [
            {
                "name": key.name,
                "sha256": key.sha256,
                "scope": key.scope,
                "created": key.created.isoformat(),
                **({} if key.expires is None else {"expires": key.expires.isoformat()}),
            }
            for key in keys
        ]
    }
    with atomic_file(path) as building:
        handle = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(plain, file, indent=2)
            file.write("\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Change a file while no other process changes one in its folder."""
    try:
        handle = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # The writer says better what is wrong with the folder.
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
