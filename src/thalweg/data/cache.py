"""What was made of a source once and need not be made again: summaries and encoded rows, on disk.

An entry is a folder that is there whole or not at all, under a key that says what it was made of.
What a killed run leaves is removed by the next one; what was not used for longest goes first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from thalweg.core.errors import SourceError
from thalweg.core.files import Draft, atomic_folder, clear_of_disk

MOST_BYTES: Final = 64 << 30
"""What the entries may take together, the newest one apart."""

CONTENTS: Final = "contents.json"
LOCK: Final = "lock"
_PIECE: Final = 1 << 20
_CHECKED_BY_BLOCK: Final = ".rows"


def default_folder() -> Path:
    """Say where entries are kept: ``$THALWEG_CACHE``, else a folder in the user's cache folder."""
    if own := os.environ.get("THALWEG_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "thalweg"


def key_of(*facts: Any) -> str:
    """Give a key to what an entry is made of: JSON-able facts.

    Examples
    --------
    >>> key_of("rows", 1) == key_of("rows", 1) != key_of("rows", 2)
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@final
class Cache:
    """A folder of entries, which several processes may use at a time.

    Parameters
    ----------
    folder
        Where they lie; made when it is needed.
    most_bytes
        What they may take together. The newest is kept however large it is.

    Examples
    --------
    >>> cache = Cache(Path("cache"))
    >>> with cache.building("a1") as folder:
    ...     _ = (folder / "note.txt").write_text("made once")
    >>> (cache.find("a1") / "note.txt").read_text()
    'made once'
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def find(self, key: str) -> Path | None:
        """Find an entry that is whole; one that is damaged counts as none."""
        folder = self.folder / key
        try:
            contents = json.loads((folder / CONTENTS).read_text())
            for name, (size, check) in contents.items():
                path = folder / name
                if path.stat().st_size != size or (check is not None and _check(path) != check):
                    return None
            os.utime(folder / CONTENTS)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return folder

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """Make an entry; it can be found once the block is left without an exception.

        Yields
        ------
        pathlib.Path
            An empty folder to fill.

        Raises
        ------
        SourceError
            Where the disk is full or the folder cannot be written; nothing half-written stays.
        """
        with self._working(), atomic_folder(self.folder / key) as folder:
            yield folder
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            contents = {
                str(path.relative_to(folder)): (
                    path.stat().st_size,
                    None if path.suffix == _CHECKED_BY_BLOCK else _check(path),
                )
                for path in files
            }
            (folder / CONTENTS).write_text(json.dumps(contents))
        self._make_room(key)

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Lend a folder for the time of the work."""
        with self._working():
            draft = Draft(self.folder / name, folder=True)
            try:
                with clear_of_disk(draft.path):
                    yield draft.path
            finally:
                draft.abort()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Hold the lock that says that somebody works here; first clear up after the dead."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SourceError(
                f"the cache {self.folder} cannot be used ({error.strerror})",
                "a folder that may be written to",
                "Name another with --cache or in THALWEG_CACHE.",
            ) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # somebody works here: what is unfinished may be theirs
            else:
                for left in self.folder.glob(".*.partial"):
                    shutil.rmtree(left, ignore_errors=True)
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)

    def _make_room(self, newest: str) -> None:
        """Remove the entries that were not used for longest."""
        entries = []
        for marker in self.folder.glob(f"*/{CONTENTS}"):
            if marker.parent.name == newest:
                continue
            files = [path.stat() for path in marker.parent.rglob("*")]
            entries.append((marker.stat().st_mtime, sum(f.st_size for f in files), marker.parent))
        total = 0
        for _, size, folder in sorted(entries, reverse=True):
            total += size
            if total > self._most_bytes:
                shutil.rmtree(folder, ignore_errors=True)


def _check(path: Path) -> int:
    """Give a file's checksum."""
    check = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            check = zlib.crc32(piece, check)
    return check
