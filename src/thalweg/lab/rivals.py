"""Rivals: textbook models, each with settings that somebody who wanted it to win would choose."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from thalweg.kinds.base import Design, Task
from thalweg.lab.design import one_hot, ranks

Floats = NDArray[np.float64]
Matrices = tuple[sparse.csr_array, sparse.csr_array]

BOOSTED_CODES: Final = 254
"""How many codes of a column scikit-learn's boosting tells apart."""

_HELD_OUT: Final = 0.1
_TRIED: Final = 20
"""How many labels, the commonest, choose the strength of the penalty."""


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """What every rival is told: see `thalweg.lab.baselines.fit_baselines`.

    ``words`` are the training and test rows' texts, weighted, for a rival that ``reads_words``.
    """

    task: Task
    classes: int
    seed: int
    threads: int
    held: NDArray[np.bool_] | None = None
    words: Matrices | None = None

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
    most_labels
        With how many labels a row it can do in bearable time.
    reads_words
        Whether it reads thousands of words; else the themes of texts stand among its numbers.
    """

    package: ClassVar[str] = "sklearn"
    most_rows: ClassVar[int]
    most_labels: ClassVar[int] = 50
    reads_words: ClassVar[bool] = False

    @abstractmethod
    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """Fit, and predict numbers [N] or probabilities [N, classes]; of labels one alone."""


@final
class Constant(Rival):
    """The mean, or the shares of the classes, for every row: what knowing nothing is worth."""

    most_rows = 2**62
    most_labels = 2**62

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        del train
        if setting.task == "regression":
            return np.full(len(test), float(target.mean()))
        shares = np.bincount(target, minlength=setting.classes) / len(target)
        return np.tile(shares, (len(test), 1))


@final
class Linear(Rival):
    """Ridge regression, or logistic regression, on standardised numbers, one-hot codes and words.

    The strength of the penalty is chosen on held-out rows. Of several labels a row each has a
    regression of its own, one against the rest, and all have one strength, chosen by all of them:
    a rare label's held-out rows are too few to choose by.
    """

    most_rows = 200_000
    most_labels = 200
    reads_words = True

    def answer(self, train: Design, target: NDArray[Any], test: Design, setting: Setting) -> Floats:
        """See `Rival.answer`."""
        rows, asked = one_hot(train, test)
        if setting.words is not None:
            rows, asked = (
                sparse.csr_array(sparse.hstack(parts, format="csr"))
                for parts in zip((rows, asked), setting.words, strict=True)
            )
        if setting.task == "regression":
            return _ridge(rows, target, asked, setting)
        held, kept = held_out(target, setting)
        likelihoods = []
        for strength in _strengths(setting):
            if setting.task == "multilabel":
                some = np.argsort(-target.sum(axis=0), kind="stable")[:_TRIED]
                claimed = _one_against_rest(rows[kept], target[kept][:, some], rows[held], strength)
                right = np.where(target[held][:, some] == 1, claimed, 1 - claimed)
            else:
                claimed = _logistic(rows[kept], target[kept], rows[held], strength, setting)
                right = claimed[np.arange(len(held)), target[held]]
            likelihoods.append(np.log(np.maximum(right, 1e-6)).sum())
        best = _strengths(setting)[int(np.argmax(likelihoods))]
        if setting.task == "multilabel":
            return _one_against_rest(rows, target, asked, best)
        return _logistic(rows, target, asked, best, setting)


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
            held, kept = held_out(target, setting)
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

        held, kept = held_out(target, setting)
        if not teaches(train.take(kept), target[kept]):
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


def _ridge(
    rows: sparse.csr_array, target: NDArray[Any], asked: sparse.csr_array, setting: Setting
) -> Floats:
    """Predict numbers [N], standardised while they are fitted."""
    from sklearn.linear_model import Ridge

    held, kept = held_out(target, setting)
    scale = float(target.std()) or 1.0
    centred = (target - target.mean()) / scale
    fits = [Ridge(alpha=alpha, solver="lsqr") for alpha in (0.1, 1, 10, 100, 1000)]
    errors = [
        ((fit.fit(rows[kept], centred[kept]).predict(rows[held]) - centred[held]) ** 2).sum()
        for fit in fits
    ]
    best = fits[int(np.argmin(errors))].fit(rows, centred)
    return np.asarray(best.predict(asked) * scale + target.mean(), np.float64)


def _strengths(setting: Setting) -> tuple[float, ...]:
    """Say which inverse penalties to try: rows of words are short, and bear larger weights."""
    return (0.01, 0.1, 1, 10) if setting.words is None else (0.1, 1, 3, 10, 30, 100)


def _logistic(
    rows: sparse.csr_array,
    target: NDArray[Any],
    asked: sparse.csr_array,
    strength: float,
    setting: Setting,
) -> Floats:
    """Predict probabilities [N, classes]."""
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=strength, max_iter=200).fit(rows, target)
    return setting.full(fit.predict_proba(asked), fit.classes_)


def _one_against_rest(
    rows: sparse.csr_array, target: NDArray[Any], asked: sparse.csr_array, strength: float
) -> Floats:
    """Predict the probability of each label [N, labels]; its share where it never changes."""
    from sklearn.linear_model import LogisticRegression

    found = np.tile(target.mean(axis=0), (asked.shape[0], 1))
    for label in np.flatnonzero((target != target[:1]).any(axis=0)).tolist():
        fit = LogisticRegression(C=strength, max_iter=200).fit(rows, target[:, label])
        found[:, label] = fit.predict_proba(asked)[:, 1]
    return found


def by_label(
    rival: Rival, train: Design, target: NDArray[Any], test: Design, setting: Setting
) -> Floats:
    """Let a rival answer for labels [N, labels], each alone."""
    if isinstance(rival, Linear):
        return rival.answer(train, target, test, setting)
    alone = replace(setting, task="binary", classes=2)
    found = np.empty((len(test), target.shape[1]))
    for label in range(target.shape[1]):
        own = rival if (target[1:, label] != target[0, label]).any() else Constant()
        found[:, label] = own.answer(train, target[:, label], test, alone)[:, 1]
    return found


def teaches(rows: Design, target: NDArray[Any]) -> bool:
    """Say whether there is anything to learn: a column that varies, and a target that does."""
    return bool((target[1:] != target[:1]).any()) and (
        any(bool((part[1:] != part[:1]).any()) for part in (rows.numbers, rows.codes))
        or any(pc.count_distinct(text).as_py() > 1 for text in rows.texts)
    )


def held_out(target: NDArray[Any], setting: Setting) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part the held from the kept rows: as told, else a tenth, of each class the same share.

    Every class is among the kept rows.
    """
    classes = setting.task in ("binary", "multiclass")
    if setting.held is not None:
        aside = setting.held
        if classes:
            aside = aside & np.isin(target, target[~aside])
        if aside.any() and not aside.all():
            return np.flatnonzero(aside), np.flatnonzero(~aside)
    order = np.random.default_rng(setting.seed).permutation(len(target))
    if not classes:
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
