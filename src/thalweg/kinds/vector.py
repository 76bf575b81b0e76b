"""Vectors: lists of numbers of one length, such as embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import ColumnError, TargetError
from thalweg.kinds.base import Encoded, Kind, Options, Role, State, Threshold
from thalweg.kinds.cells import is_text, present
from thalweg.kinds.scaling import HUGE
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import is_list, plain
from thalweg.stats.arrays import present as valid
from thalweg.stats.parsing import is_missing_text, read_numbers

if TYPE_CHECKING:
    from torch import nn

MOST_SIZE: Final = 65_536

BOUND: Final = 1e6
"""The largest scaled value: float32 still tells neighbours apart, and sums stay finite."""


@final
class VectorOptions(Options):
    """What may be said about a column of vectors.

    Parameters
    ----------
    size
        How many numbers each has. Default: as many as most lists have.
    """

    size: Annotated[int, Field(ge=1, le=MOST_SIZE)] | None = None


@final
class VectorState(State):
    """What is learned about a column of vectors.

    Parameters
    ----------
    size
        How many numbers each has.
    mean, scale
        Of all numbers: what becomes 0 and what becomes 1. The network learns more of each place.
    """

    size: int
    mean: float
    scale: float


@final
class Vector(Kind[VectorState, VectorOptions]):
    """Lists of numbers of one length, or texts that say such: ``[0.5, -1]``.

    Fields: ``vectors`` float32 [N, C, size], scaled, 0 where a number is missing or infinite and
    beyond the end of shorter columns; ``missing`` uint8 [N, C].
    """

    name = "vector"
    description = "Lists of numbers of one length: embeddings, spectra, coordinates."
    holds = frozenset({"lists"})
    grouped = False
    state_type = VectorState
    options_type = VectorOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column holds vectors: lists of numbers of one length."""
        sizes, items = summary.sizes, summary.items
        if not sizes.count or sizes.maximum < 1:
            return 0.0
        share = (items.numbers.count + items.infinite) / max(1, present(items))
        if share < 0.95 or items.texts or sizes.maximum > MOST_SIZE:
            return 0.0
        # A few whole numbers may be labels as well, unless the type says how many there are.
        whole = items.type.startswith(("int", "uint")) and not summary.type.startswith("fixed")
        if sizes.minimum == sizes.maximum:
            return 0.7 if whole else 0.9
        low, high = sizes.quantile([0.05, 0.95])
        return 0.0 if whole or low != high else 0.8

    def fit(self, summary: ColumnSummary, options: VectorOptions, role: Role) -> VectorState:
        """Learn length, mean and scale."""
        if role == "target":
            raise TargetError(
                "a target of vectors",
                "a number, a category, a boolean, labels or a time",
                "Choose another target: vectors can be read, but not predicted.",
            )
        items = summary.items.numbers
        sizes = summary.sizes
        size = float(sizes.quantile(0.5)) if sizes.count else 1.0
        mean, deviation = items.mean, items.deviation
        if not sizes.count and summary.texts:
            lists = _lists(summary.cells())
            sizes_found, often = np.unique(pc.list_value_length(lists), return_counts=True)
            size = float(sizes_found[often.argmax()]) if len(often) else 1.0
            numbers, there = read_numbers(pc.list_flatten(lists))
            found = numbers[there]
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(found.mean()) if len(found) else 0.0
                deviation = float(found.std()) if len(found) else 1.0
        mean, deviation = (float(np.clip(np.nan_to_num(x), -HUGE, HUGE)) for x in (mean, deviation))
        length = options.size or max(1, round(size))
        if length > MOST_SIZE:
            raise ColumnError(
                f"vectors of {length:,} numbers",
                f"at most {MOST_SIZE:,}",
                "Leave the column out, or make its vectors shorter.",
            )
        # The least scale keeps constants constant and differences of floats finite.
        least = max(1e-12 * abs(mean), 1e-300)
        return VectorState(size=length, mean=mean, scale=deviation if deviation > least else 1.0)

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[VectorState]) -> Encoded:
        """Scale every number; see the class for the fields."""
        rows = len(arrays[0])
        longest = max(state.size for state in states)
        vectors = np.zeros((rows, len(states), longest), np.float32)
        missing = np.ones((rows, len(states)), np.uint8)
        unreadable = np.zeros((rows, len(states)), np.bool_)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            found, numbers, unread = _read(array, state.size)
            scaled = _scaled(numbers, state)
            vectors[found, column, : state.size] = scaled
            missing[found, column] = 0
            unreadable[:, column] = unread
        fields: dict[str, NDArray[Any]] = {"vectors": vectors, "missing": missing}
        return Encoded(fields, np.zeros(rows, np.bool_), unreadable)

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: VectorState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Never called: vectors are input only."""
        raise AssertionError

    def restore(self, encoded: Encoded, column: int, state: VectorState) -> pa.Array:
        """Give lists of float64 in the column's own units, to float32's precision."""
        kept = encoded.fields["missing"][:, column] == 0
        values = encoded.fields["vectors"][kept, column, : state.size].astype(np.float64)
        ends = np.concatenate([[0], np.cumsum(kept * state.size)])
        numbers = pa.array((values * state.scale + state.mean).ravel())
        return pa.LargeListArray.from_arrays(
            pa.array(ends, pa.int64()), numbers, mask=pa.array(~kept)
        )

    def encoder(self, states: Sequence[VectorState], width: int, pairs: int = 0) -> nn.Module:
        """Build one linear map a column."""
        from thalweg.blocks.vectors import VectorEmbedding

        return VectorEmbedding([state.size for state in states], width)

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make vectors of six numbers, with gaps, missing numbers and lists of other lengths."""
        random = np.random.default_rng(seed)
        numbers = random.normal(3, 2, (rows, 6))
        gone = random.random((rows, 6)) < 0.01
        short = random.random(rows) < 0.01
        sizes = np.where(short, 2, 6)
        kept = np.arange(6) < sizes[:, None]
        return pa.ListArray.from_arrays(
            pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32()),
            pa.array(numbers[kept], mask=gone[kept]),
            mask=pa.array(random.random(rows) < 0.05),
        )


def _scaled(numbers: NDArray[np.float64], state: VectorState) -> NDArray[np.float32]:
    """Scale numbers [N, size]; those that are none are 0, and wild ones end at a bound."""
    with np.errstate(over="ignore"):
        scaled = (numbers - state.mean) / state.scale
    return np.nan_to_num(scaled, nan=0.0).clip(-BOUND, BOUND).astype(np.float32)


def _read(
    array: pa.Array, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Find the vectors of a column [N].

    Returns
    -------
    tuple
        int64 [M]: the rows with a vector; float64 [M, size]: its numbers, NaN where one is missing
        or infinite; bool [N]: which cells hold something else.
    """
    cells = plain(array)
    if pa.types.is_dictionary(cells.type):
        cells = plain(cells.dictionary_decode())
    there = valid(cells)
    if is_text(cells.type):
        there &= ~is_missing_text(cells)
        cells = _lists(cells)
    elif pa.types.is_nested(cells.type) or _is_view(cells.type):
        cells = _listed(cells)
    else:
        return np.empty(0, np.int64), np.empty((0, size)), there
    lengths = pc.list_value_length(cells).fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(there & (lengths == size))
    numbers = read_numbers(pc.list_flatten(cells.take(pa.array(rows))))[0].reshape(-1, size)
    some = np.isfinite(numbers).any(axis=1)
    there[rows[some]] = False
    return rows[some], numbers[some], there


def _listed(cells: pa.Array) -> pa.Array:
    """Give lists of one value each place; refuse records, and lists of lists."""
    views = _is_view(cells.type)
    flat = (is_list(cells.type) or views) and not pa.types.is_nested(cells.type.value_type)
    if not flat:
        raise ColumnError(
            f"a column whose cells are {cells.type}",
            "a list of numbers in each",
            "Split the column first, or leave it out.",
        )
    return _unviewed(cells) if views else cells


def _unviewed(views: pa.Array) -> pa.LargeListArray:
    """Write views of lists as lists: Arrow's own cast loses their items."""
    lengths = pc.list_value_length(views).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    items = pc.list_flatten(views)
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), items, mask=views.is_null())


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _lists(texts: pa.Array) -> pa.LargeListArray:
    """Split texts such as ``[0.5, -1]`` or ``(1 2 3)`` into lists of text."""
    bare = pc.utf8_trim(texts.cast(pa.large_string()), " \t\r\n[](){}")
    return pc.split_pattern_regex(bare, r"[\s,;]+")
