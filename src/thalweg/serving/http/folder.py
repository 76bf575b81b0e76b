"""A model's folder that is looked at again and again: a new model there is loaded and tried."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import final

import pyarrow as pa

from thalweg.core.errors import ArtifactError, OptionError, ThalwegError
from thalweg.models.artifact import SEAL
from thalweg.models.compiled import CompiledModel

__all__ = ["WatchedFolder"]

_FULL = (errno.EMFILE, errno.ENFILE)
"""No file can be opened now: of those in the folder that says nothing."""

_Listing = tuple[tuple[str, int, int, int], ...]


@final
class WatchedFolder:
    """One folder. Its methods block, and are called from one thread at a time.

    A model is known by its seal, the hash of its description, which holds the hashes of all else;
    that is all that is read while nothing changes. Where files change under the same seal, they are
    read again, to tell of damage. What could not be loaded is tried again once its
    files have changed and then stayed as they are for one look: it was being copied.

    Parameters
    ----------
    path
        The folder, or a symbolic link to one.
    load
        Loads a compiled model; `OptionError` where it is not compiled.
    compile_folder
        Compiles the model in a folder; None where that is not wanted.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], CompiledModel],
        compile_folder: Callable[[Path], object] | None = None,
    ) -> None:
        self.path = path
        self._load = load
        self._compile = compile_folder
        self._done: str | None = None
        self._failed: str | None = None
        self._tried: _Listing = ()
        self._last: _Listing = ()
        self._whole: _Listing = ()

    def open(self) -> CompiledModel:
        """Load the model, compile it first where it is not, and ask it once.

        Raises
        ------
        ThalwegError
            Where it cannot be served.
        """
        seal = self._seal()
        try:
            model = self._load(self.path)
        except OptionError:
            if self._compile is None:
                raise
            self._compile(self.path)
            seal = self._seal()
            model = self._load(self.path)
        _warm(model, self.path)
        self._done, self._whole = seal, _listing(self.path)
        self._failed = None
        return model

    def look(self) -> CompiledModel | None:
        """Give the folder's model if it is a new one.

        Raises
        ------
        ThalwegError
            Where it cannot be served; once for each model, not with each look.
        """
        seal = self._seal()
        if seal == self._done:
            self._failed = None
            self._require_whole()
            return None
        again = seal == self._failed
        if again and not self._copied():
            return None
        self._failed = seal
        self._tried = self._last = _listing(self.path)
        try:
            return self.open()
        except Exception:
            if again:
                return None
            raise

    def _require_whole(self) -> None:
        """Read the model again where its files have changed though it says that it has not.

        Nobody would know of the damage before the server starts again.
        """
        now = _listing(self.path)
        steady, self._last = now == self._last, now
        if steady and now != self._whole:
            self._whole = now
            self._load(self.path)

    def _copied(self) -> bool:
        """Say whether what could not be loaded has changed since, and then stayed as it is."""
        now = _listing(self.path)
        steady, self._last = now == self._last, now
        return steady and now != self._tried

    def _seal(self) -> str:
        """Read the seal; empty where there is none."""
        seal = self.path / SEAL
        try:
            # What is no plain file might never end.
            return seal.read_text("ascii", "replace")[:100] if seal.is_file() else ""
        except OSError as error:
            if error.errno in _FULL:
                return self._done or ""
            return ""


def _listing(path: Path) -> _Listing:
    """Give what tells a changed file from an unchanged one."""
    try:
        files = [(one.name, one.stat()) for one in path.iterdir()]
    except OSError:
        return ()
    return tuple(
        sorted((name, found.st_size, found.st_mtime_ns, found.st_ino) for name, found in files)
    )


def _warm(model: CompiledModel, path: Path) -> None:
    """Ask a model once: the first answer takes longest, and a model that cannot is no model.

    Raises
    ------
    ArtifactError
        Where it gives no answer.
    """
    row = pa.table({name: pa.nulls(1) for name in model.columns})
    try:
        model.predict(row)
    except ThalwegError as error:
        raise ArtifactError(
            f"the model in {path} gives no answer to a row of missing cells: {error}",
            "a model that does",
            "Compile it again, or train it again.",
        ) from error
