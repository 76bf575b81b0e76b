"""Fit the number of epochs to the time given, before training, and write the plan down.

The learning rate's schedule needs to know its end. So the time is spent by planning, not by
cutting: a few steps are timed on a copy of the network, and the epochs that fit become the plan.
Where hardly one pass over the rows fits, an epoch becomes a share of a pass.
A run that is resumed keeps its plan, so it ends with the same weights as one that was not killed.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

import torch

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.files import atomic_file
from thalweg.models.recipe import Recipe
from thalweg.training.loop import Loop

_SAFETY: Final = 1.15
"""Steps in a warm cache are quicker than in a long run on a shared machine."""


FEW_PASSES: Final = 4
"""Fewer passes than this are parted into as many epochs, so that some judge the others."""


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """How quick a loop is.

    Parameters
    ----------
    step
        Seconds for a step.
    judging
        Seconds for judging an epoch.
    """

    step: float
    judging: float


def pace_of(loop: Loop) -> Pace:
    """Time a few steps and judging, on a copy of the network.

    The loop itself and the global random numbers are left as they are.
    """
    trial = Loop(
        copy.deepcopy(loop.network),
        loop.recipe,
        loop.loader,
        loop.judged,
        loop.judge,
        loop.seed,
        bfloat16=loop.bfloat16,
    )
    with contextlib.closing(loop.loader.epoch(0)) as epoch:
        batches = list(islice(epoch, 12))
    with torch.random.fork_rng(devices=[]):
        trial.network.train()
        trial.step(batches[0])
        began = time.perf_counter()
        done = 0
        while time.perf_counter() - began < 0.5 and done < 50:
            trial.step(batches[done % len(batches)])
            done += 1
        stepped = time.perf_counter()
        with trial.predicting():
            trial.judge(trial.outputs())
        judged = time.perf_counter()
    return Pace((stepped - began) / done, judged - stepped)


def fitting(recipe: Recipe, steps: int, pace: Pace, seconds: float) -> Recipe:
    """Lower a recipe's epochs, and where need be their share of the rows, to what ends in time.

    Parameters
    ----------
    recipe
        Its epochs are the most that are worth while.
    steps
        Steps in an epoch of the recipe.
    pace
        How quick it is.
    seconds
        The time given.

    Examples
    --------
    >>> fitting(Recipe(epochs=40), steps=100, pace=Pace(0.01, 0.0), seconds=23).epochs
    20
    >>> slow = fitting(Recipe(epochs=8), steps=10_000, pace=Pace(0.05, 5.0), seconds=300)
    >>> slow.epochs, round(slow.share, 3)
    (4, 0.12)
    """
    time_left = seconds / _SAFETY
    epochs = time_left / max(1e-9, steps * pace.step + pace.judging)
    if epochs >= min(FEW_PASSES, recipe.epochs):
        return recipe.turned({"epochs": min(recipe.epochs, int(epochs))})
    few = min(FEW_PASSES, recipe.epochs)
    share = (time_left / few - pace.judging) / max(1e-9, steps * pace.step)
    least = recipe.share / steps
    share = max(least, min(1.0, share) * recipe.share)
    # As many steps to warm up; and parts of a pass are no epochs after which nothing new comes.
    warmup = min(0.2, recipe.warmup * recipe.epochs * recipe.share / (few * share))
    return recipe.turned(
        {
            "epochs": few,
            "share": share,
            "warmup": max(recipe.warmup, warmup),
            "patience": max(few, recipe.patience),
        }
    )


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What a run set out to do.

    Parameters
    ----------
    settings
        The arguments of the run, as written down.
    fingerprint
        Of the source: a plan is only good for the rows that it was made for.
    recipe
        The dials, with the epochs that fit.
    """

    settings: Mapping[str, Any]
    fingerprint: str
    recipe: Recipe

    def save(self, path: Path) -> None:
        """Write the plan."""
        facts = {
            "settings": dict(self.settings),
            "fingerprint": self.fingerprint,
            "recipe": self.recipe.model_dump(mode="json"),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as building:
            building.write_text(json.dumps({**facts, "seal": _seal(facts)}, indent=1))

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan.

        Raises
        ------
        ArtifactError
            Where it is damaged.
        """
        try:
            facts = json.loads(path.read_text())
            if facts.pop("seal") == _seal(facts):
                recipe = Recipe.model_validate(facts["recipe"])
                return cls(facts["settings"], facts["fingerprint"], recipe)
            why = "its hash differs"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error).splitlines()[0]
        raise ArtifactError(
            f"the plan {path} cannot be read ({why})",
            "a run that was interrupted",
            "Start again without --resume.",
        )

    def check(self, settings: Mapping[str, Any], fingerprint: str) -> None:
        """Refuse to go on with other settings or other rows.

        Raises
        ------
        OptionError
            Naming the first setting that differs.
        """
        for name, value in settings.items():
            before = self.settings.get(name)
            if before != value:
                raise OptionError(
                    f"--resume with {name} = {value!r}",
                    f"{name} = {before!r}, as the run was begun",
                    "Use the same options, or start again without --resume.",
                )
        if fingerprint != self.fingerprint:
            raise OptionError(
                "--resume with a source that has changed",
                "the rows that the run was begun with",
                "Start again without --resume.",
            )


def _seal(facts: Mapping[str, Any]) -> str:
    """Hash a plan, so that a flipped byte is an error, never another outcome."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
