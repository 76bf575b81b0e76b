"""Baselines: rivals that learn from the same rows and are judged on the same test rows.

They see what the network sees, each in the form that suits it, with settings that somebody who
wanted them to win would choose.
"""

from __future__ import annotations

import inspect
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, near
from thalweg.core.progress import Progress, Silent
from thalweg.core.seeds import derive
from thalweg.kinds.base import Task
from thalweg.lab.design import Design, design, one_hot, ranks

__all__ = ["BASELINES", "BaselineResult", "Design", "check_names", "design", "fit_baselines"]

Floats = NDArray[np.float64]

BOOSTED_CODES: Final = 254
"""How many codes of a column scikit-learn's boosting tells apart."""

_HELD_OUT: Final = 0.1


@final
@dataclass(frozen=True, slots=True)
class BaselineResult:
    """What a rival answered.

    Parameters
    ----------
    prediction
        float64: numbers [N] in the target's own units, or probabilities [N, classes].
    seconds
        What fitting and predicting took.
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
        Numbers [N] in the target's own units, or class codes [N].
    test
        What they predict.
    task
        Regression, binary or multiclass.
    classes
        How many classes there are; of no account for regression.
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
        columns) every rival answers the constant.

    Raises
    ------
    OptionError
        Where a name is not known, or ``catboost`` is not installed.
    """
    # It comes with scikit-learn and has no types.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    progress = progress or Silent()
    chosen = check_names(names)
    results = {}
    progress.start("baselines", len(chosen), "models")
    for name in chosen:
        rival = BASELINES[name]
        began = time.monotonic()
        rows = _sample(target, task, rival.most_rows, derive(seed, name))
        aside = None if held is None else held[rows]
        setting = Setting(task, classes, derive(seed, name) % 2**31, threads, aside)
        learned = train if len(rows) == len(train) else train.take(rows)
        answering = rival if _teaches(learned, target[rows]) else BASELINES["constant"]
        with threadpool_limits(threads), warnings.catch_warnings():
            # Rivals are stopped by their rows and rounds: not to have converged is no news.
            warnings.simplefilter("ignore")
            prediction = answering.answer(learned, target[rows], test, setting)
        results[name] = BaselineResult(prediction, time.monotonic() - began, len(rows))
        progress.advance(1)
    progress.stop()
    return results


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


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """What every rival is told: see `fit_baselines`."""

    task: Task
    classes: int
    seed: int
    threads: int
    held: NDArray[np.bool_] | None = None

    def full(self, probabilities: NDArray[Any], known: NDArray[Any]) -> Floats:
        """Give probabilities [N, classes] where a rival knows only some of the classes."""
        answers = np.zeros((len(probabilities), self.classes))
        answers[:, known.astype(np.int64)] = probabilities
        return answers


class Rival(ABC):
    """One rival: how it wants its rows, and how it is fitted.

    Attributes
    ----------
    package
        What has to be installed.
    most_rows
        The most rows that it is fitted on, chosen at random where there are more.
    """

    package: ClassVar[str] = "sklearn"
    most_rows: ClassVar[int]

    @abstractmethod
    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """Fit, and predict numbers [N] or probabilities [N, classes]."""


@final
class Constant(Rival):
    """The mean, or the shares of the classes, for every row: what knowing nothing is worth."""

    most_rows = 2**62

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        del train
        if setting.task == "regression":
            return np.full(len(test), float(target.mean()))
        shares = np.bincount(target, minlength=setting.classes) / len(target)
        return np.tile(shares, (len(test), 1))


@final
class Linear(Rival):
    """Ridge regression, or logistic regression, on standardised numbers and one-hot codes.

    The strength of the penalty is chosen on held-out rows.
    """

    most_rows = 200_000

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        from sklearn.linear_model import LogisticRegression, Ridge

        rows, asked = one_hot(train, test)
        held, kept = _held_out(target, setting)
        if setting.task == "regression":
            scale = float(target.std()) or 1.0
            centred = (target - target.mean()) / scale
            fits = [Ridge(alpha=alpha, solver="lsqr") for alpha in (0.1, 1, 10, 100, 1000)]
            errors = [
                (
                    (fit.fit(rows[kept], centred[kept]).predict(rows[held]) - centred[held]) ** 2
                ).sum()
                for fit in fits
            ]
            best = fits[int(np.argmin(errors))].fit(rows, centred)
            return np.asarray(best.predict(asked) * scale + target.mean(), np.float64)
        fits = [LogisticRegression(C=strength, max_iter=200) for strength in (0.01, 0.1, 1, 10)]
        likelihoods = []
        for fit in fits:
            fit.fit(rows[kept], target[kept])
            claimed = setting.full(fit.predict_proba(rows[held]), fit.classes_)
            likelihoods.append(
                np.log(np.maximum(claimed[np.arange(len(held)), target[held]], 1e-6)).sum()
            )
        best = fits[int(np.argmax(likelihoods))].fit(rows, target)
        return setting.full(best.predict_proba(asked), best.classes_)


@final
class Forest(Rival):
    """A random forest of 200 trees (Breiman 2001).

    Each split looks at the root of the columns, or a third of them for regression, as Breiman
    advised. Leaves have at least 3 rows for classes: trees of single rows claim probabilities of
    0 and 1. Codes go by their frequency, missing numbers to the better side of each split.
    """

    most_rows = 100_000

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        rows, asked = (
            np.concatenate([part.numbers, codes.astype(np.float32)], axis=1)
            for part, codes in zip((train, test), ranks(train, test), strict=True)
        )
        if setting.task == "regression":
            forest = RandomForestRegressor(
                n_estimators=200,
                max_features=1 / 3,
                n_jobs=setting.threads,
                random_state=setting.seed,
            )
            return np.asarray(forest.fit(rows, target).predict(asked), np.float64)
        forest = RandomForestClassifier(
            n_estimators=200,
            min_samples_leaf=3,
            n_jobs=setting.threads,
            random_state=setting.seed,
        )
        forest.fit(rows, target)
        return setting.full(forest.predict_proba(asked), forest.classes_)


@final
class Boosting(Rival):
    """Boosted trees on histograms (Ke et al. 2017), scikit-learn's.

    Small steps, and as many rounds as help a held-out tenth of the rows: up to 1,000, which few
    tables reach, so that the held-out rows and not the limit say when it is enough. Below 2,000
    rows that tenth is too few to judge by, and 100 rounds are taken. The 254 commonest codes of a
    column are told apart; beyond those, a code is known by how common it is.
    """

    most_rows = 5_000_000

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        common, asked_common = ranks(train, test)
        wide = common.max(axis=0, initial=0) >= BOOSTED_CODES
        rows, asked = (
            np.concatenate(
                [
                    np.where(codes < BOOSTED_CODES, codes, np.nan).astype(np.float32),
                    codes[:, wide].astype(np.float32),
                    part.numbers,
                ],
                axis=1,
            )
            for part, codes in ((train, common), (test, asked_common))
        )
        early = len(target) >= 2_000
        model = (
            HistGradientBoostingRegressor
            if setting.task == "regression"
            else HistGradientBoostingClassifier
        )(
            learning_rate=0.05,
            max_iter=1_000 if early else 100,
            early_stopping=early,
            validation_fraction=_HELD_OUT,
            n_iter_no_change=30,
            categorical_features=list(range(common.shape[1])) or None,
            random_state=setting.seed,
        )
        # Before scikit-learn 1.7 boosting can only hold out rows of its own choice.
        told = setting.held is not None and "X_val" in inspect.signature(model.fit).parameters
        if early and told:
            held, kept = _held_out(target, setting)
            model.fit(rows[kept], target[kept], X_val=rows[held], y_val=target[held])
        else:
            model.fit(rows, target)
        if setting.task == "regression":
            return np.asarray(model.predict(asked), np.float64)
        return setting.full(model.predict_proba(asked), model.classes_)


@final
class CatBoost(Rival):
    """CatBoost with its own settings (Prokhorenkova et al. 2018), stopped on a held-out tenth.

    Its own are 1,000 rounds, and a step size that it fits to the rounds and rows.
    """

    package = "catboost"
    # A thousand rounds over columns of many levels take minutes for every 100,000 rows.
    most_rows = 100_000

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        from catboost import CatBoostClassifier, CatBoostRegressor, Pool

        held, kept = _held_out(target, setting)
        if not _teaches(train.take(kept), target[kept]):
            return Constant().answer(train, target, test, setting)
        fitted, judged = (Pool(_catboost(train.take(rows)), target[rows]) for rows in (kept, held))
        model = (CatBoostRegressor if setting.task == "regression" else CatBoostClassifier)(
            early_stopping_rounds=50,
            thread_count=setting.threads,
            random_seed=setting.seed,
            allow_writing_files=False,
            verbose=False,
        )
        model.fit(fitted, eval_set=judged)
        if setting.task == "regression":
            return np.asarray(model.predict(_catboost(test)), np.float64)
        return setting.full(model.predict_proba(_catboost(test)), model.classes_)


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


def _teaches(rows: Design, target: NDArray[Any]) -> bool:
    """Say whether there is anything to learn: a column that varies, and a target that does."""
    differ = [
        bool((part[1:] != part[:1]).any()) for part in (rows.numbers, rows.codes, target[:, None])
    ]
    return differ[2] and (differ[0] or differ[1])


def _sample(target: NDArray[Any], task: Task, most: int, seed: int) -> NDArray[np.int64]:
    """Choose at most so many rows [M] in order; of each class at least one."""
    if len(target) <= most:
        return np.arange(len(target))
    chosen = np.random.default_rng(seed).choice(len(target), most, replace=False)
    if task != "regression":
        chosen = np.union1d(chosen, np.unique(target, return_index=True)[1])
    return np.sort(chosen)


def _held_out(
    target: NDArray[Any], setting: Setting
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part the held from the kept rows: as told, else a tenth, of each class the same share.

    Every class is among the kept rows.
    """
    if setting.held is not None:
        aside = setting.held
        if setting.task != "regression":
            aside = aside & np.isin(target, target[~aside])
        if aside.any() and not aside.all():
            return np.flatnonzero(aside), np.flatnonzero(~aside)
    order = np.random.default_rng(setting.seed).permutation(len(target))
    if setting.task == "regression":
        cut = max(1, int(_HELD_OUT * len(target)))
        return np.sort(order[:cut]), np.sort(order[cut:])
    order = order[np.argsort(target[order], kind="stable")]
    count = np.bincount(target)
    place = np.arange(len(target)) - np.repeat(np.cumsum(count) - count, count)
    # Rounded up, but never the only row of a class.
    held = place < np.minimum(np.ceil(_HELD_OUT * count), count - 1)[target[order]]
    return np.sort(order[held]), np.sort(order[~held])


def _catboost(part: Design) -> Any:
    """Give CatBoost numbers as numbers and codes as texts, without a data frame."""
    from catboost import FeaturesData

    return FeaturesData(
        num_feature_data=part.numbers if part.numbers.shape[1] else None,
        cat_feature_data=part.codes.astype("S12").astype(object) if part.codes.shape[1] else None,
    )
