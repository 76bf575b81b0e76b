"""Judge a model without a target: how many rows it calls odd, and, where it is known, which are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thalweg.core.progress import Progress
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays
from thalweg.data.parts import Part, Prepared
from thalweg.data.truth import Truth
from thalweg.lab.design import design
from thalweg.lab.detectors import Detected, detect, shares
from thalweg.lab.intervals import figures, wilson
from thalweg.lab.metrics import METRICS
from thalweg.lab.mistakes import exhibits_of
from thalweg.models.decoder import ANOMALY, NORMAL, Answers
from thalweg.models.model import Model
from thalweg.models.network import settled
from thalweg.models.record import (
    Baseline,
    Curve,
    Evaluation,
    Figure,
    Importance,
    Mistake,
    Oddness,
)
from thalweg.stats.tails import TailFit

FLAGGED: Final = "flagged"
FALSE_ALARMS: Final = "false_alarms"
SHOWN: Final = 12
"""How many of the oddest rows are shown."""

LOOKED_AT: Final = 0.01
"""The share of rows, the oddest, whose columns' part in it is told."""

LEAST: Final = 20
RESAMPLES: Final = 200

Floats = NDArray[np.float64]


def judge_anomalies(
    model: Model, prepared: Prepared, names: Sequence[str] | None, progress: Progress
) -> Evaluation:
    """Judge a model on the test rows, beside detectors that learned from the same rows."""
    told = model.schema.truth
    evaluation = evaluate_anomalies(model, prepared.test, told, progress)
    if names is not None and not names:
        return evaluation
    parts = (prepared.train, prepared.validation, prepared.test)
    train, held, test = (design(part.arrays.features, model.schema) for part in parts)
    truth = truth_of(told, prepared.test)
    seed = model.training.seed
    found = detect(train, held, test, seed=seed, names=names, progress=progress)
    rivals = {name: _rival(model, one, truth) for name, one in found.items()}
    return evaluation.model_copy(update={"baselines": rivals})


def evaluate_anomalies(
    model: Model, part: Part, told: Truth | None, progress: Progress
) -> Evaluation:
    """Judge a model on encoded rows and the raw ones that they came from, which hold the truth."""
    answers = model.answers(settled(model.network, part.arrays, progress))
    truth = truth_of(told, part)
    odd = model.decoder.odd(answers.prediction)
    progress.start("judge", None, "figures")
    measured = measure(answers.prediction, odd, truth)
    known = truth is not None and "roc_auc" in measured
    evaluation = Evaluation(
        task="anomaly",
        rows=len(odd),
        metric=METRICS["anomaly"][0] if known else FLAGGED,
        metrics=measured,
        classes=model.classes,
        threshold=model.calibration.threshold,
        importances=blamed(model, answers),
        anomalies=_oddness(model, answers),
        mistakes=_oddest(model, part.arrays, answers, truth),
    )
    progress.stop()
    return evaluation


def truth_of(told: Truth | None, part: Part) -> NDArray[np.int64] | None:
    """Say which rows [N] are odd (1) or not (0); -1 where nobody knows, None where nobody says."""
    if told is None or part.raw is None:
        return None
    return told.read(part.raw.column(told.column))


def measure(
    scores: Floats, odd: NDArray[np.bool_], truth: NDArray[np.int64] | None
) -> dict[str, Figure]:
    """Measure scores.

    Parameters
    ----------
    scores
        [N]: the higher, the odder.
    odd
        Bool [N]: which rows are called odd.
    truth
        int64 [N]: 1, 0 or -1 for not known; None for no truth at all.

    Returns
    -------
    dict
        Metric -> figure: the share ``flagged``; with a truth also the others of the task, over the
        rows of which it is known.

    Examples
    --------
    >>> found = measure(np.arange(4.0), np.array([0, 0, 0, 1]) == 1, np.array([0, 0, 1, 1]))
    >>> found["roc_auc"].value, found["recall"].value, found["flagged"].value
    (1.0, 0.5, 0.25)
    """
    found: dict[str, Figure] = {}
    if truth is not None and (truth >= 0).any():
        known = truth >= 0
        ranked = shares(scores[known])
        called, right = odd[known], truth[known]
        cut = float(ranked[called].min()) if called.any() else 2.0
        pairs = np.stack([1 - ranked, ranked], axis=1)
        whole = figures("binary", right, pairs, threshold=cut)
        found = {name: whole[name] for name in METRICS["anomaly"] if name in whole}
        ordinary = right == 0
        if ordinary.any():
            found[FALSE_ALARMS] = _share(called[ordinary])
    return found | {FLAGGED: _share(odd)}


def _share(mask: NDArray[np.bool_]) -> Figure:
    """Give the share of a mask [N] with Wilson's interval."""
    hits, rows = int(mask.sum()), len(mask)
    low, high = wilson(hits, rows)
    value = hits / max(1, rows)
    return Figure(value=value, low=min(low, value), high=max(high, value))


def _rival(model: Model, found: Detected, truth: NDArray[np.int64] | None) -> Baseline:
    """Judge a detector, whose threshold is drawn as the model's is."""
    threshold = model.calibration.threshold
    if not isinstance(threshold, float):
        raise AssertionError
    odd = TailFit.of(found.held).probability(found.scores) <= threshold
    metrics = measure(found.scores, odd, truth)
    return Baseline(metrics=metrics, seconds=found.seconds, rows=found.rows)


def blamed(model: Model, answers: Answers) -> list[Importance]:
    """Say what each column adds to the scores of the oddest rows, in nats, the most first.

    The interval (95%, bootstrap) is over rows.
    """
    if answers.surprise is None:
        raise AssertionError
    rows = len(answers.prediction)
    most = min(rows, max(LEAST, round(LOOKED_AT * rows)))
    oddest = np.argsort(-answers.prediction, kind="stable")[:most]
    some = answers.surprise[oddest]
    random = np.random.default_rng(derive(0, "blamed"))
    drawn = some[random.integers(most, size=(RESAMPLES, most))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    kinds = {column.name: column.kind for column in model.schema.columns}
    names = model.decoder.foretold
    found = [
        Importance(
            column=name,
            kind=kinds[name],
            value=float(mean),
            low=float(min(low[place], mean)),
            high=float(max(high[place], mean)),
        )
        for place, (name, mean) in enumerate(zip(names, some.mean(axis=0), strict=True))
    ]
    return sorted(found, key=lambda one: -one.value)


def _oddness(model: Model, answers: Answers) -> Oddness:
    """Gather what is drawn: how scores are spread, the tail and the curve fitted to it."""
    tail, wanted = model.calibration.tail, model.calibration.threshold
    if tail is None or not isinstance(wanted, float):
        raise AssertionError
    scores = answers.prediction
    threshold = tail.value(wanted)
    high = max(float(np.quantile(scores, 0.999)), threshold)
    counts, edges = np.histogram(scores.clip(None, high), bins=60)
    ordered = np.sort(scores)[::-1]
    above = ordered[ordered > tail.level]
    shown = np.geomspace(1, max(1, len(above)), 60).astype(np.int64)
    places = np.unique(shown[shown <= len(above)])
    seen = above[places - 1]
    at = np.linspace(tail.level, max(threshold, float(ordered[0])), 60)
    return Oddness(
        wanted=wanted,
        threshold=threshold,
        scores=Curve(
            x=((edges[1:] + edges[:-1]) / 2).tolist(), y=counts.astype(np.float64).tolist()
        ),
        seen=Curve(x=seen.tolist(), y=(places / len(scores)).tolist()),
        fitted=Curve(x=at.tolist(), y=tail.probability(at).tolist()),
        shape=tail.shape,
        scale=tail.scale,
        count=tail.count,
    )


def _oddest(
    model: Model, arrays: Arrays, answers: Answers, truth: NDArray[np.int64] | None
) -> list[Mistake]:
    """Show the oddest rows, of each the columns first that make it so."""
    tail = model.calibration.tail
    if tail is None or answers.surprise is None:
        raise AssertionError
    scores = answers.prediction
    rows = np.argsort(-scores, kind="stable")[:SHOWN]
    words = {1: ANOMALY, 0: NORMAL, -1: ""}
    called = np.where(model.decoder.odd(scores[rows]), ANOMALY, NORMAL)
    chances = tail.probability(scores[rows])
    names = model.decoder.foretold
    weights: list[Mapping[str, float]] = [
        dict(zip(names, row.tolist(), strict=True)) for row in answers.surprise[rows]
    ]
    shown = exhibits_of(model, arrays.take(rows), weights)
    return [
        Mistake(
            truth="" if truth is None else words[int(truth[row])],
            prediction=str(called[place]),
            probability=float(chances[place]),
            loss=float(scores[row]),
            exhibits=shown[place],
        )
        for place, row in enumerate(rows.tolist())
    ]
