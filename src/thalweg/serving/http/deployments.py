"""The models that are served, each under a name: versions of it come, take over and go.

::

    deployments = Deployments(["adult=models/adult"], load, log=log, metrics=metrics)
    await deployments.open()                 # all are loaded, or the first mistake is raised
    watching = asyncio.create_task(deployments.watch())
    served = deployments["adult"].choose()   # once a request: a version, held until it is answered

A model's folder is looked at once a second. A new model there is loaded beside the one that
answers, asked once, and takes its place by one assignment: requests under way end on the version
that they began with, and no request is ever without one. What is broken, half copied or foretells
something else is told of once and changes nothing.

Orders (promote, rollback, traffic) hold for this process: a server that starts again serves what
the folders hold. To make a promotion last, put the model into the folder that is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

from thalweg.core.errors import OptionError, near
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.deployment import Deployment, Served
from thalweg.serving.http.folder import WatchedFolder
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics

__all__ = ["Deployment", "Deployments", "Load", "Served"]

Load = Callable[[Path], CompiledModel]
"""Loads a compiled model; `OptionError` where the folder's model is not compiled."""

EVERY: Final = 1.0
"""Seconds between two looks at a folder."""


@final
class Deployments:
    """All that a server serves.

    Parameters
    ----------
    words
        ``NAME=FOLDER``, or a folder, whose own name is taken.
    load
        Loads a compiled model. It runs in a thread.
    compile_folder
        Compiles the model in a folder, in a process of its own, so that this one never loads
        torch; None where that is not wanted. It runs in a thread.
    candidates
        ``NAME=FOLDER`` for a second version; the name may be left out where one model is served.
    percent, shadow
        What candidates get to answer at first; see `Deployment`.
    log, metrics
        Told of everything.

    Raises
    ------
    OptionError
        Where a name is given twice or to nothing, or a share cannot be.
    """

    def __init__(
        self,
        words: Sequence[str],
        load: Load,
        *,
        log: Log,
        metrics: Metrics,
        compile_folder: Callable[[Path], object] | None = None,
        candidates: Sequence[str] = (),
        percent: float = 0.0,
        shadow: bool = False,
    ) -> None:
        places = _places(words, "MODEL")
        if not places:
            raise OptionError("no model is named", "at least one", "thalweg serve MODEL")
        only = next(iter(places)) if len(places) == 1 else None
        following = _places(candidates, "--candidate", only)
        for name in following.keys() - places.keys():
            raise OptionError(
                f"--candidate names {name!r}, which is not served",
                "the name of a model that is",
                near(name, places),
            )
        self._log = log
        self._deployments = {
            name: Deployment(
                name,
                WatchedFolder(folder, load, compile_folder),
                WatchedFolder(following[name], load, compile_folder) if name in following else None,
                percent=percent,
                shadow=shadow,
                log=log,
                metrics=metrics,
            )
            for name, folder in places.items()
        }
        self.ready = False

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._deployments.values())

    def __len__(self) -> int:
        return len(self._deployments)

    def __getitem__(self, name: str) -> Deployment:
        """Give a deployment by its name.

        Raises
        ------
        OptionError
            Where there is none.
        """
        found = self._deployments.get(name)
        if found is None:
            raise OptionError(
                f"no model {name[:80]!r} is served", "one that is", near(name[:80], self.names)
            )
        return found

    @property
    def names(self) -> list[str]:
        """The names, in the order given."""
        return list(self._deployments)

    @property
    def first(self) -> Deployment:
        """The one that is meant where none is named."""
        return next(iter(self._deployments.values()))

    async def open(self) -> None:
        """Load all models, one after the other.

        Raises
        ------
        ThalwegError
            Where one cannot be served.
        """
        for one in self:
            await one.open()
        self.ready = True

    async def watch(self, every: float = EVERY) -> None:
        """Look at all folders for ever; cancel it to end it.

        Parameters
        ----------
        every
            Seconds between two looks.
        """
        looking: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                await asyncio.sleep(every)
                # A model that takes minutes to compile keeps no other one waiting.
                for one in self:
                    task = looking.get(one.name)
                    if task is None or task.done():
                        if task is not None and task.exception() is not None:
                            self._log.fault("watching", _error(task), model=one.name)
                        looking[one.name] = asyncio.create_task(one.look())
        finally:
            for task in looking.values():
                task.cancel()

    def state(self) -> dict[str, Any]:
        """Say how all stand, as plain data."""
        return {"models": [one.state() for one in self]}

    def close(self) -> None:
        """Let go of everything."""
        self.ready = False
        for one in self:
            one.close()


def _error(task: asyncio.Task[None]) -> BaseException:
    error = task.exception()
    if error is None:
        raise AssertionError
    return error


def _places(words: Sequence[str], what: str, only: str | None = None) -> dict[str, Path]:
    """Take words apart into names and folders."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        # A folder's own name may hold an equals sign, as those of partitions do.
        if not equals or "/" in name or Path(word).is_dir():
            place, name = word, only or Path(word).absolute().name
        if not name or not place or not _is_name(name):
            raise OptionError(
                f"{what} is {word!r}",
                "NAME=FOLDER or a folder, with a name of letters, digits, '.', '_' and '-'",
                "Write adult=models/adult.",
            )
        if name in found:
            raise OptionError(
                f"{what} names {name!r} twice",
                "each name once",
                "Write NAME=FOLDER for one of them.",
            )
        found[name] = Path(place)
    return found


def _is_name(name: str) -> bool:
    """Say whether a name can stand in a path of the server's."""
    plain = name.replace("_", "").replace("-", "").replace(".", "")
    return len(name) <= 100 and plain.isascii() and plain.isalnum()
