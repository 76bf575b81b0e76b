"""The contract of a kind: everything Thalweg knows about one kind of column, in one file.

A kind has a data half (`sniff`, `fit`, `encode`, `decode`), which never loads torch, and a
network half (`encoder`, `head`), which imports torch inside the method. A kind works on *all*
of its columns at once: a hundred little tensors and a hundred little modules are slow.

Cleaning is part of the kind and is fitted like the rest. What `fit` learns is a state: frozen,
plain data that survives JSON. `encode` is a pure function of values and states, one row at a
time or a million, with equal bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    runtime_checkable,
)

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from thalweg.stats import ColumnSummary

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Task = Literal["regression", "binary", "multiclass"]
Role = Literal["feature", "target"]


class State(BaseModel):
    """What a kind has learned about one column. Plain data: JSON in, JSON out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Options(BaseModel):
    """What a user may say about one column of a kind (``--column age=number,missing=mean``)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


StateT = TypeVar("StateT", bound=State)
OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True)
class Encoded:
    """All columns of one kind as compact arrays.

    Parameters
    ----------
    fields
        Arrays by name. The first axis is rows (N), the second the kind's columns (C).
        Floating fields are float32 and finite.
    dropped
        Bool [N]: rows that a cleaning option (``missing=drop``, ``outliers=drop``) sets aside.
    unreadable
        Bool [N, C]: cells that are there but cannot be read as this kind; encoded as missing.
    """

    fields: Mapping[str, NDArray[Any]]
    dropped: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LossOptions:
    """How the loss of a class target is bent. Regression ignores it.

    Parameters
    ----------
    smoothing
        Share of each label spread evenly over all classes (Szegedy et al. 2016). Default 0.
    focusing
        The exponent gamma of the focal loss (Lin et al. 2017): 0 is the plain log loss.
    """

    smoothing: float = 0.0
    focusing: float = 0.0


class Kind(ABC, Generic[StateT, OptionsT]):
    """One kind of column. Stateless: what is learned lives in states.

    Attributes
    ----------
    name
        The word users write: ``--column zip=category``.
    description
        One sentence for people.
    state_type, options_type
        The kind's own `State` and `Options`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    state_type: type[StateT]
    options_type: type[OptionsT]

    @abstractmethod
    def sniff(self, summary: ColumnSummary) -> float:
        """Say how well a column fits this kind.

        Returns
        -------
        float
            0 (cannot be) to 1 (certainly is); the kind with the highest score is taken.
        """

    @abstractmethod
    def fit(self, summary: ColumnSummary, options: OptionsT, role: Role) -> StateT:
        """Learn a column: a pure function of its summary.

        Parameters
        ----------
        summary
            The column's statistics over the training rows.
        options
            What the user said about the column.
        role
            Whether the column is read (``feature``) or predicted (``target``).

        Raises
        ------
        TargetError
            Where the role is ``target`` and nothing can be learned (all missing, one class only).
        ColumnError
            Where the column cannot be of this kind at all.
        """

    @abstractmethod
    def encode(self, arrays: Sequence[pa.Array], states: Sequence[StateT]) -> Encoded:
        """Clean and encode all columns of this kind.

        Parameters
        ----------
        arrays
            One Arrow array [N] for each state, of whatever type the source gave.
        states
            The fitted columns, in the same order, one or more; a target stands alone.

        Returns
        -------
        Encoded
            Compact arrays. The same cell gives the same bits whatever stands around it. A
            target's field is ``value`` (float32 [N, 1], standardised) or ``code`` (int64 [N, 1],
            from 0); rows without a target are ``dropped``, and what their field says is nothing.

        Raises
        ------
        ColumnError
            Where an array's Arrow type can never be this kind (a list for a number).
        """

    @abstractmethod
    def decode(
        self, outputs: NDArray[np.floating[Any]], state: StateT, threshold: float | None = None
    ) -> dict[str, pa.Array]:
        """Turn a head's combined outputs [N, outputs] into Arrow columns in the user's own terms.

        Parameters
        ----------
        outputs
            What the head gave.
        state
            The fitted target.
        threshold
            With two classes: the probability from which the second is predicted. None: the
            likelier class is.

        Returns
        -------
        dict
            ``prediction`` first, then what else the kind says (``probability_<class>``).
        """

    @abstractmethod
    def restore(self, encoded: Encoded, column: int, state: StateT) -> pa.Array:
        """Give back one column's cleaned values [N] from its encoding, to the kind's tolerance."""

    def task(self, state: StateT) -> Task | None:
        """Name the task of predicting such a column; None where the kind is input only."""
        return None

    @abstractmethod
    def encoder(self, states: Sequence[StateT], width: int, pairs: int = 0) -> nn.Module:
        """Build the module that embeds all columns of this kind.

        Parameters
        ----------
        states
            The fitted columns.
        width
            The size of each embedding.
        pairs
            How many pairs of columns may be looked at together; a kind may know no such thing.

        Returns
        -------
        torch.nn.Module
            Takes this kind's fields as tensors (``forward(fields: Mapping[str, Tensor])``),
            gives float32 [N, tokens, width], and says how many ``tokens``: as a rule one for each
            column.
        """

    def head(self, state: StateT, options: LossOptions) -> Head | None:
        """Build what turns outputs into losses and answers; None where the kind is input only."""
        return None

    @abstractmethod
    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make a column [rows] of this kind, with missing and odd values, for tests and demos."""


@runtime_checkable
class Prepares(Protocol):
    """An encoder that chooses something from training rows, once, before the first step."""

    def prepare(self, fields: Mapping[str, NDArray[Any]], target: NDArray[np.float64]) -> None:
        """Choose, and keep the choice in a buffer, so that it is saved with the weights.

        Parameters
        ----------
        fields
            The kind's fields [N, ...] of training rows.
        target
            float64 [N, columns]: a standardised number, or classes as 0 and 1.
        """


class Head(ABC):
    """What the network's last numbers mean. Holds no weights: the network owns the last layer.

    The network has k members, each with outputs of its own; a head says how wrong each member
    is and what they say together.
    """

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers each member gives for a row."""

    @abstractmethod
    def start(self) -> torch.Tensor:
        """Give the bias [outputs] that the last layer starts from: the best constant answer."""

    @abstractmethod
    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give the loss of each member on each row.

        Parameters
        ----------
        outputs
            float32 [members, N, outputs].
        target
            The target's encoded fields, each [N, 1] or [members, N, 1] (every member its own
            rows). Class targets may bring ``probabilities`` (float32 [..., N, classes]: soft
            labels) instead of ``code``.

        Returns
        -------
        torch.Tensor
            float32 [members, N].
        """

    @abstractmethod
    def combine(self, outputs: Tensor) -> Tensor:
        """Join the members: [members, N, outputs] to [N, answers] (probabilities, means)."""
