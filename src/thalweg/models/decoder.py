"""What a network's outputs mean: calibrated answers, in the user's own terms. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.data.schema import Column, Schema
from thalweg.data.schema import Rows as EncodedRows
from thalweg.kinds import KINDS
from thalweg.kinds.base import Kind, LossOptions, Task
from thalweg.kinds.classes import decide
from thalweg.models.calibration import Calibration

NORMAL: Final = "normal"
ANOMALY: Final = "anomaly"


@final
@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says of some rows.

    Parameters
    ----------
    answers
        float32 [N, answers]: the members' joint answer in the head's terms (a standardised
        number, class probabilities).
    spread
        float32 [N]: the standard deviation of the members' raw outputs.
    """

    answers: NDArray[np.float32]
    spread: NDArray[np.float32]


@final
@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of some rows, in numbers.

    Parameters
    ----------
    prediction
        float64 [N] in the target's own units (regression), calibrated probabilities
        [N, classes], or, without a target, scores [N]: the higher, the odder.
    low, high
        float64 [N]: the bounds of the 90% conformal interval; None for classes.
    surprise
        Without a target: float64 [N, columns], what each column adds to a row's score, which
        ``prediction`` is; the columns are those of `Model.foretold`.
    """

    prediction: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    surprise: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of some rows, as columns.

    Parameters
    ----------
    columns
        ``prediction`` first, then ``prediction_low`` and ``prediction_high`` or
        ``probability_<class>``; without a target ``anomaly_score``, ``anomaly_probability`` and
        ``because``; null where ``dropped``.
    dropped
        Bool [N]: rows that a cleaning option sets aside.
    unreadable
        Column name -> bool [N]: cells that were there but could not be read, taken as missing.
        Only columns that have some.
    refused
        Why rows are ``dropped`` whose cells are damaged or not to be trusted -> bool [N].
    """

    columns: pa.RecordBatch
    dropped: NDArray[np.bool_]
    unreadable: Mapping[str, NDArray[np.bool_]]
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@final
class Decoder:
    """Turns what a network says of rows into answers, and these into columns.

    Whatever ran the network, answers are made here: there is one `predict`.

    Parameters
    ----------
    schema
        The fitted columns.
    calibration
        What turns the network's answers into honest probabilities and intervals.
    """

    def __init__(self, schema: Schema, calibration: Calibration) -> None:
        self.schema = schema
        self.calibration = calibration

    @property
    def task(self) -> Task:
        """Regression, binary, multiclass or multilabel; without a target, anomaly."""
        task = self.schema.task
        if task is None:
            raise AssertionError
        return task

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of the probabilities; empty for regression."""
        if self.task == "regression":
            return []
        if self.task == "anomaly":
            return [NORMAL, ANOMALY]
        head = self._kind.head(self._target.state, LossOptions())
        if head is None:
            raise AssertionError
        nobody = np.zeros((0, head.outputs), dtype=np.float32)
        prefix = "probability_"
        columns = self._kind.decode(nobody, self._target.state)
        return [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]

    @property
    def foretold(self) -> list[str]:
        """Without a target: the columns that a row's score is made of."""
        return [] if self.schema.target else foretold(self.schema)

    @property
    def _target(self) -> Column:
        if self.schema.target is None:
            raise AssertionError
        return self.schema.target

    @property
    def _kind(self) -> Kind[Any, Any]:
        return KINDS[self._target.kind]

    def calibrated(self, outputs: Outputs) -> Answers:
        """Turn a network's outputs [N] into probabilities, or numbers with intervals."""
        if self.task == "anomaly":
            surprise = surprises(outputs.answers) - np.array(self.calibration.usual)
            return Answers(surprise.sum(axis=1), surprise=surprise)
        if self.task != "regression":
            return Answers(self.calibration.probabilities(outputs.answers))
        bounds = self.calibration.interval(outputs.answers, outputs.spread)
        prediction = self._number(outputs.answers[:, 0])
        if bounds is None:
            return Answers(prediction)
        return Answers(prediction, self._number(bounds[0]), self._number(bounds[1]))

    def _number(self, standardised: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Put a head's numbers [N] into the target's own units."""
        outputs = standardised.astype(np.float32)[:, None]
        column = self._kind.decode(outputs, self._target.state)["prediction"]
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def columns(self, answers: Answers) -> dict[str, pa.Array]:
        """Put answers into the user's own terms."""
        if self.task == "regression":
            columns = {"prediction": pa.array(answers.prediction, pa.float64())}
            if answers.low is not None and answers.high is not None:
                columns["prediction_low"] = pa.array(answers.low, pa.float64())
                columns["prediction_high"] = pa.array(answers.high, pa.float64())
            return columns
        if self.task == "anomaly":
            return self._odd(answers)
        threshold = self.calibration.threshold
        return self._kind.decode(answers.prediction, self._target.state, threshold)

    def rows(self, answers: Answers) -> list[dict[str, Any]]:
        """Give what `columns` says as plain rows [N]: for a few rows in a fraction of its time."""
        if self.task in {"binary", "multiclass"}:
            names, values = self._spelt
            chosen = decide(answers.prediction, self.calibration.threshold).tolist()
            shares = answers.prediction.tolist()
            return [
                dict(zip(names, (values[code], *row), strict=True))
                for code, row in zip(chosen, shares, strict=True)
            ]
        columns = self.columns(answers)
        cells = [array.to_pylist() for array in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]

    @cached_property
    def _spelt(self) -> tuple[list[str], list[Any]]:
        """The columns' names, and the classes as the user knows them."""
        sure = np.eye(len(self.classes))
        columns = self._kind.decode(sure, self._target.state)
        return [*columns], columns["prediction"].to_pylist()

    def odd(self, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which scores [N] are an anomaly's."""
        threshold = self.calibration.threshold
        if self.calibration.tail is None or not isinstance(threshold, float):
            raise AssertionError
        return self.calibration.tail.probability(scores) <= threshold

    def _odd(self, answers: Answers) -> dict[str, pa.Array]:
        """Say how odd rows are, and which column is oddest about each."""
        if self.calibration.tail is None or answers.surprise is None:
            raise AssertionError
        words = pa.array([NORMAL, ANOMALY])
        called = self.odd(answers.prediction).astype(np.int8)
        oddest = answers.surprise.argmax(axis=1)
        return {
            "prediction": words.take(pa.array(called)),
            "anomaly_score": pa.array(answers.prediction),
            "anomaly_probability": pa.array(self.calibration.tail.probability(answers.prediction)),
            "because": pa.array(self.foretold).take(pa.array(oddest)),
        }

    def prediction(
        self,
        answers: Answers,
        dropped: NDArray[np.bool_],
        unreadable: Mapping[str, NDArray[np.bool_]],
        refused: Mapping[str, NDArray[np.bool_]],
    ) -> Prediction:
        """Say of rows [N] what is answered, and which of them have no answer; see `Prediction`."""
        columns = self.columns(answers)
        if dropped.any():
            mask = pa.array(dropped)
            columns = {
                name: pc.if_else(mask, pa.scalar(None, array.type), array)
                for name, array in columns.items()
            }
        return Prediction(pa.RecordBatch.from_pydict(columns), dropped, unreadable, refused)


def unreadable_cells(schema: Schema, encoded: EncodedRows) -> dict[str, NDArray[np.bool_]]:
    """Name the columns with cells [N] that could not be read."""
    found = {}
    for kind, columns in schema.by_kind().items():
        cells = encoded.encoded[kind].unreadable
        if not cells.any():
            continue
        for index, column in enumerate(columns):
            if cells[:, index].any():
                found[column.name] = cells[:, index]
    return found


def foretold(schema: Schema) -> list[str]:
    """Name the columns whose cells can be likely or not, in the order of a density's outputs.

    Others (texts, pictures, sounds, sets, vectors) are known to all columns and not foretold.
    """
    return [
        column.name
        for kind, columns in schema.by_kind().items()
        if KINDS[kind].foretells
        for column in columns
    ]


def unlikely(answers: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give how unlikely rows are in nats [N], of the head's answers [N, 2 columns]."""
    found: NDArray[np.float64] = answers[:, : answers.shape[1] // 2].sum(axis=1, dtype=np.float64)
    return found


def surprises(answers: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give the surprise of each column in nats, float64 [N, columns].

    Parameters
    ----------
    answers
        The head's, [N, 2 columns].
    """
    given, alone = np.split(answers.astype(np.float64), 2, axis=1)
    return (given + alone) / 2
