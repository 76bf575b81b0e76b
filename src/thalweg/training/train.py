"""Train a model on prepared rows: plan, loop, calibrate."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray

from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress
from thalweg.data.arrays import Arrays
from thalweg.data.loader import Draw, Loader, class_weights, classes_of
from thalweg.data.parts import Prepared
from thalweg.data.shards import Held
from thalweg.data.split import folds
from thalweg.kinds.base import Task
from thalweg.models.calibration import Calibration, fit_scaling, read_share
from thalweg.models.decoder import Outputs, surprises, unlikely
from thalweg.models.model import Model
from thalweg.models.network import Network, forward_all, settled
from thalweg.models.recipe import Recipe
from thalweg.models.record import Rows, Training
from thalweg.stats.drift.reference import Reference
from thalweg.training.callbacks.averaging import Averaging
from thalweg.training.callbacks.base import Callback
from thalweg.training.callbacks.checkpoints import Checkpoints
from thalweg.training.callbacks.deadline import Deadline
from thalweg.training.callbacks.showing import Showing
from thalweg.training.callbacks.stopping import EarlyStopping
from thalweg.training.loop import Judged, Loop
from thalweg.training.plan import Plan, fitting, pace_of

PLAN: Final = "plan.json"
CHECKPOINT: Final = "checkpoint"

FOLDS: Final = 8
"""Every member learns from seven eighths of the training rows, or from all of them."""

MOST_JUDGED: Final = 20_000

SURPRISE: Final = "surprise"
"""What steers training without a target: how unlikely held-out rows are, in nats."""


@final
@dataclass(frozen=True, slots=True)
class Run:
    """How a network is to be trained, apart from the recipe.

    Parameters
    ----------
    seed
        Draws weights, shuffles and dropout.
    seconds
        The time given to training; None for as long as the recipe says.
    balance
        See `thalweg.data.loader.Balance`.
    threshold
        See `thalweg.models.calibration`; None for its default.
    folder
        Where the plan and the checkpoint lie while training; None keeps none.
    resume
        Go on from the folder's checkpoint, where there is one.
    settings
        The verb's arguments, to be written down.
    every
        Seconds between checkpoints, at least; 0 for one after every step.
    """

    seed: int = 0
    seconds: float | None = None
    balance: str = "none"
    threshold: str | float | None = None
    folder: Path | None = None
    resume: bool = False
    settings: Mapping[str, Any] | None = None
    every: float = 5.0


def train(prepared: Prepared, recipe: Recipe, run: Run, progress: Progress) -> Model:
    """Train a model on prepared rows.

    Parameters
    ----------
    prepared
        The schema and the encoded parts.
    recipe
        The dials; its epochs are lowered to fit the time.
    run
        Seed, time, balance, where checkpoints lie.
    progress
        Told of every step.

    Returns
    -------
    Model
        Calibrated on the validation rows, not yet judged.

    Raises
    ------
    OptionError
        Where an option cannot be, or a run is resumed with others.
    """
    _check_options(prepared.schema.task, run)
    if run.balance == "focal" and not recipe.focusing:
        recipe = recipe.turned({"focusing": 2.0})
    settings = dict(run.settings or {})
    plan = _kept_plan(run, settings, prepared.fingerprint)
    if plan is not None:
        recipe = plan.recipe
    network = build_network(prepared, recipe, run.seed)
    prepared = _settled(network, prepared, progress)
    loop, stopping = build_loop(prepared, network, recipe, run, progress)
    if plan is None:
        if run.seconds is not None:
            fitted = fitting(recipe, loop.loader.steps, pace_of(loop), run.seconds)
            if fitted != recipe:
                progress.note(_fits(fitted, recipe))
                loop, stopping = build_loop(prepared, network, fitted, run, progress)
        if run.folder is not None:
            # The plan first: without one, no leftover of another run is ever gone on from.
            (run.folder / PLAN).unlink(missing_ok=True)
            shutil.rmtree(run.folder, ignore_errors=True)
            Plan(settings, prepared.fingerprint, loop.recipe).save(run.folder / PLAN)
    elif run.folder is not None:
        for callback in loop.callbacks:
            if isinstance(callback, Checkpoints) and callback.resume(loop):
                progress.note(_resumed(loop))
    began = time.monotonic()
    loop.fit()
    return _model(prepared, loop, stopping, run, time.monotonic() - began)


def _check_options(task: Task | None, run: Run) -> None:
    """Refuse to balance what has no classes, and to decide where there is nothing to decide."""
    # The focal loss asks for no classes: each label is there or not.
    classes = ("binary", "multiclass", *(["multilabel"] if run.balance == "focal" else []))
    if run.balance != "none" and task not in classes:
        what = {"regression": "a number", "anomaly": "none"}.get(task or "", "several labels a row")
        raise OptionError(
            f"the balance is {run.balance!r} and the target {what}",
            "a target of classes to balance",
            "Leave out --balance.",
        )
    if task == "anomaly":
        read_share(run.threshold)
    elif run.threshold is not None and task not in ("binary", "multilabel"):
        raise OptionError(
            f"the threshold is {run.threshold!r} and the target not of two classes",
            "a target of two classes, or of several labels a row, to decide between",
            "Leave out --threshold.",
        )


def _fits(fitted: Recipe, recipe: Recipe) -> str:
    """Say what fits into the time."""
    if fitted.share == recipe.share:
        return f"{fitted.epochs} epochs fit into the time; {recipe.epochs} would be the recipe's"
    passes, wanted = fitted.epochs * fitted.share, recipe.epochs * recipe.share
    return (
        f"{passes:.2g} passes over the rows fit into the time; {wanted:.2g} would be the recipe's"
    )


def _resumed(loop: Loop) -> str:
    """Say where a run goes on."""
    epochs = f"epoch {len(loop.epochs)} of {loop.recipe.epochs}"
    if loop.passing is None:
        return f"resumed after {epochs}"
    return f"resumed after {epochs} and {loop.passing.steps:,} of {loop.loader.steps:,} steps"


def _kept_plan(run: Run, settings: Mapping[str, Any], fingerprint: str) -> Plan | None:
    """Find the plan of a run that is to go on."""
    if not run.resume or run.folder is None or not (run.folder / PLAN).exists():
        return None
    plan = Plan.load(run.folder / PLAN)
    plan.check(settings, fingerprint)
    return plan


def build_network(prepared: Prepared, recipe: Recipe, seed: int) -> Network:
    """Build a network that has not learned yet, but has chosen what is chosen from the rows."""
    network = Network(prepared.schema, recipe, seed)
    network.prepare(prepared.train.arrays)
    return network


def _settled(network: Network, prepared: Prepared, progress: Progress) -> Prepared:
    """Do the work of a network's fixed parts once for each row that is held in memory."""
    if not network.settles or not isinstance(prepared.train.store, Held):
        return prepared
    found = [
        settled(network.eval(), part.arrays, progress)
        for part in (prepared.train, prepared.validation)
    ]
    train, validation = (
        replace(part, arrays=arrays, store=Held(arrays))
        for part, arrays in zip((prepared.train, prepared.validation), found, strict=True)
    )
    return replace(prepared, train=train, validation=validation)


def build_loop(
    prepared: Prepared, network: Network, recipe: Recipe, run: Run, progress: Progress
) -> tuple[Loop, EarlyStopping]:
    """Build the loop around a network that has not learned yet."""
    schema = prepared.schema
    fold = folds_of(prepared, run.seed)
    loader = _loader(prepared, recipe, run, fold)
    judged = _few(judged_rows(prepared, fold, recipe.members))
    balanced = run.balance != "none"
    judge = Judge(judged.arrays, schema.task, balanced=balanced)
    stopping = EarlyStopping(recipe.patience)
    callbacks: list[Callback] = [Averaging(recipe.averaging)] if recipe.averaging else []
    callbacks.append(stopping)
    if run.seconds is not None:
        callbacks.append(Deadline(run.seconds))
    callbacks.append(Showing(progress, judge.metric))
    if run.folder is not None:
        callbacks.append(Checkpoints(run.folder / CHECKPOINT, run.every))
    loop = Loop(
        network, recipe, loader, judged, judge, run.seed, callbacks, bfloat16=has_bfloat16()
    )
    return loop, stopping


def _loader(prepared: Prepared, recipe: Recipe, run: Run, fold: NDArray[np.int64] | None) -> Loader:
    """Load the training rows, balanced as asked, weighed by member where members hold rows out."""
    store, counts = prepared.train.store, prepared.train.counts
    if fold is not None:
        by_member = fold[:, None] != np.arange(recipe.members) % FOLDS
        store = Held(prepared.train.arrays.weighted(by_member.astype(np.float32)))
    return Loader(
        store,
        recipe.batch_size,
        run.seed,
        draw=None if counts is None else Draw.balanced(counts, run.balance),
        weights=class_weights(counts) if run.balance == "weights" and counts is not None else None,
        share=recipe.share,
    )


def folds_of(prepared: Prepared, seed: int) -> NDArray[np.int64] | None:
    """Give each training row's fold, int64 [N]; None where a validation part exists.

    Member m of the network holds out fold m (modulo `FOLDS`): it never learns from these rows.
    """
    if len(prepared.validation.arrays):
        return None
    arrays = prepared.train.arrays
    classes = classes_of(arrays) if prepared.schema.task in ("binary", "multiclass") else None
    return folds(prepared.train.groups, FOLDS, seed, classes)


def judged_rows(prepared: Prepared, fold: NDArray[np.int64] | None, members: int) -> Judged:
    """Give the rows that some members, or all, never learned from, and which these are.

    Of equal rows one is judged. They share a fold, so to the member that holds it out thousands
    of copies are one surprise, which must not outvote all others.
    """
    if fold is None:
        return Judged(prepared.validation.arrays)
    _, distinct = np.unique(prepared.train.hashes, return_index=True)
    rows = np.sort(distinct[fold[distinct] < members])
    judges = FOLDS * np.arange(max(1, members // FOLDS))
    return Judged(prepared.train.arrays.take(rows), fold[rows, None] + judges)


def _few(judged: Judged) -> Judged:
    """Keep as many rows as tell one epoch from another."""
    step = -(-len(judged.arrays) // MOST_JUDGED)
    if step <= 1:
        return judged
    rows = slice(None, None, step)
    return Judged(judged.arrays.take(rows), None if judged.held is None else judged.held[rows])


def learning_metric(task: Task | None) -> str:
    """Name what steers the training of a task: the leading metric on held-out rows."""
    return {"regression": "rmse", "anomaly": SURPRISE}.get(task or "", "log_loss")


@final
class Judge:
    """Says how good outputs on the validation rows are: the loss and a leading metric.

    Parameters
    ----------
    validation
        The encoded rows.
    task
        What is predicted.
    balanced
        Whether the training rows were balanced. Then the shares of the classes are put right
        before the loss is taken, as calibration does in the end: else learning would look like
        a disaster, for it leads away from the true shares.
    """

    def __init__(
        self,
        validation: Arrays,
        task: Task | None,
        *,
        balanced: bool = False,
    ) -> None:
        self._balanced = balanced
        self._labels = task == "multilabel"
        self.metric = learning_metric(task)
        self._truth = np.zeros(0)
        if task == "anomaly":
            return
        field = {"regression": "value", "multilabel": "labels"}.get(task or "", "code")
        self._truth = validation.target[field][:, 0]

    def __call__(self, outputs: Outputs) -> tuple[float, float]:
        """Give the mean squared error and its root, or the log loss or the surprise twice."""
        answers = outputs.answers.astype(np.float64)
        if self.metric == SURPRISE:
            loss = float(unlikely(answers).mean())
            return loss, loss
        if self.metric == "rmse":
            loss = float(np.mean((answers[:, 0] - self._truth) ** 2))
            return loss, loss**0.5
        if self._labels:
            likely = np.where(self._truth == 1, answers, 1 - answers)
            loss = float(-np.log(np.clip(likely, 1e-12, None)).mean())
            return loss, loss
        if self._balanced:
            temperature, bias = fit_scaling(answers, self._truth, bias=True)
            answers = Calibration(temperature=temperature, bias=bias).probabilities(answers)
        chosen = answers[np.arange(len(answers)), self._truth]
        loss = float(-np.log(np.clip(chosen, 1e-12, None)).mean())
        return loss, loss


def has_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 natively; elsewhere it would be slower."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False


def _model(
    prepared: Prepared, loop: Loop, stopping: EarlyStopping, run: Run, seconds: float
) -> Model:
    """Calibrate and put together."""
    loop.network.eval()
    fold = folds_of(prepared, run.seed)
    judged = judged_rows(prepared, fold, loop.recipe.members)
    outputs = forward_all(loop.network, judged.arrays, judged.held)
    task = prepared.schema.task
    if task is None:
        raise AssertionError
    shown = loop.loader.batch_size * loop.steps_done
    training = Training(
        seed=run.seed,
        settings=dict(run.settings or {}),
        epochs=loop.epochs,
        best_epoch=stopping.best_epoch,
        stopped=loop.stopped,
        metric=learning_metric(task),
        parameters=sum(parameter.numel() for parameter in loop.network.parameters()),
        passes=shown / prepared.train.rows,
        rows_per_second=shown / max(1e-9, loop.seconds),
        seconds=seconds,
        versions=versions(),
    )
    rows = Rows(
        train=prepared.train.rows,
        validation=prepared.validation.rows,
        test=prepared.test.rows,
        dropped=prepared.dropped,
        rejected=len(prepared.rejects),
    )
    return Model(
        prepared.schema,
        loop.network,
        loop.recipe,
        _calibrate(task, outputs, judged, run),
        training,
        rows,
        prepared.fingerprint,
        reference=Reference.of(prepared.summary, prepared.schema.names),
    )


def _calibrate(task: Task, outputs: Outputs, judged: Judged, run: Run) -> Calibration:
    """Learn on the judged rows what makes the answers honest."""
    if task == "anomaly":
        found = surprises(outputs.answers)
        return Calibration.fit(task, found, np.zeros(0), threshold=read_share(run.threshold))
    if task == "regression":
        truth = judged.arrays.target["value"][:, 0]
        # A member that holds rows out tells nothing of how far all members are apart there.
        spread = outputs.spread if judged.held is None else None
        return Calibration.fit(task, outputs.answers, truth, spread=spread)
    threshold = "f1" if run.threshold is None else run.threshold
    if task == "multilabel":
        labels = judged.arrays.target["labels"][:, 0]
        return Calibration.fit(task, outputs.answers, labels, threshold=threshold)
    bias = run.balance in ("weights", "oversample", "undersample", "focal")
    truth = classes_of(judged.arrays)
    return Calibration.fit(task, outputs.answers, truth, threshold=threshold, bias=bias)


def versions() -> dict[str, str]:
    """Name the versions that a run depends on."""
    names = ("torch", "numpy", "pyarrow", "polars", "thalweg")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
