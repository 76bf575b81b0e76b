"""Which process works on which lane: locks that the system lets go of when their holder dies."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Self, final

from thalweg.core.files import atomic_file, clear_of_disk


@final
class Lock:
    """A file that one process at a time holds locked. Gone with the process, however it ends.

    Parameters
    ----------
    path
        The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Lock it, unless another process has; say whether it is ours now."""
        if self._handle is not None:
            return True
        with clear_of_disk(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def leave(self) -> None:
        """Let others have it."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()


def next_fence(folder: Path) -> int:
    """Give a number larger than all before, for whoever has just locked a lane's folder."""
    path = folder / "fence"
    before = int(path.read_text()) if path.exists() else 0
    with atomic_file(path) as building:
        building.write_text(str(before + 1))
    return before + 1


@final
class Members:
    """The processes that share the lanes of a pipeline, each with a locked file while it lives.

    Parameters
    ----------
    folder
        Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = Lock(self._own)
        self._lock.take()

    def place(self) -> tuple[int, int]:
        """Say which in the order of all living members this one is, and how many there are."""
        if not self._own.exists():  # another saw it before it was locked, and took it for dead
            self._lock.leave()
            self._lock.take()
        living = [self._own]
        for path in sorted(self._folder.iterdir()):
            if path == self._own:
                continue
            with Lock(path) as lock:
                if lock.take():  # its process is dead
                    with suppress(OSError):
                        path.unlink()
                else:
                    living.append(path)
        living.sort()
        return living.index(self._own), len(living)

    def leave(self) -> None:
        """Be a member no longer."""
        with suppress(OSError):
            self._own.unlink()
        self._lock.leave()
