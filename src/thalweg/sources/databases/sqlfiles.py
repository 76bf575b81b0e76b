"""What databases that are files share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from thalweg.core.errors import SourceError, near


def require_file(path: Path, shown: str) -> None:
    """Check that a database's file is there.

    Raises
    ------
    SourceError
        With near names.
    """
    if not path.is_file():
        names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SourceError(
            f"{shown} does not exist: there is no file {path}",
            "a database's file",
            near(path.name, names) if names else f"The folder {path.parent} does not exist.",
        )


def require_folder(path: Path, shown: str) -> None:
    """Check that a database's file can be made.

    Raises
    ------
    SourceError
        Where there is no folder for it.
    """
    if not path.parent.is_dir():
        raise SourceError(
            f"{shown} cannot be written: there is no folder {path.parent}",
            "a folder that exists",
            "Make it first, or write elsewhere.",
        )


def file_state(path: Path, endings: Sequence[str]) -> str:
    """Give sizes and times of change of a database's files."""
    found = []
    for ending in endings:
        with suppress(OSError):
            facts = path.with_name(path.name + ending).stat()
            # An empty log comes and goes with every reader.
            found += [f"{ending} {facts.st_size} {facts.st_mtime_ns}"] if facts.st_size else []
    return "\n".join([path.name, *found])
