"""The versions of a model that learns on: a folder of whole, unchanging ones, and which is served.

::

    versions/
    ├── 0001/
    │   ├── version.json    its number, when and why it was made, its evidence and its parent
    │   └── ...             the model, each file with its hash in version.json
    ├── 0002/
    └── order.json          the last order of a person: which one to serve, and why

A version is served from the moment at which it is added until the next one is, or until a person
orders another. Every one is there whole or not at all, and so is the order. It has a count, so that
a stream that runs sees that another one was given.
"""

from __future__ import annotations

import builtins
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.files import atomic_file, atomic_folder, clear_of_disk

RECORD: Final = "version.json"
ORDER: Final = "order.json"
LOCK: Final = "lock"

VERSIONS: Final = "versions"
"""The folder's name in the folder of a stream's state."""

KEPT: Final = 10
"""How many of the last ones are kept beside the one that is served and the one before it."""

_FORMAT: Final = 1


@final
@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Parameters
    ----------
    number
        From 1.
    made
        When, in microseconds since 1970 as it was told; nothing here looks at a clock.
    because
        Why, in words.
    evidence
        What speaks for it, in figures.
    parent
        The version that it came from.
    damage
        What is wrong with its files; empty for nothing.
    """

    number: int
    made: int = 0
    because: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    parent: int | None = None
    damage: str = ""


@final
@dataclass(frozen=True, slots=True)
class Rolled:
    """What a rollback came to.

    Parameters
    ----------
    version
        The version that is to be served.
    order
        The how manieth order of a person stands.
    versions
        All versions that are there.
    """

    version: int
    order: int
    versions: tuple[Version, ...]


@final
@dataclass(frozen=True, slots=True)
class _Order:
    """A person's last order.

    Parameters
    ----------
    count
        The how manieth it is; 0 where none was ever given.
    version
        What to serve.
    newest
        The newest version at that moment: one that is newer is served since.
    before
        What was served before it, the last one last.
    """

    count: int = 0
    version: int = 0
    newest: int = 0
    before: tuple[int, ...] = ()


@final
class Versions:
    """A folder of versions.

    Parameters
    ----------
    folder
        Made with the first version.
    kept
        How many of the last ones are kept beside the one that is served and the one before it.

    Examples
    --------
    >>> versions = Versions(Path("versions"))
    >>> for number in (1, 2):
    ...     _ = versions.add(number, lambda folder: (folder / "weights").write_bytes(b""), "better")
    >>> versions.current, versions.order
    (2, (0, 0))
    >>> versions.rollback()
    1
    >>> versions.current, versions.order
    (1, (1, 1))
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self.kept = kept

    def add(
        self,
        number: int,
        write: Callable[[Path], object],
        because: str,
        evidence: Mapping[str, Any] | None = None,
        made: int = 0,
        parent: int | None = None,
    ) -> Version:
        """Add a version, whole or not at all; it is served from now on.

        Adding it again, when work is done again after a crash, is no mistake: with equal files
        nothing happens. With others it takes its place, but only as the newest one.

        Parameters
        ----------
        number
            From 1.
        write
            Writes its files into an empty folder.
        because, evidence, made
            See `Version`.
        parent
            See `Version`; by default what was served before it.

        Raises
        ------
        ArtifactError
            Where it is there with other files, and newer ones are: what is old never changes.
        SourceError
            Where the disk is full or refuses.
        """
        with self._locked():
            self._sweep()
            there = self._files(number)
            others = [one for one in self._served() if one != number]
            try:
                with atomic_folder(self._place(number)) as building:
                    write(building)
                    files = {
                        path.relative_to(building).as_posix(): _hash(path)
                        for path in sorted(building.rglob("*"))
                        if path.is_file()
                    }
                    if there is not None:
                        self._require_replaceable(number, same=there == files)
                    record = {
                        "format": _FORMAT,
                        "number": number,
                        "made": made,
                        "because": because,
                        "evidence": dict(evidence or {}),
                        "parent": parent or (others[-1] if others else None),
                        "files": files,
                    }
                    (building / RECORD).write_text(_sealed(record), encoding="utf-8")
            except _Same:
                pass
            self._prune()
        return self.get(number)

    def _require_replaceable(self, number: int, *, same: bool) -> None:
        if same:
            raise _Same
        if max(self._numbers()) > number:
            raise ArtifactError(
                f"version {number} is there with other files, and newer ones are",
                "a number that is free",
                f"Go on with the state that belongs to {self.folder}, or with a new folder.",
            )

    @property
    def order(self) -> tuple[int, int]:
        """The how manieth order a person gave last, and which version it names; 0 for none.

        Raises
        ------
        ArtifactError
            Where it is damaged.
        """
        found = self._order()
        return found.count, found.version

    @property
    def current(self) -> int | None:
        """The version that is served, or is to be as soon as a stream sees the order."""
        served = self._served()
        return served[-1] if served else None

    def list(self) -> list[Version]:
        """Give all versions by number; one whose record is damaged says so."""
        numbers = sorted(self._numbers())
        return [self._version(number) for number in numbers]

    def get(self, number: int) -> Version:
        """Give one version.

        Raises
        ------
        OptionError
            Where there is none of that number.
        """
        self._require(number)
        return self._version(number)

    def load_folder(self, number: int) -> Path:
        """Give a version's folder after checking every file in it.

        Raises
        ------
        OptionError
            Where there is none of that number.
        ArtifactError
            Where a file is missing or damaged.
        """
        self._require(number)
        place = self._place(number)
        for name, digest in self._record(number)["files"].items():
            path = place / name
            if not path.is_file() or _hash(path) != digest:
                raise _damaged(path, "its hash differs" if path.is_file() else "it is missing")
        return place

    def promote(self, number: int, because: str = "ordered") -> None:
        """Order that a version be served, whichever it is; see `rollback`."""
        self.rollback(number, because)

    def rollback(self, to: int | None = None, because: str = "ordered") -> int:
        """Order that an earlier version be served.

        Parameters
        ----------
        to
            The version; by default the one that was served before the current one.
        because
            Why, in words.

        Returns
        -------
        int
            The version that is to be served.

        Raises
        ------
        OptionError
            Where there is no such version, or nothing was served before.
        ArtifactError
            Where it is damaged.
        """
        with self._locked():
            served = self._served()
            if to is None:
                if len(served) < 2:
                    raise OptionError(
                        f"{self.folder} has no version that was served before",
                        "an earlier version to go back to",
                        self._near(),
                    )
                to = served[-2]
            self.load_folder(to)
            if served[-1] == to:
                return to
            before = served[: served.index(to)] if to in served else served
            plain = {
                "count": self._order().count + 1,
                "version": to,
                "newest": max(self._numbers()),
                "because": because,
                "before": before,
            }
            with atomic_file(self.folder / ORDER) as building:
                building.write_text(_sealed(plain), encoding="utf-8")
            self._prune()
        return to

    def _order(self) -> _Order:
        path = self.folder / ORDER
        try:
            found = _unsealed(path.read_bytes())
            before = tuple(int(one) for one in found["before"])
            return _Order(int(found["count"]), int(found["version"]), int(found["newest"]), before)
        except FileNotFoundError:
            return _Order()
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, str(error)) from None

    def _served(self) -> builtins.list[int]:
        """Give the versions that were served, without what was gone back from; the last one is."""
        order, there = self._order(), self._numbers()
        since = sorted(one for one in there if one > order.newest)
        before = [*order.before, *([order.version] if order.count else [])]
        return [*(one for one in before if one in there), *since]

    def _prune(self) -> None:
        """Remove all but the last versions, the one that is served and the one before it."""
        needed = self._served()[-2:]
        for number in sorted(self._numbers())[: -self.kept]:
            if number not in needed:
                place = self._place(number)
                gone = place.with_name(f".{place.name}.removed")
                place.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a process that was killed left half-written or half-removed."""
        for path in self.folder.glob(".*"):
            if path.name.endswith((".partial", ".removed", ".aside")):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Change the folder while no other process does."""
        with clear_of_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def _numbers(self) -> set[int]:
        if not self.folder.is_dir():
            return set()
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return {int(name) for name in names if name.isdecimal()}

    def _require(self, number: int) -> None:
        if number not in self._numbers():
            raise OptionError(
                f"{self.folder} has no version {number}", "one that is there", self._near()
            )

    def _near(self) -> str:
        there = ", ".join(map(str, sorted(self._numbers())))
        return f"There are: {there}." if there else "There is none yet."

    def _record(self, number: int) -> dict[str, Any]:
        path = self._place(number) / RECORD
        try:
            found = _unsealed(path.read_bytes())
            files = found["files"]
            if found["format"] != _FORMAT or found["number"] != number:
                raise _damaged(path, "it is of another format or number")
            if any(name.startswith("/") or ".." in Path(name).parts for name in files):
                raise _damaged(path, "it names files elsewhere")
        except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise _damaged(path, str(error) or type(error).__name__) from None
        return found

    def _files(self, number: int) -> dict[str, str] | None:
        """Give the hashes of a version's files as they are; None where it is not there whole."""
        try:
            self.load_folder(number)
            found: dict[str, str] = self._record(number)["files"]
        except (ArtifactError, OptionError):
            return None
        return found

    def _version(self, number: int) -> Version:
        try:
            found = self._record(number)
            self.load_folder(number)
        except ArtifactError as error:
            return Version(number, damage=error.given)
        return Version(number, found["made"], found["because"], found["evidence"], found["parent"])


def rollback(state: Path, version: int | None = None) -> Rolled:
    """Order that a stream serve an earlier version.

    Parameters
    ----------
    state
        The folder of its state.
    version
        See `Versions.rollback`.

    Raises
    ------
    OptionError
        Where the folder holds no versions, or no such one.
    ArtifactError
        Where that version is damaged.
    """
    folder = state / VERSIONS
    if not folder.is_dir():
        raise OptionError(
            f"{state} holds no versions",
            "the folder of the state of a stream that learns",
            "Start one with: thalweg stream MODEL --learn --state FOLDER ...",
        )
    versions = Versions(folder)
    served = versions.rollback(version)
    return Rolled(served, versions.order[0], tuple(versions.list()))


class _Same(Exception):  # noqa: N818 (no error: it leaves a draft that is not needed)
    """The version is there already, with equal files."""


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sealed(plain: Mapping[str, Any]) -> str:
    """Give plain data as JSON with its own hash."""
    body = json.dumps(plain, sort_keys=True, allow_nan=False)
    return json.dumps({**plain, "seal": hashlib.sha256(body.encode()).hexdigest()}, indent=1)


def _unsealed(content: bytes) -> dict[str, Any]:
    """Read what `_sealed` gave.

    Raises
    ------
    ValueError
        Where it is damaged.
    """
    found = json.loads(content)
    if not isinstance(found, dict):
        message = "it is no record"
        raise ValueError(message)
    seal = found.pop("seal", None)
    body = json.dumps(found, sort_keys=True, allow_nan=False)
    if seal != hashlib.sha256(body.encode()).hexdigest():
        message = "its hash differs"
        raise ValueError(message)
    return found


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged ({why})",
        "a version as it was written",
        "Serve another one: thalweg rollback STATE --to VERSION.",
    )
