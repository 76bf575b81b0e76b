"""Judge a model on rows it never saw: figures with intervals, rivals, weak slices, importances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.core.errors import OptionError, SourceError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.judges import read_judges
from thalweg.data.parts import Part, Prepared
from thalweg.data.passes import empty
from thalweg.data.split import folds
from thalweg.data.truth import Truth
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded, Threshold
from thalweg.kinds.classes import decide
from thalweg.lab.anomalies import evaluate_anomalies, judge_anomalies
from thalweg.lab.baselines import BaselineResult, fit_baselines
from thalweg.lab.design import design
from thalweg.lab.importance import FEW_ROWS, MOST_ROWS, permutation_importance
from thalweg.lab.intervals import figures
from thalweg.lab.label_scorer import LabelScorer
from thalweg.lab.metrics import LEADING, confusion, losses, reliability
from thalweg.lab.mistakes import worst_mistakes
from thalweg.lab.report.wording import counted
from thalweg.lab.slices import worst_slices
from thalweg.models.decoder import Answers
from thalweg.models.model import Model
from thalweg.models.network import settled
from thalweg.models.record import Baseline, Curve, Evaluation, Figure
from thalweg.sources import Source

Numbers = NDArray[np.float64]

UNREAD: Final = "could not be read"
ALL: Final = "all labels"
_TENTHS: Final = 10


def judge(
    model: Model,
    prepared: Prepared,
    baselines: Sequence[str] | None,
    warnings: Sequence[str],
    progress: Progress,
) -> Evaluation:
    """Judge a model on the test rows, beside rivals that learned from the same rows.

    Parameters
    ----------
    model
        Trained on the training part.
    prepared
        The parts. Rivals learn from training and validation rows together.
    baselines
        Names of rivals; None for all that are installed.
    warnings
        What was noticed before, to be kept with the figures.
    progress
        Told of every stage.
    """
    if model.task == "anomaly":
        evaluation = judge_anomalies(model, prepared, baselines, progress)
        return evaluation.model_copy(update={"warnings": list(warnings)})
    evaluation = evaluate_part(model, prepared.test, progress)
    rivals = _rivals(model, prepared, baselines, progress)
    return evaluation.model_copy(update={"baselines": rivals, "warnings": list(warnings)})


def evaluate(
    model: Model, source: Source, progress: Progress, truth: str | None = None
) -> Evaluation:
    """Judge a model on a source that has the target.

    Without a target, ``truth`` names the column that says which rows are odd; by default it is the
    one that the model was trained with, where the source has it.

    Rows that cannot be judged are counted by reason among the evaluation's warnings.

    Raises
    ------
    ColumnError
        Where the target or a column is missing.
    SourceError
        Where no row has a usable target.
    """
    schema = model.schema
    if truth is not None:
        if schema.target is not None:
            raise OptionError(
                f"truth is {truth!r} for a model that predicts {schema.target.name!r}",
                "a model without a target",
                "Leave it out: the target is the truth.",
            )
        schema = replace(schema, truth=Truth.parse(truth, source.schema().names))
    elif schema.truth is not None and schema.truth.column not in source.schema().names:
        schema = replace(schema, truth=None)
    judges = read_judges(source, schema, progress, stage="read")
    if not len(judges.part.arrays):
        if schema.target is None:
            raise empty(source, "rows that no cleaning option sets aside")
        raise SourceError(
            f"{source.uri} has no row with a usable {schema.target.name!r}",
            "rows with the target that the model was trained on",
            "Judging needs the truth; to predict only, use thalweg predict.",
        )
    gone = judges.left_out + Counter({UNREAD: len(judges.rejects)})
    warnings = [f"{counted(rows, 'row')} not judged: {why}" for why, rows in gone.items() if rows]
    drawn = len(judges.part.arrays) + judges.left_out.total()
    if drawn < judges.rows:
        warnings.append(f"judged by {drawn:,} of {judges.rows:,} rows, drawn evenly")
    for warning in warnings:
        progress.note(f"warning: {warning}")
    if model.task == "anomaly":
        evaluation = evaluate_anomalies(model, judges.part, schema.truth, progress)
    else:
        evaluation = evaluate_part(model, judges.part, progress)
    return evaluation.model_copy(update={"warnings": warnings})


def evaluate_part(model: Model, part: Part, progress: Progress) -> Evaluation:
    """Judge a model on encoded rows and the raw ones that they came from."""
    truth = truth_of(model, part.arrays)
    arrays = settled(model.network, part.arrays, progress)
    answers = model.answers(arrays)
    threshold = model.calibration.threshold
    progress.start("judge", None, "figures")
    found = figures(
        model.task, truth, answers.prediction, threshold=threshold, bounds=_bounds(answers)
    )
    loss = losses(model.task, truth, answers.prediction)
    evaluation = Evaluation(
        task=model.task,
        rows=len(truth),
        metric=LEADING[model.task],
        metrics=found,
        classes=model.classes,
        threshold=threshold,
    ).model_copy(update=_pictures(model, truth, answers, threshold))
    progress.stop()
    if part.raw is None:
        return evaluation
    kinds = {column.name: column.kind for column in model.schema.columns}
    cells = part.raw.select(model.schema.grouped)
    slices = worst_slices(
        cells, loss, model.task, truth, answers.prediction, kinds=kinds, threshold=threshold
    )
    places = pa.array(np.arange(len(truth)))
    importances = permutation_importance(
        lambda cells: model.answers(_mixed(model, arrays, cells)).prediction,
        pa.table(dict.fromkeys(kinds, places)),
        truth,
        model.task,
        kinds,
        threshold=threshold,
        most_rows=FEW_ROWS if model.schema.common else MOST_ROWS,
        progress=progress,
    )
    mistakes = worst_mistakes(model, part.arrays, truth, answers, importances)
    shown = {"slices": slices, "importances": importances, "mistakes": mistakes}
    return evaluation.model_copy(update=shown)


def _mixed(model: Model, arrays: Arrays, cells: pa.Table) -> Arrays:
    """Put rows together of encoded cells; ``cells`` says for each column which row's cell it is."""
    mixed = {}
    for kind, columns in model.schema.by_kind().items():
        rows = [cells.column(column.name).to_numpy() for column in columns]
        mixed[kind] = {
            name: np.stack([field[at, place] for place, at in enumerate(rows)], axis=1)
            for name, field in arrays.features[kind].items()
        }
    return Arrays(mixed)


def truth_of(model: Model, arrays: Arrays) -> NDArray[np.float64] | NDArray[np.int64]:
    """Give the truth: numbers [N] in the target's units, class codes [N], or labels [N, labels]."""
    target = model.schema.target
    if target is None:
        raise AssertionError
    if model.task == "multilabel":
        return arrays.target["labels"][:, 0].astype(np.int64)
    if model.task != "regression":
        return arrays.target["code"][:, 0].astype(np.int64)
    nowhere = np.zeros(len(arrays), dtype=np.bool_)
    encoded = Encoded(arrays.target, nowhere, nowhere[:, None])
    numbers = KINDS[target.kind].restore(encoded, 0, target.state)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _bounds(answers: Answers) -> tuple[Numbers, Numbers] | None:
    if answers.low is None or answers.high is None:
        return None
    return answers.low, answers.high


def _pictures(
    model: Model, truth: NDArray[np.generic], answers: Answers, threshold: Threshold
) -> Mapping[str, object]:
    """Gather what is drawn: confusion or labels and reliability, or residuals."""
    if model.task == "regression":
        residuals = truth.astype(np.float64) - answers.prediction
        step = max(1, len(truth) // 2000)
        drawn = Curve(x=answers.prediction[::step].tolist(), y=residuals[::step].tolist())
        return {"residuals": drawn}
    classes = model.classes
    if model.task == "multilabel":
        scored = LabelScorer(truth, answers.prediction, threshold)
        claims = answers.prediction.reshape(-1)
        return {
            "labels": scored.labels(classes, threshold),
            "calibration": {ALL: reliability(truth.reshape(-1) == 1, claims)},
        }
    chosen = decide(answers.prediction, threshold)
    shown = [1] if model.task == "binary" else range(min(len(classes), 8))
    return {
        "confusion": confusion(truth, chosen, len(classes)),
        "calibration": {
            classes[code]: reliability(truth == code, answers.prediction[:, code]) for code in shown
        },
    }


def _rivals(
    model: Model, prepared: Prepared, names: Sequence[str] | None, progress: Progress
) -> dict[str, Baseline]:
    """Train the rivals and judge them."""
    if names is not None and not names:
        return {}
    parts = [prepared.train.arrays, prepared.validation.arrays]
    learned = Arrays.join(part.weighted(None) for part in parts if len(part))
    truth = truth_of(model, prepared.test.arrays)
    results = fit_baselines(
        design(learned.features, model.schema),
        truth_of(model, learned),
        design(prepared.test.arrays.features, model.schema),
        model.task,
        classes=len(model.classes),
        seed=model.training.seed,
        names=names,
        held=_held(model, prepared),
        progress=progress,
    )
    return {name: _judged(model, truth, result) for name, result in results.items()}


def _held(model: Model, prepared: Prepared) -> NDArray[np.bool_] | None:
    """Mark the training and validation rows [N] by which rivals choose; None: any tenth will do.

    Where the network has validation rows (the latest, in a split by time), rivals choose by the
    same. Else groups stay together, as they do in the network's folds.
    """
    train, validation = prepared.train, prepared.validation
    if len(validation.arrays):
        return np.repeat([False, True], [len(train.arrays), len(validation.arrays)])
    if np.array_equal(train.groups, train.hashes):
        return None
    plain = model.task in ("binary", "multiclass")
    classes = train.arrays.target["code"][:, 0] if plain else None
    held: NDArray[np.bool_] = folds(train.groups, _TENTHS, model.training.seed, classes) == 0
    if classes is not None:
        # What a class that is nowhere else belongs to is learned from.
        alone = ~np.isin(classes, classes[~held])
        held &= ~np.isin(train.groups, train.groups[alone])
    return held


def _judged(model: Model, truth: NDArray[np.generic], result: BaselineResult) -> Baseline:
    metrics: dict[str, Figure] = figures(model.task, truth, result.prediction)
    return Baseline(metrics=metrics, seconds=result.seconds, rows=result.rows)
