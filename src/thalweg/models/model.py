"""The model: a schema, a network and the record of how it came to be. Owns the only `predict`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from thalweg.core.errors import ArtifactError
from thalweg.data.arrays import Arrays
from thalweg.data.schema import Schema
from thalweg.kinds.base import Task
from thalweg.models import artifact
from thalweg.models.calibration import Calibration
from thalweg.models.decoder import Answers, Decoder, Prediction, unreadable_cells
from thalweg.models.network import Network, embed_all, forward_all
from thalweg.models.recipe import Recipe
from thalweg.models.record import Evaluation, Rows, Training
from thalweg.stats.drift.reference import Reference

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
        self.decoder = Decoder(schema, calibration)
        self.training = training
        self.rows = rows
        self.fingerprint = fingerprint
        self.evaluation = evaluation
        self.seconds = seconds
        self.path = path
        self.reference = reference
        self._identity: str | None = None

    @property
    def task(self) -> Task:
        """Regression, binary, multiclass or multilabel; without a target, anomaly."""
        return self.decoder.task

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of the probabilities; empty for regression."""
        return self.decoder.classes

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
        cells = unreadable_cells(self.schema, encoded)
        return self.decoder.prediction(answers, encoded.dropped, cells, encoded.refused)

    def embedded(self, rows: pa.RecordBatch | pa.Table) -> NDArray[np.float32]:
        """Give what the network makes of raw rows [N] before it answers, float32 [N, D]."""
        return embed_all(self.network, Arrays(self.schema.encode(rows).fields))

    def answers(self, arrays: Arrays) -> Answers:
        """Answer for encoded rows [N] in numbers."""
        return self.decoder.calibrated(forward_all(self.network, arrays))

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
        artifact.save(
            artifact.Artifact(self._description(), self._weights(), dict(texts or {})), folder
        )
        self.path = folder
        self._identity = None

    @property
    def identity(self) -> str:
        """12 hexadecimal digits that stand for the model; see `thalweg.models.artifact.identity`.

        Those of a model that was loaded are its folder's, whichever version wrote that.
        """
        if self._identity is None:
            weights = hashlib.sha256(self._weights()).hexdigest()
            self._identity = artifact.identity(self._description(), weights)
        return self._identity

    def _description(self) -> dict[str, Any]:
        """Give everything but the weights as plain data."""
        return {
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

    def _weights(self) -> bytes:
        """Give the network's weights as a file's content."""
        tensors = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        content: bytes = save_tensors(tensors)
        return content

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
            model = cls(
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
            model._identity = artifact.identity(facts)
        except _UNFIT as error:
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise ArtifactError(
                f"{folder} is no model that this version can read ({first})",
                "a model saved by this version of Thalweg",
                "Use the version that saved it, or train again.",
            ) from None
        return model


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
