"""Baselines: rivals that learn from the same rows and are judged on the same test rows.

They see what the network sees, each in the form that suits it, with settings that somebody who
wanted them to win would choose.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.core.progress import Progress, Silent
from thalweg.core.seeds import derive
from thalweg.kinds.base import Design, Task
from thalweg.lab.rivals import (
    Boosting,
    CatBoost,
    Constant,
    Forest,
    Linear,
    Rival,
    Setting,
    by_label,
    teaches,
)
from thalweg.lab.words import Words

__all__ = ["BASELINES", "BaselineResult", "check_names", "fit_baselines"]

Floats = NDArray[np.float64]


BASELINES: Final[Mapping[str, Rival]] = MappingProxyType(
    {
        "constant": Constant(),
        "linear": Linear(),
        "forest": Forest(),
        "boosting": Boosting(),
        "catboost": CatBoost(),
    }
)
"""The rivals by name."""


@final
@dataclass(frozen=True, slots=True)
class BaselineResult:
    """What a rival answered.

    Parameters
    ----------
    prediction
        float64: numbers [N] in the target's own units, or probabilities [N, classes or labels].
    seconds
        What fitting and predicting took, with what was made of texts beforehand.
    rows
        On how many rows it was fitted.
    """

    prediction: Floats
    seconds: float
    rows: int


def fit_baselines(
    train: Design,
    target: NDArray[Any],
    test: Design,
    task: Task,
    classes: int = 0,
    *,
    seed: int = 0,
    threads: int = 2,
    names: Sequence[str] | None = None,
    held: NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> dict[str, BaselineResult]:
    """Train rivals and let them predict the test rows.

    Parameters
    ----------
    train
        What they learn from, [N].
    target
        Numbers [N] in the target's own units, class codes [N], or labels [N, labels].
    test
        What they predict.
    task
        What is predicted.
    classes
        How many classes or labels there are; of no account for regression.
    seed
        Draws forests and held-out parts.
    threads
        How many processor threads they may use. Default 2.
    names
        Some of ``constant``, ``linear``, ``forest``, ``boosting`` and ``catboost``; by default
        all that are installed.
    held
        Bool [N]: the training rows by which settings are chosen and fitting is stopped, where
        they must not be any: whole groups, or the latest. By default a tenth, at random.
    progress
        Told of every rival.

    Returns
    -------
    dict
        Name -> result, in the order asked for. Where rows teach nothing (one class, constant
        columns) every rival answers the constant. A rival is left out that could not do so many
        labels in bearable time.

    Raises
    ------
    OptionError
        Where a name is not known, or ``catboost`` is not installed.
    """
    # It comes with scikit-learn and has no types.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    progress = progress or Silent()
    chosen = [
        name
        for name in check_names(names)
        if task != "multilabel" or classes <= BASELINES[name].most_labels
    ]
    words = Words(train.texts, test.texts, derive(seed, "words") % 2**31)
    results = {}
    progress.start("baselines", len(chosen), "models")
    for name in chosen:
        rival = BASELINES[name]
        began = time.monotonic()
        rows = _sample(target, task, rival.most_rows, derive(seed, name))
        aside = None if held is None else held[rows]
        setting = Setting(task, classes, derive(seed, name) % 2**31, threads, aside)
        learned = train if len(rows) == len(train) else train.take(rows)
        answering = rival if teaches(learned, target[rows]) else BASELINES["constant"]
        with threadpool_limits(threads), warnings.catch_warnings():
            # Rivals are stopped by their rows and rounds: not to have converged is no news.
            warnings.simplefilter("ignore")
            asked = test
            if train.texts and answering is not BASELINES["constant"]:
                learned, asked, setting = _shown(answering, words, learned, test, rows, setting)
            answer = by_label if task == "multilabel" else _whole
            prediction = answer(answering, learned, target[rows], asked, setting)
        seconds = time.monotonic() - began
        results[name] = BaselineResult(prediction, seconds, len(rows))
        progress.advance(1)
    progress.stop()
    return results


def _whole(
    rival: Rival, train: Design, target: NDArray[Any], test: Design, setting: Setting
) -> Floats:
    """Let a rival answer at once."""
    return rival.answer(train, target, test, setting)


def _shown(
    rival: Rival,
    words: Words,
    train: Design,
    test: Design,
    rows: NDArray[np.int64],
    setting: Setting,
) -> tuple[Design, Design, Setting]:
    """Show a rival the texts in the form that suits it."""
    if rival.reads_words:
        learned, asked = words.weighted
        return train, test, replace(setting, words=(learned[rows], asked))
    both = (
        Design(np.concatenate([part.numbers, themes], axis=1), part.codes)
        for part, themes in zip(
            (train, test), (words.themes[0][rows], words.themes[1]), strict=True
        )
    )
    return next(both), next(both), setting


def check_names(names: Sequence[str] | None) -> list[str]:
    """Check the names of rivals; see `fit_baselines`.

    Examples
    --------
    >>> check_names(["linear"])
    ['linear']
    """
    installed = [name for name, rival in BASELINES.items() if find_spec(rival.package)]
    if names is None:
        return installed
    for name in names:
        if name not in BASELINES:
            expected = "some of " + ", ".join(BASELINES)
            raise OptionError(f"there is no baseline {name!r}", expected, near(name, BASELINES))
        if name not in installed:
            package = BASELINES[name].package
            raise OptionError(
                f"the baseline {name!r} needs {package}, which is not installed",
                "one of " + ", ".join(installed),
                f"Install it: pip install 'thalweg[{package}]'.",
            )
    return list(dict.fromkeys(names))


def _sample(target: NDArray[Any], task: Task, most: int, seed: int) -> NDArray[np.int64]:
    """Choose at most so many rows [M] in order; of each class at least one."""
    if len(target) <= most:
        return np.arange(len(target))
    chosen = np.random.default_rng(seed).choice(len(target), most, replace=False)
    if task in ("binary", "multiclass"):
        chosen = np.union1d(chosen, np.unique(target, return_index=True)[1])
    return np.sort(chosen)
