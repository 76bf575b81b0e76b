"""Yes or no, in any of the usual spellings. As a target: two classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import TargetError
from thalweg.kinds.base import (
    Encoded,
    Head,
    Kind,
    LossOptions,
    Options,
    Raw,
    RawCell,
    Role,
    State,
    Task,
    Threshold,
    Written,
)
from thalweg.kinds.cells import common, is_text, present, whole_numbers
from thalweg.kinds.classes import ClassHead, class_columns, look_up
from thalweg.kinds.graph import Graph, any_of
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import bits_of, plain
from thalweg.stats.arrays import present as valid
from thalweg.stats.parsing import MISSING_TEXTS, canonical_text, is_missing_text, stripped

if TYPE_CHECKING:
    from torch import nn

SPELLINGS: Final = (
    ("false", "no", "n", "f", "off", "0"),
    ("true", "yes", "y", "t", "on", "1"),
)
"""How false and true are written, in lower case."""

MISSING: Final = 0
FALSE: Final = 1
TRUE: Final = 2
UNREADABLE: Final = 3

# What a cell of JSON says at first sight; of a number 0 and 1 alone, whole or not.
_PLAIN: Final[dict[object, float]] = {None: np.nan, 0: 0.0, 1: 1.0} | {
    spelt: meant
    for meant, words in ((np.nan, MISSING_TEXTS), (0.0, SPELLINGS[0]), (1.0, SPELLINGS[1]))
    for word in words
    for spelt in (word, word.upper(), word.capitalize())
}

_MEANT: Final = np.repeat(
    np.array([FALSE, TRUE, UNREADABLE]), [len(SPELLINGS[0]), len(SPELLINGS[1]), 1]
)


@final
class BooleanOptions(Options):
    """What may be said about a boolean.

    Parameters
    ----------
    missing
        What a missing cell becomes: a ``level`` of its own (default) or the more ``frequent``
        value; ``drop`` sets the row aside.
    """

    missing: Literal["level", "frequent", "drop"] = "level"


@final
class BooleanState(State):
    """What is learned about a boolean.

    Parameters
    ----------
    role
        Whether the column is read or predicted.
    counts
        How many training rows are false and how many are true.
    missing
        What a missing cell becomes.
    """

    role: Role
    counts: tuple[int, int]
    missing: Literal["level", "frequent", "drop"]


@final
class Boolean(Kind[BooleanState, BooleanOptions]):
    """Yes or no.

    Fields: ``codes`` int8 [N, C]: 0 missing, 1 false, 2 true. A target's only field is ``code``
    int64 [N, 1]: 0 false, 1 true.
    """

    name = "boolean"
    description = "Yes or no: true/false, yes/no, y/n, t/f, on/off, 1/0. As a target: two classes."
    foretells = True
    compiles = True
    state_type = BooleanState
    options_type = BooleanOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column is yes or no: both are there, and nothing else."""
        if summary.booleans and not summary.texts:
            return 1.0
        counts = _counts(summary)
        # A 2 among zeros and ones makes them a count; one "maybe" in a hundred is a mistake.
        share = 0.99 if summary.numbers.count == 0 else 1.0
        return 0.98 if all(counts) and sum(counts) >= share * present(summary) else 0.0

    def fit(self, summary: ColumnSummary, options: BooleanOptions, role: Role) -> BooleanState:
        """Count false and true."""
        counts = _counts(summary)
        if role == "target" and not all(counts):
            raise TargetError(
                f"the target is {counts[0]} times false and {counts[1]} times true",
                "rows of both",
                "Choose another target, or say --column TARGET=category.",
            )
        return BooleanState(role=role, counts=counts, missing=options.missing)

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[BooleanState]) -> Encoded:
        """Read every cell; see the class for the fields."""
        codes = np.empty((len(arrays[0]), len(states)), dtype=np.int8)
        for column, array in enumerate(arrays):
            codes[:, column] = _find(array)
        unreadable = codes == UNREADABLE
        codes[unreadable] = MISSING
        gone = codes == MISSING
        if states[0].role == "target":
            code = (codes == TRUE).astype(np.int64)
            return Encoded({"code": code}, gone.any(axis=1), unreadable)
        dropped = np.zeros(len(codes), dtype=bool)
        for column, state in enumerate(states):
            if state.missing == "drop":
                dropped |= gone[:, column]
            if state.missing == "frequent":
                codes[gone[:, column], column] = _often(state)
        return Encoded({"codes": codes}, dropped, unreadable)

    def decode(
        self,
        outputs: NDArray[np.floating[Any]],
        state: BooleanState,
        threshold: Threshold = None,
    ) -> dict[str, pa.Array]:
        """Give ``prediction`` (bool), ``probability_false`` and ``probability_true``."""
        values = pa.array([False, True], pa.bool_())
        return class_columns(outputs, values, ["false", "true"], threshold)

    def restore(self, encoded: Encoded, column: int, state: BooleanState) -> pa.Array:
        """Give bool; missing cells are null."""
        if state.role == "target":
            return pa.array(encoded.fields["code"][:, column] == 1, mask=encoded.dropped)
        codes = encoded.fields["codes"][:, column]
        return pa.array(codes == TRUE, mask=codes == MISSING)

    def task(self, state: BooleanState) -> Task | None:
        """Name the task: binary."""
        return "binary"

    def encoder(self, states: Sequence[BooleanState], width: int, pairs: int = 0) -> nn.Module:
        """Build one table of embeddings for all columns."""
        from thalweg.blocks.embedding import CodeEmbedding

        return CodeEmbedding([TRUE + 1] * len(states), width)

    def choices(self, states: Sequence[BooleanState]) -> nn.Module:
        """Take missing, false and true for options."""
        from thalweg.blocks.choices import Levels

        return Levels([TRUE + 1] * len(states))

    def head(self, state: BooleanState, options: LossOptions) -> Head | None:
        """Build the head of two classes."""
        return ClassHead(state.counts, options)

    def raw(self, arrays: Sequence[pa.Array], states: Sequence[BooleanState]) -> Raw:
        """Give float64: 0 false, 1 true."""
        codes = np.stack([_find(array) for array in arrays], axis=1)
        values = np.array([np.nan, 0.0, 1.0, np.nan])  # by MISSING, FALSE, TRUE, UNREADABLE
        return Raw(values[codes], codes == UNREADABLE)

    def reader(self, state: BooleanState) -> Callable[[object], RawCell | None]:
        """Read true and false, 1 and 0, and every spelling without blanks."""
        return _read_cell

    def graph(self, graph: Graph, raw: str, states: Sequence[BooleanState]) -> Written:
        """Write what `encode` does."""
        gone = graph.add("IsNaN", [raw])
        often = [_often(state) if state.missing == "frequent" else MISSING for state in states]
        codes = graph.add("Add", [raw, np.array([float(FALSE)])])
        codes = graph.cast(graph.add("Where", [gone, np.array(often, np.float64), codes]), np.int64)
        drops = np.array([state.missing == "drop" for state in states])
        if not drops.any():
            return Written({"codes": codes})
        lost = graph.add("And", [gone, drops])
        return Written({"codes": codes}, any_of(graph, lost))

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make yes and no in several spellings, with gaps and question marks."""
        random = np.random.default_rng(seed)
        spellings = ["yes", "no", "Yes ", " NO", "y", "n", "?"]
        shares = [0.3, 0.4, 0.1, 0.1, 0.04, 0.04, 0.02]
        return pa.array(random.choice(spellings, rows, p=shares), mask=random.random(rows) < 0.05)


def _often(state: BooleanState) -> int:
    """Give the code of the more frequent value."""
    return TRUE if state.counts[1] > state.counts[0] else FALSE


def _read_cell(cell: object) -> float | None:
    """Read one plain cell; None where that takes care. NaN is missing."""
    try:
        found = _PLAIN.get(cell)
    except TypeError:  # a list or a record
        return None
    if found is None and isinstance(cell, str) and cell.isascii():
        return _PLAIN.get(cell.strip(" ").lower())
    return found


def _counts(summary: ColumnSummary) -> tuple[int, int]:
    """Count the cells that say false and those that say true."""
    found = common(summary, 100)
    codes = _codes(pa.array([text for text, _ in found], pa.string()))
    rows = np.array([count for _, count in found], dtype=np.int64)
    return int(rows[codes == FALSE].sum()), int(rows[codes == TRUE].sum())


def _find(array: pa.Array) -> NDArray[np.integer[Any]]:
    """Code every cell [N]."""
    if not pa.types.is_boolean(array.type):
        return look_up(array, _codes, MISSING)
    codes = bits_of(array) + FALSE
    if array.null_count:
        codes[~valid(array)] = MISSING
    return codes


def _codes(values: pa.Array) -> NDArray[np.int64]:
    """Code some values, none null: by their plain text, then the rest with more care."""
    if not is_text(values.type):
        return _careful_codes(values)
    codes = _spelt(stripped(values))
    rest = np.flatnonzero(codes == UNREADABLE)
    if len(rest):
        codes[rest] = _careful_codes(plain(values).take(pa.array(rest)))
    return codes


def _careful_codes(values: pa.Array) -> NDArray[np.int64]:
    """Code some values, none of which is null: as numbers too, and as words for missing."""
    texts = canonical_text(values).cast(pa.large_string())
    codes = _spelt(texts)
    if (codes == UNREADABLE).any():
        codes[is_missing_text(texts) | texts.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return codes


def _spelt(texts: pa.Array) -> NDArray[np.int64]:
    """Code texts by the list of spellings."""
    spelt = pa.array([*SPELLINGS[0], *SPELLINGS[1]], pa.large_string())
    places = pc.index_in(pc.utf8_lower(texts), value_set=spelt)
    codes: NDArray[np.int64] = _MEANT[whole_numbers(places, null=len(spelt))]
    return codes
