"""Files and folders that are there whole or not at all.

What is written gets another name first, in the same folder; it is flushed to the disk and then
takes its own name in one step. A reader, or a run that is killed at any moment, sees the old
content or the new, never half of one.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from thalweg.core.errors import FullDiskError, SourceError

__all__ = ["Draft", "atomic_file", "atomic_folder", "clear_of_disk"]

# EFBIG: the process or the file system allows no larger file, which is the same to a user.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TRIES: Final = 3
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@final
class Draft:
    """A file or folder under another name, until it is committed.

    For writers that live longer than a ``with`` statement; otherwise use `atomic_file` and
    `atomic_folder`.

    Parameters
    ----------
    target
        The name that it shall have. A symbolic link is followed, and stays.
    folder
        Whether it is a folder, which is then made; a file is made by whoever writes it.

    Attributes
    ----------
    target
        The final name.
    path
        The name until then: hidden, in the same folder. A folder that a killed run has left so is
        removed by the next draft of the same target.

    Raises
    ------
    SourceError
        Where the target's folder is not there or cannot be written, or where the target is a
        folder and should be a file, or the other way round.
    """

    def __init__(self, target: str | os.PathLike[str], *, folder: bool = False) -> None:
        self.target = Path(os.path.realpath(target))
        self.path = self._name(secrets.token_hex(4))
        self._lock: int | None = None
        parent = self.target.parent
        if not parent.is_dir():
            raise SourceError(
                f"{target} cannot be written: there is no folder {parent}",
                "a folder that exists",
                "Make it first, or write elsewhere.",
            )
        if self.target.exists() and self.target.is_dir() != folder:
            wrong, right = ("file", "folder") if folder else ("folder", "file")
            raise SourceError(
                f"{target} is a {wrong}", f"a {right}, or nothing yet", "Choose another name."
            )
        if not os.access(parent, os.W_OK | os.X_OK):
            raise _refusal(self.target, os.strerror(errno.EACCES))
        if folder:
            with clear_of_disk(self.target):
                self._make()

    def _name(self, mark: str) -> Path:
        """Name a draft of the target."""
        # A name may have 255 bytes, four for a character at worst.
        return self.target.with_name(f".{self.target.name[:50]}.{mark}.partial")

    def _make(self) -> None:
        """Make the folder and hold it, and remove those that a killed run has left behind."""
        own = re.compile(re.escape(self._name("@").name).replace("@", "[0-9a-f]{8}"))
        for one in self.target.parent.iterdir():
            if own.fullmatch(one.name) and one.is_dir() and (lock := _held(one)) is not None:
                _remove(one)
                os.close(lock)
        self.path.mkdir()
        for _ in range(_TRIES):
            self._lock = _held(self.path)
            if self._lock is not None:
                return
            # Another run may have taken it for left behind, before it was held.
            _remove(self.path)
            self.path = self._name(secrets.token_hex(4))
            self.path.mkdir()

    def _let_go(self) -> None:
        _remove(self.path)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def commit(self) -> None:
        """Flush everything to the disk and give it its name; what had the name is removed.

        Raises
        ------
        SourceError
            Where the disk is full or refuses. What was there before is there still.
        OSError
            Where the disk fails otherwise. Likewise.
        """
        with clear_of_disk(self.target):
            _flush_all(self.path)
            _swap(self.path, self.target)
            try:
                _flush(self.target.parent)
            except OSError:
                _swap(self.target, self.path)
                raise
        # The swap has left here whatever had the name.
        self._let_go()

    def abort(self) -> None:
        """Remove the draft. What was there before is there still."""
        self._let_go()


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all.

    Parameters
    ----------
    target
        The file; one that is there is replaced at the end.

    Yields
    ------
    pathlib.Path
        Where to write it meanwhile.

    Raises
    ------
    SourceError
        Where the disk is full or the place cannot be written. Nothing half-written stays, nor
        does it after any other exception.

    Examples
    --------
    >>> with atomic_file("plan.json") as building:
    ...     _ = building.write_text("{}")
    >>> Path("plan.json").read_text()
    '{}'
    """
    with _kept(Draft(target)) as building:
        yield building


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder whole or not at all.

    Parameters
    ----------
    target
        The folder; one that is there is replaced at the end, in one step where the system can
        (Linux; elsewhere the name is free for a moment). Folders above it are made.

    Yields
    ------
    pathlib.Path
        An empty folder to write into meanwhile.

    Raises
    ------
    SourceError
        Where the disk is full or the place cannot be written. Nothing half-written stays, nor
        does it after any other exception.

    Examples
    --------
    >>> with atomic_folder("model") as building:
    ...     _ = (building / "model.json").write_text("{}")
    >>> [path.name for path in Path("model").iterdir()]
    ['model.json']
    """
    with clear_of_disk(target):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    with _kept(Draft(target, folder=True)) as building:
        yield building


@contextmanager
def clear_of_disk(target: str | os.PathLike[str]) -> Iterator[None]:
    """Say in one line that the disk is full or refuses, naming what was being written.

    Raises
    ------
    FullDiskError
        In place of an `OSError` that means a full disk or a used-up quota.
    SourceError
        In place of one that means a refusal.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise FullDiskError(
                f"{target} cannot be written ({os.strerror(error.errno)})",
                "room for it",
                "Free some space or write elsewhere; nothing half-written was left.",
            ) from error
        if error.errno in _REFUSED:
            raise _refusal(target, os.strerror(error.errno)) from error
        raise


@contextmanager
def _kept(draft: Draft) -> Iterator[Path]:
    """Commit at the end, abort on any exception."""
    try:
        with clear_of_disk(draft.target):
            yield draft.path
        draft.commit()
    except BaseException:
        draft.abort()
        raise


def _refusal(target: str | os.PathLike[str], words: str) -> SourceError:
    """Say that a place cannot be written."""
    return SourceError(
        f"{target} cannot be written ({words})",
        "a place that you may write to",
        "Write elsewhere, or change the folder's permissions.",
    )


def _flush_all(path: Path) -> None:
    """Flush a file, or a folder with everything in it."""
    if path.is_dir():
        for folder, _, names in path.walk() if hasattr(path, "walk") else os.walk(path):
            for name in names:
                _flush(Path(folder, name))
            _flush(Path(folder))
    else:
        _flush(path)


def _flush(path: Path) -> None:
    """Flush one file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(path: Path, target: Path) -> None:
    """Give a file or folder another's name, which then has the first one's name, if it exists."""
    if not target.exists():
        path.rename(target)
    elif not path.exists():
        target.rename(path)
    elif _exchange(path, target):
        return
    elif path.is_file():
        path.replace(target)
    else:
        aside = path.with_suffix(".aside")
        target.rename(aside)
        try:
            path.rename(target)
        except OSError:
            aside.rename(target)
            raise
        aside.rename(path)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step (``renameat2`` of Linux); False where that is not possible."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _held(folder: Path) -> int | None:
    """Hold a folder as long as this process lives and the handle is open; None where another does.

    Where the file system knows no such locks, nobody can hold anything: nothing is removed then.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove(path: Path) -> None:
    """Remove a file or folder, if it is there; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return
