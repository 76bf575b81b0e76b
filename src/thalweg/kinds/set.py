"""Sets: several labels a row, as a list or as text with a delimiter. As a target: any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator

from thalweg.core.errors import TargetError
from thalweg.kinds.base import (
    Design,
    Encoded,
    Head,
    Holds,
    Kind,
    LossOptions,
    Options,
    Role,
    State,
    Task,
    Threshold,
)
from thalweg.kinds.category import FIRST, UNSEEN, least_rows
from thalweg.kinds.labels import LabelHead, label_columns
from thalweg.kinds.members import best_split, joined, lists_of, members
from thalweg.stats import ColumnSummary
from thalweg.stats.parsing import is_missing_text

if TYPE_CHECKING:
    from torch import nn

MOST_TOGETHER: Final = 64
"""How many labels of a row are read: the commonest of them."""

MOST_DESIGNED: Final = 200
"""How many labels of a column, the commonest, textbook models see."""

_WORDS: Final = {
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "slash": "/",
    "tab": "\t",
    "blank": " ",
    "none": "",
}


@final
class SetOptions(Options):
    """What may be said about a set.

    Parameters
    ----------
    delimiter
        What stands between the labels of a text: as it is, or as ``comma``, ``semicolon``,
        ``pipe``, ``slash``, ``tab``, ``blank`` or ``none`` (a text is one label). By default found
        from the texts. Lists need none.
    levels
        The most labels that are told apart; the commonest are. Default 1,000.
    rare
        Labels with fewer rows share one code with whatever was never seen. Default 5, and less
        in small tables (see `thalweg.kinds.category.least_rows`). Of no account for a target.
    missing
        What a missing cell becomes: a ``level`` of its own (default) or an ``empty`` set;
        ``drop`` sets the row aside. A blank text or an empty list is not missing, but empty.
    """

    delimiter: str | None = None
    levels: Annotated[int, Field(ge=1)] = 1_000
    rare: Annotated[int, Field(ge=1)] = 5
    missing: Literal["level", "empty", "drop"] = "level"

    @field_validator("delimiter")
    @classmethod
    def _said(cls, given: str | None) -> str | None:
        return given if given is None else _WORDS.get(given, given)


@final
class SetState(State):
    """What is learned about a column of sets.

    Parameters
    ----------
    role
        Whether the column is read or predicted.
    levels
        The labels as text: the commonest first, or, for a target, in order (by number where all
        are whole numbers, else by text).
    counts
        How many training rows have each label.
    rows
        How many training rows have a set, if only an empty one.
    form
        What the labels came as: ``text`` or ``whole`` numbers.
    delimiter
        What stands between labels; empty where they came as lists.
    most
        How many labels of a row are read.
    missing
        What a missing cell becomes.
    """

    role: Role
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    rows: int
    form: Literal["text", "whole"]
    delimiter: str
    most: int
    missing: Literal["level", "empty", "drop"]

    @cached_property
    def texts(self) -> pa.Array:
        """The labels as text."""
        return pa.array(self.levels, pa.string())

    @cached_property
    def values(self) -> pa.Array:
        """The labels as the user knows them."""
        return self.texts.cast(pa.int64()) if self.form == "whole" else self.texts


@final
class Set(Kind[SetState, SetOptions]):
    """Several labels a row, in no order, each once.

    Fields: ``codes`` [N, C, K], int16 or int32, the labels of each cell and then 0: 1 for rare or
    unseen ones, from 2 the labels; and ``missing`` uint8 [N, C]. A target's only field is
    ``labels`` uint8 [N, 1, labels], 0 or 1. Of a target's rows that hold a label which was never
    trained on, those are dropped that hold no other.
    """

    name = "set"
    description = "Several labels a row: a list, or text such as a|b|c. As a target: any of them."
    holds: ClassVar[frozenset[Holds]] = frozenset({"lists"})
    state_type = SetState
    options_type = SetOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely cells are sets: lists of labels, or texts of few labels used again."""
        if summary.sizes.count:
            return _sniffed_lists(summary)
        cells = summary.rows - summary.nulls - summary.missing_texts
        if cells <= 0 or summary.texts < 0.5 * summary.rows or summary.lengths.mean > 200:
            return 0.0
        return 0.85 if best_split(summary.sample()).convincing else 0.0

    def fit(self, summary: ColumnSummary, options: SetOptions, role: Role) -> SetState:
        """Learn the labels."""
        if summary.sizes.count:
            delimiter = ""
            form: Literal["text", "whole"] = "whole" if "int" in summary.items.type else "text"
            found = _counted(summary.items.top(), "")
            rows, most = summary.rows - summary.nulls, int(summary.sizes.maximum)
        else:
            delimiter, form = _delimiter(summary, options), "text"
            texts = summary.top()
            found = _counted(texts, delimiter)
            most = _largest(texts, delimiter)
            rows = summary.rows - summary.nulls - summary.missing_texts + summary.blanks
        levels = [(text, min(count, rows)) for text, count in found]
        if role == "target":
            levels = _target_labels(levels[: options.levels], rows, form)
        else:
            least = least_rows(options.rare, summary.rows)
            levels = [one for one in levels[: options.levels] if one[1] >= least]
        return SetState(
            role=role,
            levels=tuple(text for text, _ in levels),
            counts=tuple(count for _, count in levels),
            rows=rows,
            form=form,
            delimiter=delimiter,
            most=int(np.clip(most, 1, MOST_TOGETHER)),
            missing=options.missing,
        )

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[SetState]) -> Encoded:
        """Look up the labels of every cell; see the class for the fields."""
        if states[0].role == "target":
            return _encode_target(arrays[0], states[0])
        rows, columns = len(arrays[0]), len(states)
        largest = max(len(state.levels) for state in states) + FIRST
        width = max(state.most for state in states)
        dtype = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
        codes = np.zeros((rows, columns, width), dtype=dtype)
        missing = np.zeros((rows, columns), dtype=np.uint8)
        dropped = np.zeros(rows, dtype=bool)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            cells, found, present, index = _looked_up(array, state)
            table = _padded(cells, found, len(present), state.most)
            codes[:, column, : state.most] = _shown(table, index)
            gone = ~_shown(present, index)
            if state.missing != "empty":
                missing[:, column] = gone
            if state.missing == "drop":
                dropped |= gone
        return Encoded(
            {"codes": codes, "missing": missing}, dropped, np.zeros((rows, columns), bool)
        )

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: SetState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Give ``prediction`` as the sets came, list or text, and ``probability_<label>``."""
        return label_columns(outputs, state.values, state.levels, threshold, state.delimiter)

    def restore(self, encoded: Encoded, column: int, state: SetState) -> pa.Array:
        """Give the labels, the commonest first; sets with a rare or unseen one are null."""
        if state.role == "target":
            shown = encoded.fields["labels"][:, column].astype(bool)
            gone = encoded.dropped
            rows, places = np.nonzero(shown & ~gone[:, None])
        else:
            codes = encoded.fields["codes"][:, column].astype(np.int64)
            gone = (codes == UNSEEN).any(axis=1) | encoded.fields["missing"][:, column].astype(bool)
            rows, slots = np.nonzero((codes >= FIRST) & ~gone[:, None])
            places = codes[rows, slots] - FIRST
        lists = lists_of(rows, state.values.take(pa.array(places)), len(gone), gone)
        return joined(lists, state.delimiter) if state.delimiter else lists

    def design(self, fields: Mapping[str, NDArray[Any]], states: Sequence[SetState]) -> Design:
        """Show each of the commonest labels as a column of 0 and 1, and what is missing."""
        codes = fields["codes"]
        parts = [fields["missing"].astype(np.float32)]
        for column, state in enumerate(states):
            size = min(len(state.levels), MOST_DESIGNED)
            flags = np.zeros((len(codes), size + 1), np.float32)
            places = codes[:, column].astype(np.int64) - FIRST
            places[(places < 0) | (places >= size)] = size
            flags[np.arange(len(codes))[:, None], places] = 1
            parts.append(flags[:, :size])
        return Design(np.concatenate(parts, axis=1), np.empty((len(codes), 0), np.int32))

    def task(self, state: SetState) -> Task | None:
        """Name the task: multilabel."""
        return "multilabel"

    def encoder(self, states: Sequence[SetState], width: int, pairs: int = 0) -> nn.Module:
        """Build one bag of embeddings for each column."""
        from thalweg.blocks.sets import BagEmbedding

        return BagEmbedding([len(state.levels) + FIRST for state in states], width)

    def head(self, state: SetState, options: LossOptions) -> Head | None:
        """Build the head of the labels."""
        return LabelHead(state.counts, state.rows, options)

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make the tags of films, some common and some rare, with gaps and empty sets."""
        random = np.random.default_rng(seed)
        tags = pa.array(["action", "comedy", "drama", "horror", "musical", "western"])
        shares = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
        gone = random.random(rows) < 0.05
        has = (random.random((rows, len(tags))) < shares) & ~gone[:, None]
        # One film has them all, so that the largest set is as large in every sample.
        gone[:1], has[:1] = False, True
        held, chosen = np.nonzero(has)
        return lists_of(held, tags.take(pa.array(chosen)), rows, gone)


def _sniffed_lists(summary: ColumnSummary) -> float:
    """Say how likely lists are sets: of labels, not of measured numbers."""
    items, sizes = summary.items, summary.sizes
    if not items.rows or not items.top(1):
        return 0.0
    if items.texts:
        # A list of sentences is no set: hardly one comes again.
        return 0.9 if items.words.mean <= 8 and items.distinct() <= 0.5 * items.rows + 20 else 0.4
    whole = items.numbers.count and items.numbers.whole == items.numbers.count
    if not whole or "int" not in items.type:
        return 0.0
    return 0.9 if sizes.minimum < sizes.maximum else 0.3


def _delimiter(summary: ColumnSummary, options: SetOptions) -> str:
    """Choose what stands between labels: as said, or as it is found."""
    if options.delimiter is not None:
        return options.delimiter
    found = best_split(summary.sample())
    return found.delimiter if found.share > 0 else "|"


def _counted(texts: Sequence[tuple[str, int]], delimiter: str) -> list[tuple[str, int]]:
    """Count labels in texts and their counts, the commonest first; words for missing are none."""
    found = members(pa.array([text for text, _ in texts], pa.large_string()), delimiter)
    # In a text that holds a label twice, it counts once.
    labels = found.texts.dictionary_encode()
    places = labels.indices.to_numpy().astype(np.int64)
    size = max(1, len(labels.dictionary))
    pairs = np.unique(found.index[found.cells] * size + places) if len(places) else places
    weights = np.array([count for _, count in texts], dtype=np.int64)
    often = np.bincount(pairs % size, weights[pairs // size], size)
    names = labels.dictionary.to_pylist()
    gone = is_missing_text(labels.dictionary)
    counted = [
        (name, int(count))
        for name, count, missing in zip(names, often, gone, strict=False)
        if not missing
    ]
    return sorted(counted, key=lambda one: (-one[1], one[0]))


def _largest(texts: Sequence[tuple[str, int]], delimiter: str) -> int:
    """Say how many labels the largest set has."""
    found = members(pa.array([text for text, _ in texts], pa.large_string()), delimiter)
    return int(np.bincount(found.cells, minlength=1).max())


def _target_labels(
    levels: Sequence[tuple[str, int]], rows: int, form: str
) -> list[tuple[str, int]]:
    """Put the labels of a target in order.

    Raises
    ------
    TargetError
        Where there is none to tell rows apart by.
    """
    if not levels:
        raise TargetError(
            "the target has no label at all", "rows with labels", "Choose another target."
        )
    if all(count in (0, rows) for _, count in levels):
        raise TargetError(
            f"every row has the label {levels[0][0]!r}",
            "a label that some rows have and others have not",
            "Choose another target, or rows that differ.",
        )
    return sorted(levels, key=lambda one: (int(one[0]) if form == "whole" else 0, one[0]))


def _looked_up(
    array: pa.Array, state: SetState
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Code every label: the cells [M], the codes [M], which cells are there, the rows' cells."""
    found = members(array, state.delimiter)
    labels = found.texts.dictionary_encode()
    places = pc.index_in(labels.dictionary, value_set=state.texts).fill_null(-1).to_numpy()
    known = places.astype(np.int64) + FIRST
    known[known < FIRST] = UNSEEN
    # A word for missing among labels is no label.
    known[is_missing_text(labels.dictionary)] = 0
    codes = known[labels.indices.to_numpy()] if len(labels) else np.zeros(0, np.int64)
    said = codes > 0
    return found.cells[said], codes[said], found.present, found.index


def _padded(
    cells: NDArray[np.int64], codes: NDArray[np.int64], count: int, most: int
) -> NDArray[np.int64]:
    """Write the codes of each cell once, the commonest label first: [cells, most]."""
    table = np.zeros((count, most), np.int64)
    if not len(codes):
        return table
    last = int(codes.max()) + 1
    keys = np.unique(cells * (last + 1) + np.where(codes == UNSEEN, last, codes))
    cells, codes = keys // (last + 1), keys % (last + 1)
    slots = np.arange(len(keys)) - np.searchsorted(cells, cells)
    kept = slots < most
    table[cells[kept], slots[kept]] = np.where(codes == last, UNSEEN, codes)[kept]
    return table


def _shown(table: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    """Give each row [N] its cell's entry; rows without a cell get zeros."""
    shown: NDArray[Any] = np.concatenate(
        [table, np.zeros_like(table[:1], shape=(1, *table.shape[1:]))]
    )[index]
    return shown


def _encode_target(array: pa.Array, state: SetState) -> Encoded:
    """Mark the labels of each row."""
    cells, codes, present, index = _looked_up(array, state)
    seen = codes >= FIRST
    table = np.zeros((len(present), len(state.levels)), np.uint8)
    table[cells[seen], codes[seen] - FIRST] = 1
    strange = np.zeros(len(present), dtype=bool)
    strange[cells[~seen]] = True
    strange &= ~table.any(axis=1)
    unreadable = _shown(strange, index)
    dropped = ~_shown(present, index) | unreadable
    return Encoded({"labels": _shown(table, index)[:, None]}, dropped, unreadable[:, None])
