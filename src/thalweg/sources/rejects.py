"""Rows that were set aside, written down: nothing vanishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import final

from thalweg.core.files import atomic_file, clear_of_disk
from thalweg.sources.base import Reject


def write_rejects(rejects: Iterable[Reject], path: Path) -> int:
    """Write rejects as newline-delimited JSON; without any, no file.

    Parameters
    ----------
    rejects
        What was set aside.
    path
        The file to make or replace: ``origin``, ``line``, ``reason``, ``content`` a line.

    Returns
    -------
    int
        How many there were.
    """
    left = iter(rejects)
    first = next(left, None)
    if first is None:
        return 0
    count = 0
    with atomic_file(path) as building, building.open("w", encoding="utf-8") as file:
        # One at a time: there may be more than memory holds.
        for count, reject in enumerate(chain([first], left), 1):  # noqa: B007 - told at the end
            file.write(_line(reject))
    return count


@contextmanager
def reject_writer(path: Path) -> Iterator[Callable[[Iterable[Reject]], None]]:
    """Write rejects as they come, so that memory does not grow with them; `RejectsFile` reads them.

    Raises
    ------
    SourceError
        Where the disk is full.
    """
    with path.open("w", encoding="utf-8") as file:

        def write(rejects: Iterable[Reject]) -> None:
            with clear_of_disk(path):
                for reject in rejects:
                    file.write(_line(reject))

        yield write
        with clear_of_disk(path):
            file.flush()


@final
class RejectsFile(Collection[Reject]):
    """The rejects in a file, read anew each time they are looked at.

    Parameters
    ----------
    path
        What `reject_writer` or `write_rejects` wrote. It is opened here and now, so that it can
        be read even if its folder is removed meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def __del__(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Reject]:
        place = 0
        while True:
            self._file.seek(place)  # another reader may have moved it
            line = self._file.readline()
            if not line:
                return
            place += len(line)
            yield Reject(**json.loads(line))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, given: object) -> bool:
        return any(one == given for one in self)


def _line(reject: Reject) -> str:
    return json.dumps(asdict(reject), ensure_ascii=False) + "\n"
