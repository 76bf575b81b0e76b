"""A compiled model: one ONNX graph from raw cells to calibrated answers, run without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data.schema import Schema
from thalweg.models.decoder import Answers, Decoder, Prediction

Inputs = Mapping[str, NDArray[Any]]
"""The graph's inputs by name, [N, ...] each."""


@final
@dataclass(frozen=True, slots=True)
class Feed:
    """Rows as the graph reads them.

    Parameters
    ----------
    inputs
        See `Inputs`.
    rows
        How many, N.
    dropped
        Bool [N]: rows that are set aside before the graph sees them.
    unreadable
        Column name -> bool [N]: cells that were there but could not be read; only columns that
        have some.
    refused
        Why rows are ``dropped`` whose cells are damaged or not to be trusted -> bool [N].
    """

    inputs: Inputs
    rows: int
    dropped: NDArray[np.bool_]
    unreadable: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What the graph says of rows [N].

    Parameters
    ----------
    answers
        Calibrated, in the target's own units.
    dropped
        Bool [N]: rows that a cleaning option sets aside.
    """

    answers: Answers
    dropped: NDArray[np.bool_]


@final
class CompiledModel:
    """A model that answers without torch.

    Attributes
    ----------
    schema, decoder
        As the model's own.
    identity
        12 hexadecimal digits that stand for the model: weights and description.
    precision
        ``float32``, ``float16`` or ``int8``.
    """

    schema: Schema
    decoder: Decoder
    identity: str
    precision: str

    @classmethod
    def load(cls, folder: Path, precision: str = "float32", threads: int = 1) -> Self:
        """Read the compiled graph out of a model's folder."""
        raise NotImplementedError

    @property
    def columns(self) -> list[str]:
        """The names of the columns that rows should have."""
        return self.schema.names

    def feed(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Feed:
        """Read rows of any form, with all care."""
        raise NotImplementedError

    def quick(self, rows: Sequence[Mapping[str, object]]) -> Feed | None:
        """Read plain JSON rows; None where a cell needs the care of `feed`."""
        raise NotImplementedError

    def run(self, inputs: Inputs) -> Run:
        """Answer for rows [N] in numbers."""
        raise NotImplementedError

    def predict(self, rows: pa.RecordBatch | pa.Table, folder: Path | None = None) -> Prediction:
        """Predict rows, as `thalweg.models.model.Model.predict` does."""
        raise NotImplementedError
