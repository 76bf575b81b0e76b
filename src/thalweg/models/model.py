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
from thalweg.kinds import KINDS
from thalweg.kinds.base import Kind, Task
from thalweg.models import artifact
from thalweg.models.calibration import Calibration
from thalweg.models.network import Network, Outputs, forward_all
from thalweg.models.recipe import Recipe
from thalweg.models.record import Evaluation, Rows, Training

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
        float64 [N] in the target's own units (regression) or calibrated probabilities
        [N, classes].
    low, high
        float64 [N]: the bounds of the 90% conformal interval; None for classes.
    """

    prediction: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of some rows, as columns.

    Parameters
    ----------
    columns
        ``prediction`` first, then ``prediction_low`` and ``prediction_high`` or
        ``probability_<class>``; null where ``dropped``.
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

    @property
    def task(self) -> Task:
        """Regression, binary, multiclass or multilabel."""
        task = self.schema.task
        if task is None:
            raise AssertionError
        return task

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of the probabilities; empty for regression."""
        if self.task == "regression":
            return []
        nobody = np.zeros((0, self.network.head.outputs), dtype=np.float32)
        prefix = "probability_"
        columns = self._kind.decode(nobody, self._target.state)
        return [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]

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
            self._unreadable(encoded.encoded),
            encoded.refused,
        )

    def answers(self, arrays: Arrays) -> Answers:
        """Answer for encoded rows [N] in numbers."""
        return self.calibrated(forward_all(self.network, arrays))

    def calibrated(self, outputs: Outputs) -> Answers:
        """Turn a network's outputs [N] into probabilities, or numbers with intervals."""
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
        threshold = self.calibration.threshold
        return self._kind.decode(answers.prediction, self._target.state, threshold)

    def _unreadable(self, encoded: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]]:
        """Name the columns with cells that could not be read."""
        found = {}
        for kind, columns in self.schema.by_kind().items():
            cells = encoded[kind].unreadable
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
            evaluation = facts["evaluation"]
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
