"""From a question to an answer: prepare, train, judge beside rivals, report, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress
from thalweg.data.cache import Cache
from thalweg.data.features.declare import Features
from thalweg.data.leakage import warnings as leakage
from thalweg.data.loader import check_balance
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.lab.baselines import check_names
from thalweg.lab.detectors import check_detectors
from thalweg.lab.report.wording import counted
from thalweg.models.artifact import require_free
from thalweg.models.calibration import read_share, read_threshold
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source, write_rejects
from thalweg.training.train import Run, train


@final
@dataclass(frozen=True, slots=True)
class Question:
    """What is to be learned.

    Parameters
    ----------
    source, test
        Rows to learn from and, where given, rows to judge on.
    target
        The column to predict; None: how likely rows are is learned, to find odd ones.
    split
        See `thalweg.data.split.Split.parse`.
    columns, drop
        What the user said of the columns.
    dials
        Dials of the recipe that the user turned.
    baselines
        Names of rivals; None for all that are installed.
    cache
        Where the encoded rows of large tables are kept; None keeps none.
    files
        The folder that paths in cells are meant from; None for that of the rows' own file.
    features
        Windowed features to compute first; None for none.
    truth
        Without a target: the column that says which rows are odd; see `Wishes`.
    """

    source: Any
    target: str | None
    test: Any
    split: str
    columns: Mapping[str, str]
    drop: tuple[str, ...]
    dials: Mapping[str, Any]
    baselines: Sequence[str] | None
    cache: Path | None
    files: str | Path | None = None
    features: Features | None = None
    truth: str | None = None


def study(question: Question, run: Run, folder: Path | None, progress: Progress) -> Model:
    """Answer a question with a trained, judged and saved model.

    Parameters
    ----------
    question
        What is to be learned.
    run
        How the network is trained.
    folder
        Where to save; None for nowhere.
    progress
        Told of every stage.
    """
    began = time.monotonic()
    source = open_source(question.source, files=question.files)
    test = None if question.test is None else open_source(question.test, files=question.files)
    split = Split.parse(question.split, test=0.0 if test is not None else 0.2, seed=run.seed)
    wishes = Wishes(question.target, question.columns, question.drop, question.features)
    wishes = replace(wishes, truth=question.truth)
    # What cannot be is said before the work.
    Recipe().turned(question.dials)
    check_balance(run.balance)
    if question.target is None:
        _require_no_classes(question, split, run)
        check_detectors(question.baselines)
        read_share(run.threshold)
    else:
        check_names(question.baselines)
        if question.truth is not None:
            raise OptionError(
                f"truth is {question.truth!r} beside the target {question.target!r}",
                "one of them: a target is the truth",
                "Leave one out.",
            )
        if run.threshold is not None:
            read_threshold(run.threshold)
    if folder is not None:
        require_free(folder)
    cache = None if question.cache is None else Cache(question.cache)
    prepared = prepare(source, wishes, split, test, progress, cache)
    warnings = _tell(prepared, progress)
    recipe = Recipe.for_table(prepared).turned(question.dials)
    model = train(prepared, recipe, run, progress)
    # What judges and draws is slow to import: the first step need not wait for it.
    from thalweg.lab.evaluate import judge

    model.evaluation = judge(model, prepared, question.baselines, warnings, progress)
    model.seconds = time.monotonic() - began
    if folder is not None:
        _save(model, prepared, folder, warnings)
        if run.folder is not None:
            shutil.rmtree(run.folder, ignore_errors=True)
    return model


def _require_no_classes(question: Question, split: Split, run: Run) -> None:
    """Refuse what asks for a target."""
    asked = {
        f"the split is {question.split!r}": split.method == "stratified",
        f"the balance is {run.balance!r}": run.balance != "none",
    }
    asked |= {
        f"the recipe sets {name} to {question.dials[name]!r}": True
        for name in ("mixup", "label_smoothing", "focusing", "fusion", "pairs")
        if name in question.dials
    }
    for what, wrong in asked.items():
        if wrong:
            raise OptionError(
                f"{what} without a target",
                "a target of classes, or an option that needs none",
                "Name the target with --target, or leave this out.",
            )


def _tell(prepared: Prepared, progress: Progress) -> list[str]:
    """Say what was guessed and what looks wrong."""
    for one in prepared.schema.ignored:
        progress.note(f"column {one.name!r} is not used: {one.because}")
    warnings = leakage(prepared)
    if prepared.rejects:
        warnings.append(f"{counted(len(prepared.rejects), 'row')} set aside: could not be read")
    for name, rows in prepared.held_out.items():
        judging = len((prepared.test if name == "test" else prepared.validation).arrays)
        if judging < rows:
            warnings.append(f"{judging:,} of {rows:,} {name} rows judge, drawn evenly")
    for part, reasons in prepared.left_out.items():
        for reason, count in reasons.items():
            warnings.append(f"{counted(count, f'{part} row')} left out: {reason}")
    for warning in warnings:
        progress.note(f"warning: {warning}")
    return warnings


def _save(model: Model, prepared: Prepared, folder: Path, warnings: Sequence[str]) -> None:
    """Write the model with its card and report, and beside it the rows set aside."""
    from thalweg.lab.report import render_card, render_report

    if model.evaluation is None:
        raise AssertionError
    report = render_report(
        name=str(folder),
        schema=model.schema,
        profile=prepared.summary,
        rows=model.rows,
        training=model.training,
        evaluation=model.evaluation,
        warnings=warnings,
    )
    card = render_card(
        name=str(folder),
        schema=model.schema,
        fingerprint=model.fingerprint,
        rows=model.rows,
        training=model.training,
        evaluation=model.evaluation,
        warnings=warnings,
    )
    model.save(folder, {"report.html": report, "card.md": card})
    if prepared.rejects:
        write_rejects(prepared.rejects, folder.with_name(f"{folder.name}.rejects.ndjson"))


def answer(model: Model) -> dict[str, Any]:
    """Tell what a model is, in plain data: the answer of ``train`` and ``show``."""
    judged = model.evaluation
    return {
        "task": model.task,
        "target": model.schema.target.name if model.schema.target else None,
        "rows": model.rows.model_dump(mode="json"),
        "metrics": {} if judged is None else _figures(judged.metrics),
        "baselines": {}
        if judged is None
        else {name: _figures(one.metrics) for name, one in judged.baselines.items()},
        "seconds": model.seconds,
        "model": None if model.path is None else str(model.path),
        "classes": model.classes,
        "threshold": model.calibration.threshold,
        "truth": model.schema.truth.to_json() if model.schema.truth else None,
        "columns": [
            {"name": column.name, "kind": column.kind, "because": column.because}
            for column in model.schema.columns
        ],
        "ignored": [{"name": one.name, "because": one.because} for one in model.schema.ignored],
        "features": [str(one) for one in model.schema.features.features]
        if model.schema.features
        else [],
        "time": model.schema.features.time if model.schema.features else None,
        "recipe": model.recipe.model_dump(mode="json"),
        "settings": model.training.settings,
        "training": model.training.model_dump(mode="json"),
        "warnings": [] if judged is None else judged.warnings,
        "fingerprint": model.fingerprint,
    }


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figure.model_dump(mode="json") for name, figure in metrics.items()}
