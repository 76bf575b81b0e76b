"""The model: a schema, a network and the record of how it came to be. Owns the only `predict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from thalweg.core.errors import ArtifactError
from thalweg.data.arrays import Arrays
from thalweg.data.schema import Column, Schema
from thalweg.data.schema import Rows as EncodedRows
from thalweg.kinds import KINDS
from thalweg.kinds.base import Kind, Task
from thalweg.models import artifact
from thalweg.models.calibration import Calibration
from thalweg.models.density import foretold, surprises
from thalweg.models.network import Network, Outputs, embed_all, forward_all
from thalweg.models.recipe import Recipe
from thalweg.models.record import Evaluation, Rows, Training
from thalweg.stats.drift.reference import Reference

NORMAL: Final = "normal"
ANOMALY: Final = "anomaly"

FLAT: Final = frozenset(("number", "category", "boolean", "datetime", "vector"))
"""Kinds whose cells are numbers, or values out of a list, as they come."""

# What a description that is whole but not ours may end in. It is a stranger's until it is read.
_UNFIT: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)


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
class Model:
    """A trained model. Equal in batch, behind HTTP and on a stream: they all call `predict`.

    Parameters
    ----------
    schema
        The fitted columns.
    network
        The trained network.
    recipe
        The dials that it was built with.
    calibration
        What turns the network's answers into honest probabilities and intervals.
    training, rows
        How it came to be.
    fingerprint
        Of the source that it was trained on; see `thalweg.data.prepare.Prepared`.
    evaluation
        How well it does on rows it never saw; None before it was judged.
    seconds
        How long everything took: reading, training, judging, the rivals.
    path
        Where it is saved; None for nowhere.
    reference
        What the columns looked like in the training rows: what drift is told by; None in models
        of older versions.
    """

    def __init__(
        self,
        schema: Schema,
        network: Network,
        recipe: Recipe,
        calibration: Calibration,
        training: Training,
        rows: Rows,
        fingerprint: str,
        evaluation: Evaluation | None = None,
        seconds: float = 0.0,
        path: Path | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.schema = schema
        self.network = network.eval()
        self.recipe = recipe
        self.calibration = calibration
        self.training = training
        self.rows = rows
        self.fingerprint = fingerprint
        self.evaluation = evaluation
        self.seconds = seconds
        self.path = path
        self.reference = reference

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
        nobody = np.zeros((0, self.network.head.outputs), dtype=np.float32)
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

    def predict(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Prediction:
        """Predict rows: one or a million, with the same answer for the same row.

        Parameters
        ----------
        rows
            Raw rows [N] as they come from a source, with every column that the model reads.
        folder
            Where files that cells name are read from; None: none is, and rows that name one are
            refused.

        Returns
        -------
        Prediction
            One row of columns for each row given, in order.

        Raises
        ------
        ColumnError
            Where a column is missing or its type can never be of its kind.
        """
        encoded = self.schema.encode(rows, folder)
        answers = self.answers(Arrays(encoded.fields))
        columns = self._columns(answers)
        if encoded.dropped.any():
            mask = pa.array(encoded.dropped)
            columns = {
                name: pc.if_else(mask, pa.scalar(None, array.type), array)
                for name, array in columns.items()
            }
        return Prediction(
            pa.RecordBatch.from_pydict(columns),
            encoded.dropped,
            self.unreadable(encoded),
            encoded.refused,
        )

    @property
    def wide(self) -> bool:
        """Whether it reads more than flat values: then what it makes of rows is worth a look."""
        return any(kind not in FLAT for kind in self.schema.by_kind())

    def embedded(self, rows: pa.RecordBatch | pa.Table) -> NDArray[np.float32]:
        """Give what the network makes of raw rows [N] before it answers, float32 [N, D]."""
        return embed_all(self.network, Arrays(self.schema.encode(rows).fields))

    def answers(self, arrays: Arrays) -> Answers:
        """Answer for encoded rows [N] in numbers."""
        return self.calibrated(forward_all(self.network, arrays))

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

    def _columns(self, answers: Answers) -> dict[str, pa.Array]:
        """Put answers into the user's own terms."""
        if self.task == "regression":
            columns = {"prediction": pa.array(answers.prediction)}
            if answers.low is not None and answers.high is not None:
                columns["prediction_low"] = pa.array(answers.low)
                columns["prediction_high"] = pa.array(answers.high)
            return columns
        if self.task == "anomaly":
            return self._odd(answers)
        threshold = self.calibration.threshold
        return self._kind.decode(answers.prediction, self._target.state, threshold)

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

    def unreadable(self, encoded: EncodedRows) -> dict[str, NDArray[np.bool_]]:
        """Name the columns with cells [N] that could not be read."""
        found = {}
        for kind, columns in self.schema.by_kind().items():
            cells = encoded.encoded[kind].unreadable
            if not cells.any():
                continue
            for index, column in enumerate(columns):
                if cells[:, index].any():
                    found[column.name] = cells[:, index]
        return found

    def save(self, folder: Path, texts: Mapping[str, str] | None = None) -> None:
        """Write the model's folder, whole or not at all.

        Parameters
        ----------
        folder
            Where to; what was there is replaced at the end.
        texts
            Further files by name: the card and the report. Without a card, ``thalweg show`` writes
            one from the record.
        """
        description = {
            "task": self.task,
            "schema": self.schema.to_json(),
            "recipe": self.recipe.model_dump(mode="json"),
            "calibration": self.calibration.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "rows": self.rows.model_dump(mode="json"),
            "fingerprint": self.fingerprint,
            "reference": None if self.reference is None else self.reference.model_dump(mode="json"),
            "seconds": self.seconds,
            "evaluation": None
            if self.evaluation is None
            # What mistakes look like is for the report: a model is no place for others' pictures.
            else self.evaluation.model_dump(mode="json", exclude={"mistakes"}),
        }
        tensors = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        artifact.save(
            artifact.Artifact(description, save_tensors(tensors), dict(texts or {})), folder
        )
        self.path = folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model's folder; nothing in it can run code.

        Raises
        ------
        ArtifactError
            Where it is damaged, foreign or of another version.
        """
        found = artifact.load(folder)
        facts = found.description
        try:
            schema = Schema.from_json(facts["schema"])
            recipe = Recipe.model_validate(facts["recipe"])
            tensors = load_tensors(found.weights)
            _require_shapes(schema, recipe, tensors)
            network = Network(schema, recipe)
            network.load_state_dict(tensors)
            evaluation, reference = facts["evaluation"], facts.get("reference")
            return cls(
                schema,
                network,
                recipe,
                Calibration.model_validate(facts["calibration"]),
                Training.model_validate(facts["training"]),
                Rows.model_validate(facts["rows"]),
                facts["fingerprint"],
                None if evaluation is None else Evaluation.model_validate(evaluation),
                facts["seconds"],
                folder,
                None if reference is None else Reference.model_validate(reference),
            )
        except _UNFIT as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise ArtifactError(
                f"{folder} is no model that this version can read ({first})",
                "a model saved by this version of Thalweg",
                "Use the version that saved it, or train again.",
            ) from None


def _require_shapes(schema: Schema, recipe: Recipe, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights of another network before one is built.

    A description is a few bytes and may ask for a network of any size: on the meta device it has
    shapes and takes no memory, so that what is built at last is no larger than the weights.
    """
    with torch.device("meta"):
        wanted = {name: one.shape for name, one in Network(schema, recipe).state_dict().items()}
    given = {name: one.shape for name, one in tensors.items()}
    for name in [*wanted, *given]:
        if wanted.get(name) != given.get(name):
            message = f"the weights {name!r} are not those of the network that it describes"
            raise ValueError(message)
