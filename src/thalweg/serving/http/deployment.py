"""One served name and the versions behind it: who answers now, who did before, who may follow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from thalweg.core.errors import ArtifactError, OptionError, ThalwegError, near
from thalweg.models.compiled import CompiledModel, Run
from thalweg.serving.http.folder import WatchedFolder
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics, Outcome, Role
from thalweg.serving.http.question import Question
from thalweg.serving.http.shadow import Shadow

__all__ = ["Deployment", "Served"]

# Shares of traffic are counted in millionths, so that sums are exact.
_WHOLE: Final = 1_000_000


@final
@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Served:
    """One version of a served model. It never changes.

    Parameters
    ----------
    name
        What it is served as.
    model
        The model.
    version
        Its identity.
    """

    name: str
    model: CompiledModel
    version: str


@final
class Deployment:
    """One name and the versions behind it. It belongs to the server's event loop.

    Parameters
    ----------
    name
        What it is served as.
    folder, candidate
        Where its model lies, and that of the version that may follow it.
    percent
        Which share of the requests every new candidate answers at first.
    shadow
        Whether every new candidate answers in the shadow at first.

    Attributes
    ----------
    current
        Who answers.
    previous
        Who did before: for a rollback.
    candidate
        Who may follow.
    """

    def __init__(
        self,
        name: str,
        folder: WatchedFolder,
        candidate: WatchedFolder | None,
        *,
        percent: float,
        shadow: bool,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.current: Served | None = None
        self.previous: Served | None = None
        self.candidate: Served | None = None
        self._folder = folder
        self._candidate_folder = candidate
        self._first = _millionths(percent), shadow
        self._share = 0
        self._carry = 0
        self._shadowed = False
        self._given = ""  # the version that the folder gave last
        self._rolled_back = ""
        self._log = log
        self._metrics = metrics
        self._shadow = Shadow(metrics, log)
        self._looking = asyncio.Lock()

    @property
    def percent(self) -> float:
        """Which share of the requests the candidate answers."""
        return self._share * 100 / _WHOLE

    @property
    def shadowed(self) -> bool:
        """Whether the candidate answers in the shadow."""
        return self._shadowed

    def choose(self, version: str | None = None) -> Served:
        """Say who answers a request.

        Of any 100 requests without a version a candidate with a share of 10% gets exactly 10,
        evenly spread: what is left of a share is carried on to the next request (as in error
        diffusion, Floyd and Steinberg 1976), and nothing is drawn by lot.

        Parameters
        ----------
        version
            The version that the request insists on.

        Raises
        ------
        OptionError
            Where that version is not loaded.
        """
        if version is None and not self._share:
            return self._now
        if version is not None:
            return self.find(version)
        self._carry += self._share
        if self._carry < _WHOLE:
            return self._now
        self._carry -= _WHOLE
        return self.candidate or self._now

    @property
    def _now(self) -> Served:
        if self.current is None:
            raise AssertionError
        return self.current

    @property
    def version(self) -> str:
        """The version that answers; empty before there is one."""
        return "" if self.current is None else self.current.version

    def versions(self) -> list[Served]:
        """Give all that are loaded, the current one first."""
        return [one for one in (self.current, self.candidate, self.previous) if one is not None]

    def find(self, version: str) -> Served:
        """Give a version that is loaded.

        Raises
        ------
        OptionError
            Where it is not.
        """
        for one in self.versions():
            if one.version == version:
                return one
        there = [one.version for one in self.versions()]
        raise OptionError(
            f"{self.name} has no version {version[:40]!r} loaded", "one that is", near("", there)
        )

    def shadow(
        self,
        served: Served,
        question: Question,
        run: Run,
        read: Callable[[CompiledModel], Question],
        size: int = 0,
    ) -> bool:
        """Let the candidate answer a request too, if that is wanted; call it after the answer.

        Parameters
        ----------
        served
            Who answered.
        question, run
            What was asked and answered.
        read
            Reads the request for the candidate, whose columns and levels may be others. It runs in
            another thread, later, and keeps the request's body alive until then.
        size
            Bytes of that body.

        Returns
        -------
        bool
            Whether it will: False too where it is too busy.
        """
        candidate = self.candidate
        if not self._shadowed or candidate is None or served is candidate:
            return False
        return self._shadow.ask(
            (self.name, candidate.version),
            (served.model, candidate.model),
            (question, run),
            read,
            lambda: self.candidate is candidate,
            size,
        )

    def promote(self, version: str | None = None) -> Served:
        """Let the candidate take over, or go forward again after a rollback.

        Parameters
        ----------
        version
            Which: the candidate, by default, or the previous one.

        Raises
        ------
        OptionError
            Where there is none.
        """
        if version is None and self.candidate is None:
            raise OptionError(
                f"{self.name} has no candidate", "one to promote", "Serve one with --candidate."
            )
        after = self.candidate if version is None else self.find(version)
        if after is None:
            raise AssertionError
        if after is not self.current:
            self._put(after, "promoted")
            self._rolled_back = ""
        return after

    def rollback(self, version: str | None = None) -> Served:
        """Go back to the version before, at once.

        Where a candidate answers a share of the requests, that is what is taken back, and the
        version that answers the others answers all. What was sent back is not taken up again from
        a folder. A second rollback is refused, so that two people who see the same trouble do not
        undo each other's order.

        Parameters
        ----------
        version
            Which version to go back to; where it answers already, nothing happens.

        Raises
        ------
        OptionError
            Where nothing was served before, or the version is not the one before.
        """
        now, before = self._now, self.previous
        if version is not None and version == now.version:
            return now
        if version is None and self._share and self.candidate is not None:
            self._share, self._carry, self._rolled_back = 0, 0, self.candidate.version
            self._log.info(
                "rolled back", model=self.name, version=now.version, before=self._rolled_back
            )
            self._metrics.rollback(self.name)
            return now
        if before is None or (version is None and self._rolled_back):
            why = (
                f"was rolled back already, from {self._rolled_back} to {now.version}"
                if self._rolled_back
                else "has served no other version"
            )
            raise OptionError(
                f"{self.name} {why}",
                "a version to go back to",
                "The order promote takes any version that is loaded.",
            )
        if version is not None and version != before.version:
            raise OptionError(
                f"{self.name} cannot go back to {version[:40]!r}",
                f"the version before, {before.version}",
                "Leave it out for that one.",
            )
        self._put(before, "rolled back")
        self._rolled_back = now.version
        self._metrics.rollback(self.name)
        return before

    def traffic(
        self,
        percent: float | None = None,
        shadow: bool | None = None,  # noqa: FBT001 (an order's field)
        version: str | None = None,
    ) -> None:
        """Steer what the candidate gets to answer.

        Parameters
        ----------
        percent
            Its share of the requests, 0 to 100; as it is by default.
        shadow
            Whether it answers in the shadow; as it is by default.
        version
            Which candidate is meant: another may have come meanwhile.

        Raises
        ------
        OptionError
            Where there is no such candidate, or no such share.
        """
        candidate = self.candidate
        if candidate is None:
            raise OptionError(
                f"{self.name} has no candidate", "one to steer", "Serve one with --candidate."
            )
        if version is not None and version != candidate.version:
            raise OptionError(
                f"version {version[:40]!r} is not the candidate of {self.name}",
                candidate.version,
                "Look at it first: another one may have come.",
            )
        self._share = self._share if percent is None else _millionths(percent)
        if self._share and self._rolled_back == candidate.version:
            self._rolled_back = ""
        self._shadowed = self._shadowed if shadow is None else shadow
        self._log.info(
            "traffic", model=self.name, version=candidate.version, percent=self.percent,
            shadow=self._shadowed,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Say how it stands, as plain data."""
        roles = (
            ("current", self.current),
            ("candidate", self.candidate),
            ("previous", self.previous),
        )
        return {
            "name": self.name,
            "version": None if self.current is None else self.current.version,
            "versions": [
                {"version": one.version, "role": role, "precision": one.model.precision}
                for role, one in roles
                if one is not None
            ],
            "traffic": {"percent": self.percent, "shadow": self._shadowed},
        }

    async def open(self) -> None:
        """Load the model and its candidate.

        Raises
        ------
        ThalwegError
            Where one cannot be served.
        """
        opened = await asyncio.to_thread(self._folder.open)
        self._put(self._served(opened), "serving")
        self._given = opened.identity
        if self._candidate_folder is not None:
            opened = await asyncio.to_thread(self._candidate_folder.open)
            self._require_same_target(opened)
            if opened.identity == self._now.version:
                raise OptionError(
                    f"the candidate in {self._candidate_folder.path} is the version that answers",
                    "another one",
                    "Train it into a folder of its own.",
                )
            self._take_candidate(self._served(opened))

    async def look(self) -> None:
        """Look at the folders, and take over what is new there."""
        if self._looking.locked():
            return
        async with self._looking:
            if (opened := await self._new(self._folder)) is not None:
                self._take(self._served(opened))
            if self._candidate_folder is None:
                return
            if (opened := await self._new(self._candidate_folder)) is not None:
                self._take_candidate(self._served(opened))

    async def _new(self, folder: WatchedFolder) -> CompiledModel | None:
        """Give a folder's new model, if there is one that can be served."""
        try:
            opened = await asyncio.to_thread(folder.look)
            if opened is not None:
                self._require_same_target(opened)
        except ThalwegError as error:
            foreign = isinstance(error, _ForeignTargetError)
            outcome: Outcome = "refused" if foreign else "broken"
            self._log.error(f"model {outcome}", model=self.name, reason=str(error))
            self._metrics.swap(self.name, outcome)
            return None
        except Exception as error:  # whatever a broken model makes of the libraries beneath
            self._log.fault("model broken", error, model=self.name, folder=str(folder.path))
            self._metrics.swap(self.name, "broken")
            return None
        return opened

    def _take(self, served: Served) -> None:
        """Let a new model of the folder take over, unless it is known and unwanted."""
        if served.version == self._now.version:
            self._log.info("model unchanged", model=self.name, version=served.version)
        elif served.version == self._rolled_back:
            self._log.warning("model stays rolled back", model=self.name, version=served.version)
        elif served.version == self._given:
            # The folder holds what it held, written anew: an order to serve another one stands.
            self._log.info("model unchanged", model=self.name, version=served.version)
        else:
            self._put(served, "swapped")
            self._given, self._rolled_back = served.version, ""
            self._metrics.swap(self.name, "swapped")

    def _take_candidate(self, served: Served) -> None:
        """Let a new model be the candidate, with the share that every one begins with."""
        if served.version in {self._now.version, self._rolled_back}:
            self._log.warning("no candidate", model=self.name, version=served.version)
            return
        before, self.candidate = self.candidate, served
        self._share, self._shadowed = self._first
        self._roles(before)
        self._log.info(
            "candidate", model=self.name, version=served.version, percent=self.percent,
            shadow=self._shadowed,
        )  # fmt: skip

    def _put(self, after: Served, event: str) -> None:
        """Let a version answer from now on; the one that did is the previous one."""
        before, dropped = self.current, self.previous
        if after is self.candidate:
            self.candidate, self._share, self._shadowed, self._carry = None, 0, False, 0
        self.current, self.previous = after, before
        self._roles(dropped)
        told = {} if before is None else {"before": before.version}
        self._log.info(event, model=self.name, version=after.version, **told)

    def _roles(self, dropped: Served | None) -> None:
        """Tell the metrics who is who, and who has gone."""
        roles: tuple[Role, ...] = ("previous", "candidate", "current")
        versions = (self.previous, self.candidate, self.current)
        if dropped is not None and all(
            one is None or one.version != dropped.version for one in versions
        ):
            self._metrics.gone(self.name, dropped.version)
        for role, one in zip(roles, versions, strict=True):
            if one is not None:
                self._metrics.loaded(self.name, one.version, role, one.model.columns)

    def _served(self, model: CompiledModel) -> Served:
        return Served(self.name, model, model.identity)

    def _require_same_target(self, model: CompiledModel) -> None:
        wanted, found = _target(self._now.model), _target(model)
        if wanted != found:
            raise _ForeignTargetError(
                f"the new model of {self.name} predicts {found}",
                f"{wanted}, as the one that answers",
                "Serve it under another name.",
            )

    def close(self) -> None:
        """Let go of everything."""
        self._shadow.close()


@final
class _ForeignTargetError(ArtifactError):
    """A new model that foretells something else."""


def _millionths(percent: float) -> int:
    if not (math.isfinite(percent) and 0 <= percent <= 100):
        raise OptionError(f"the share is {percent} percent", "0 to 100", "")
    return round(percent * _WHOLE / 100)


def _target(model: CompiledModel) -> str:
    """Say what a model foretells: the column, and whether a number or classes."""
    target, task = model.schema.target, model.decoder.task
    if target is None:
        return "how odd rows are"
    # A class more or less is a model of the same thing.
    classes = "classes" if task in {"binary", "multiclass"} else task
    return f"{target.name} ({classes})"
