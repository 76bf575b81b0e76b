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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

    from thalweg.kinds.graph import Graph

Task = Literal["regression", "binary", "multiclass", "multilabel", "anomaly"]
Role = Literal["feature", "target"]
Holds = Literal["bytes", "lists"]
Threshold = float | Sequence[float] | None
"""From which probability on a class is chosen; for several labels a row, one for each label."""

RawCell = float | str
"""A cell as a compiled model reads it."""


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
    refused
        Reason, in words -> Bool [N, C]: cells that are damaged or not to be trusted (a broken
        picture, a path that leads elsewhere). Their rows are ``dropped`` and written down with the
        reason.
    """

    fields: Mapping[str, NDArray[Any]]
    dropped: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]
    refused: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raw:
    """Cells of one kind, read but not cleaned: what a compiled model takes.

    Parameters
    ----------
    values
        float64 [N, C], NaN where missing; or objects [N, C], text, empty where missing.
    unreadable
        As `Encoded.unreadable`.
    """

    values: NDArray[Any]
    unreadable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Written:
    """What nodes of an ONNX graph make of raw cells.

    Parameters
    ----------
    fields
        Field -> the tensor of it: `Encoded.fields` to the bit; whatever is not floating is int64.
    dropped
        The tensor of `Encoded.dropped`; empty where no row is ever dropped.
    """

    fields: Mapping[str, str]
    dropped: str = ""


@dataclass(frozen=True, slots=True)
class Design:
    """Encoded rows in the form that textbook models read.

    Parameters
    ----------
    numbers
        float32 [N, P]; NaN where missing.
    codes
        int32 [N, Q]: values of a list.
    texts
        For each column of text, large_string [N]; missing ones are empty.
    """

    numbers: NDArray[np.float32]
    codes: NDArray[np.int32]
    texts: tuple[pa.Array, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[Any]) -> Design:
        """Choose rows by index or mask."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Design(
            self.numbers[index],
            self.codes[index],
            tuple(text.take(pa.array(index)) for text in self.texts),
        )


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
    holds
        What a cell may hold beside one flat value: ``bytes``, ``lists``.
    attaches
        Whether a text may name a file that holds the cell; its bytes are read before `encode`.
    grouped
        Whether rows with the same cell are a group worth looking at.
    packages
        What must be installed to encode such columns; ``pip install 'thalweg[NAME]'`` brings it.
    foretells
        Whether `choices` says how likely a cell is; its encoder then gives a token for each column.
    compiles
        Whether `raw`, `reader` and `graph` say how a model without torch reads and encodes cells.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    holds: ClassVar[frozenset[Holds]] = frozenset()
    attaches: ClassVar[bool] = False
    grouped: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    foretells: ClassVar[bool] = False
    compiles: ClassVar[bool] = False
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
        self, outputs: NDArray[np.floating[Any]], state: StateT, threshold: Threshold = None
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
            likelier class is. With several labels a row: one for each label; None: 0.5.

        Returns
        -------
        dict
            ``prediction`` first, then what else the kind says (``probability_<class>``).
        """

    @abstractmethod
    def restore(self, encoded: Encoded, column: int, state: StateT) -> pa.Array:
        """Give back one column's cleaned values [N] from its encoding, to the kind's tolerance.

        Pictures and sounds come back as files, PNG and WAV, of what the network sees and hears.
        """

    def design(self, fields: Mapping[str, NDArray[Any]], states: Sequence[StateT]) -> Design:
        """Show encoded columns as textbook models read them.

        Parameters
        ----------
        fields
            What `encode` gave, [N, C] or [N, C, ...]. Floating fields are numbers, signed integers
            are codes. A field ``missing`` says which cells of the floating fields are missing;
            other bool and uint8 fields are flags, and count as numbers. Wider unsigned integers
            say a number once more in another form (which spike it is), and are left out.
        states
            The fitted columns.
        """
        del states
        rows = next(len(array) for array in fields.values())
        numbers = [np.empty((rows, 0), np.float32)]
        codes = [np.empty((rows, 0), np.int32)]
        missing = fields.get("missing")
        floating = any(np.issubdtype(array.dtype, np.floating) for array in fields.values())
        for name, array in fields.items():
            if np.issubdtype(array.dtype, np.floating):
                values = array.astype(np.float32)
                if missing is not None and missing.shape == array.shape[:2]:
                    values[missing.astype(np.bool_)] = np.nan
                numbers.append(values.reshape(rows, -1))
            elif array.dtype in (np.bool_, np.uint8):
                if name != "missing" or not floating:
                    numbers.append(array.reshape(rows, -1).astype(np.float32))
            elif np.issubdtype(array.dtype, np.signedinteger):
                codes.append(array.reshape(rows, -1).astype(np.int32))
        return Design(np.concatenate(numbers, axis=1), np.concatenate(codes, axis=1))

    def common(self, state: StateT) -> bool:
        """Say whether all members of a network share the encoder of such a column.

        Where they do, no member can judge rows that another one learned from.
        """
        return False

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
            column. Where it can tell cells that hold nothing, it is `Masks`.
        """

    def head(self, state: StateT, options: LossOptions) -> Head | None:
        """Build what turns outputs into losses and answers; None where the kind is input only."""
        return None

    def unbounded(self, state: StateT) -> StateT:
        """Give the state that lets wild cells through: where no target is, they are looked for."""
        return state

    def choices(self, states: Sequence[StateT]) -> nn.Module | None:
        """Build what sees cells as choices out of a few options, for tables without a target.

        Parameters
        ----------
        states
            The fitted columns.

        Returns
        -------
        torch.nn.Module
            As `thalweg.models.density.Choosing` says; None where the kind does not foretell.
        """
        return None

    def raw(self, arrays: Sequence[pa.Array], states: Sequence[StateT]) -> Raw:
        """Read cells with all care, but do not clean them.

        Parameters
        ----------
        arrays, states
            As `encode` takes them; features only.

        Raises
        ------
        ColumnError
            Where `encode` does.
        """
        raise _uncompiled(self.name)

    def reader(self, state: StateT) -> Callable[[object], RawCell | None]:
        """Give what reads one plain cell of JSON, fast.

        Returns
        -------
        Callable
            Takes None, a bool, an int, a float or a text, and gives what `raw` makes of it in an
            array by itself; None where only `raw` can tell, and for whatever else it is given.
        """
        raise _uncompiled(self.name)

    def graph(self, graph: Graph, raw: str, states: Sequence[StateT]) -> Written:
        """Write the nodes that clean and encode all columns, in the bits that `encode` gives.

        Parameters
        ----------
        graph
            Where to.
        raw
            The tensor of `Raw.values` [N, C].
        states
            The fitted columns, features. How many there are does not change how many nodes are
            written.
        """
        raise _uncompiled(self.name)

    @abstractmethod
    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make a column [rows] of this kind, with missing and odd values, for tests and demos."""


def _uncompiled(name: str) -> AssertionError:
    return AssertionError(f"kind {name} does not compile: its fields are encoded first")


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


@runtime_checkable
class Masks(Protocol):
    """An encoder that can tell which of its tokens stand for nothing: what fusion leaves out."""

    def present(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Say which tokens stand for something, bool [N, tokens]."""


@runtime_checkable
class Settles(Protocol):
    """An encoder that may have a part that never learns, whose work is done once for each row."""

    @property
    def settles(self) -> bool:
        """Whether it has one."""

    def settle(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace fields [N, ...] by what the fixed part makes of them; `forward` takes both."""


class Head(ABC):
    """What the network's last numbers mean, and the layer that they come from.

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

    def layer(self, members: int, width: int) -> nn.Module:
        """Build the last layer: [members, N, width] to [members, N, outputs].

        Parameters
        ----------
        members
            How many networks are stacked.
        width
            How many numbers each member's body gives for a row.
        """
        import torch

        from thalweg.blocks.stacked import StackedLinear

        last = StackedLinear(members, width, self.outputs)
        with torch.no_grad():
            last.bias.copy_(self.start().expand_as(last.bias))
        return last

    @abstractmethod
    def loss(self, outputs: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """Give the loss of each member on each row.

        Parameters
        ----------
        outputs
            float32 [members, N, outputs].
        target
            The target's encoded fields, each [N, 1] or [members, N, 1] (every member its own
            rows); ``labels`` [..., N, 1, labels]. Class targets may bring ``probabilities``
            (float32 [..., N, classes]: soft labels) instead of ``code``.

        Returns
        -------
        torch.Tensor
            float32 [members, N].
        """

    @abstractmethod
    def combine(self, outputs: Tensor) -> Tensor:
        """Join the members: [members, N, outputs] to [N, answers] (probabilities, means)."""
