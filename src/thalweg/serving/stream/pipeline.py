"""A stream pipeline: what is read, what is done, where it goes; and the folder that remembers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, final
from urllib.parse import quote

from thalweg.core.errors import OptionError
from thalweg.serving.stream.lessons import Lessons
from thalweg.serving.stream.work import ALERTS, DEAD, LABELS, LATE, Clockwork
from thalweg.sources.streams import open_outlet, open_stream
from thalweg.sources.streams.base import Outlet, Stream, Writer
from thalweg.sources.streams.joined import Joined
from thalweg.stats.windows.spec import WindowSpec

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
    from thalweg.models.model import Model

STATES: Final = "thalweg-state"
"""The folder, where one is run, that the states of pipelines lie in by default."""


@final
@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is read, what is done, where it goes.

    Parameters
    ----------
    source
        The stream's URI: see `thalweg.sources.streams.open_stream`.
    outlets
        What comes out (``rows``, ``windows``, ``late``, ``dead``) -> the URI that it goes to.
        Late rows and dead letters go to logs in the state's folder by default.
    model
        Predicts, as it is or compiled; None for windows alone.
    windows
        Which windows; None for none.
    clockwork
        How event time is told.
    state
        The folder that remembers; by default one of `STATES`, named by source and outlets.
    lanes
        How many lanes the partitions are shared out to; by default as many as partitions where
        there are no windows, and else one, so that no window is parted.
    latency
        The seconds that a record may wait for others of its batch.
    every
        Seconds between two checkpoints.
    once
        Stop when nothing is left, and close all windows.
    latest
        Begin behind what is there now, the first time.
    keep
        Whether a row's own columns come before its prediction.
    lessons
        What is learned; None: nothing is.
    follows
        Of a model of what rows are like: whether what counts as odd follows the stream.
    """

    source: str
    outlets: Mapping[str, str]
    model: Model | CompiledModel | None = None
    windows: WindowSpec | None = None
    clockwork: Clockwork = field(default_factory=Clockwork)
    state: Path | None = None
    lanes: int | None = None
    latency: float = 1.0
    every: float = 10.0
    once: bool = False
    latest: bool = False
    keep: bool = True
    lessons: Lessons | None = None
    follows: bool = False

    @property
    def predicts(self) -> bool:
        """Whether events are predicted."""
        return self.model is not None or self.lessons is not None

    @property
    def trained(self) -> Model | None:
        """The model itself; None where what it was compiled to predicts."""
        from thalweg.models.compiled import CompiledModel

        return None if isinstance(self.model, CompiledModel) else self.model

    @property
    def watched(self) -> bool:
        """Whether drift is watched for."""
        return self.lessons is not None or ALERTS in self.outlets

    @property
    def folder(self) -> Path:
        """The folder that remembers."""
        if self.state is not None:
            return self.state
        said = json.dumps([self.source, sorted(self.outlets.items())])
        return Path(STATES, hashlib.sha256(said.encode()).hexdigest()[:12])

    @property
    def goals(self) -> dict[str, str]:
        """Everything that comes out and where it goes."""
        aside = [DEAD] if self.windows is None else [DEAD, LATE]
        if self.watched:
            aside.append(ALERTS)
        logs = {name: f"log://{quote(str(self.folder / name))}" for name in aside}
        return {**dict(self.outlets), **{k: v for k, v in logs.items() if k not in self.outlets}}

    def open(self) -> Stream:
        """Open the stream, together with that of labels, if there is one."""
        events = open_stream(self.source, self.folder)
        if self.lessons is None or self.lessons.labels is None:
            return events
        try:
            return Joined(events, open_stream(self.lessons.labels, self.folder), LABELS)
        except BaseException:
            events.close()
            raise

    def share(self, partitions: Sequence[str]) -> int:
        """Say how many lanes partitions are shared out to.

        Raises
        ------
        OptionError
            Where there cannot be as many as are wished.
        """
        wanted = self.lanes
        if self.lessons is not None and (wanted or 1) > 1:
            raise OptionError(
                f"{wanted} lanes of a stream that is learned from",
                "one: all events and labels must come to one learner",
                "Leave out --lanes, or --learn.",
            )
        if wanted is None:
            alone = self.windows is None and not self.watched
            return len(partitions) if alone else 1
        if not 1 <= wanted <= len(partitions):
            raise OptionError(
                f"{wanted} lanes for {len(partitions)} partitions",
                f"from 1 to {len(partitions)}",
                "A lane needs a partition: make more of them, or use fewer lanes.",
            )
        return wanted

    def open_outlets(self, name: str, number: int, folder: Path, source: str) -> dict[str, Outlet]:
        """Open where things go: each output of a lane is a writer of its own."""
        return {
            output: open_outlet(uri, Writer(name, f"{number}-{output}", source), folder)
            for output, uri in self.goals.items()
        }
