"""Categories: values out of a list, as text or as numbers. As a target: classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

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
from thalweg.kinds.cells import (
    by_value,
    common,
    is_text,
    may_mean_more,
    present,
    whole_numbers,
)
from thalweg.kinds.classes import ClassHead, class_columns, look_up
from thalweg.kinds.graph import Graph, any_of, look_up_cells
from thalweg.kinds.levels import reader_of
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import canonical_text, is_missing_text, read_numbers, stripped

if TYPE_CHECKING:
    from torch import nn

MISSING: Final = 0
UNSEEN: Final = 1
FIRST: Final = 2
"""The code of the first level; before it stand missing, and rare or unseen."""

MOST_CLASSES: Final = 1_000

FEW: Final = 64
"""How many texts are looked up one by one."""

MOST_SEEN: Final = 16_384
"""Of how many texts the codes are remembered."""

MOST_SPAN: Final = 1 << 20
"""The widest range of whole numbers whose codes stand in a table by value."""


@final
class CategoryOptions(Options):
    """What may be said about a category. Levels and rare concern columns that are read.

    Parameters
    ----------
    levels
        The most levels that are told apart; the commonest are. Default 10,000.
    rare
        Levels with fewer rows share one code with whatever was never seen. Default 5, and less
        in small tables (see `least_rows`).
    missing
        What a missing cell becomes: a ``level`` of its own (default) or the most ``frequent``
        level; ``drop`` sets the row aside.
    """

    levels: Annotated[int, Field(ge=1)] = 10_000
    rare: Annotated[int, Field(ge=1)] = 5
    missing: Literal["level", "frequent", "drop"] = "level"


@final
class CategoryState(State):
    """What is learned about a category.

    Parameters
    ----------
    role
        Whether the column is read or predicted.
    levels
        The levels as text: the commonest first, or, for a target, in order (by number where all
        are numbers, else by text). The second of two is the positive class.
    counts
        How many training rows each level has.
    form
        What the levels are: ``text``, ``boolean``, ``whole`` or ``real`` numbers. Numbers are
        matched by value, so that 1, 1.0 and "1" are one level.
    missing
        What a missing cell becomes.
    """

    role: Role
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    form: Literal["text", "boolean", "whole", "real"]
    missing: Literal["level", "frequent", "drop"]

    @cached_property
    def texts(self) -> pa.Array:
        """The levels as text."""
        return pa.array(self.levels, pa.large_string())

    @cached_property
    def known(self) -> dict[bytes, int]:
        """The place of each level, by its bytes."""
        ordered = reversed([*enumerate(self.levels)])  # of equal levels the first counts
        return {text.encode(): place for place, text in ordered}

    @cached_property
    def spellings(self) -> NDArray[np.object_]:
        """How the cell of each code is spelt: missing, unseen, and the levels; objects."""
        unseen = "?"
        while unseen in self.levels:
            unseen += "?"
        return np.array(["", unseen, *self.levels], dtype=np.object_)

    @cached_property
    def seen(self) -> dict[str | None, int]:
        """The codes of some texts that came in small batches: read once, then looked up."""
        return {}

    @cached_property
    def short_texts(self) -> pa.Array:
        """The levels as Arrow's usual text, of less than 2 GB in all."""
        return self.texts.cast(pa.string())

    @cached_property
    def addresses(self) -> tuple[int, NDArray[np.int32]] | None:
        """The codes of whole numbers in a table by value; see `thalweg.kinds.cells.by_value`.

        None where levels are no whole numbers or too far apart.
        """
        if self.form != "whole":
            return None
        numbers, places = self.ranking
        low, high = numbers[0] - 1, numbers[-1] + 1
        if high - low > MOST_SPAN or max(-low, high) > 2**52:
            return None
        table = np.full(int(high - low) + 1, UNSEEN, dtype=np.int32)
        table[(numbers - low).astype(np.int64)] = places + FIRST
        return int(low), table

    @cached_property
    def values(self) -> pa.Array:
        """The levels as the user knows them."""
        if self.form == "boolean":
            return pc.equal(self.texts, "true")
        if self.form == "text":
            return self.texts.cast(pa.string())
        numbers = pa.array(read_numbers(self.texts)[0])
        return numbers.cast(pa.int64()) if self.form == "whole" else numbers

    @cached_property
    def ranking(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The levels as numbers in order, and the place of each among the levels."""
        numbers = self.values.cast(pa.float64()).to_numpy()
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    @cached_property
    def folded(self) -> tuple[pa.Array, NDArray[np.int64]]:
        """The levels in their loosest spelling where it is one level's alone, and their places."""
        spelt = loosely(self.texts).to_pylist()
        often = Counter(spelt)
        alone = [place for place, text in enumerate(spelt) if often[text] == 1]
        return pa.array([spelt[place] for place in alone], pa.large_string()), np.array(
            alone, np.int64
        )


@final
class Category(Kind[CategoryState, CategoryOptions]):
    """Values out of a list.

    Fields: ``codes`` [N, C], int8, int16 or int32 by the largest list: 0 missing, 1 rare or
    unseen, from 2 the levels. A target's only field is ``code`` int64 [N, 1], from 0.
    """

    name = "category"
    description = "Values out of a list, as text or numbers. As a target: two classes or more."
    foretells = True
    compiles = True
    state_type = CategoryState
    options_type = CategoryOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column is a list of values: text, short, and often repeated."""
        cells = present(summary)
        if not cells or not summary.texts:
            return 0.3 if cells else 0.0
        # 20 values are a list in any table; half as many values as cells are hardly one.
        fresh = max(0.0, summary.distinct() - 20) / cells
        brief = 0.3 if summary.words.mean > 4 or summary.lengths.mean > 40 else 1.0
        return 0.8 * brief * max(0.1, 1 - 1.6 * fresh)

    def fit(self, summary: ColumnSummary, options: CategoryOptions, role: Role) -> CategoryState:
        """Learn the levels."""
        if role == "target":
            return _fit_classes(summary, options)
        least = least_rows(options.rare, summary.rows)
        levels = [
            (text, count) for text, count in common(summary, options.levels) if count >= least
        ]
        return _state(role, levels, options)

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[CategoryState]) -> Encoded:
        """Look up every cell; see the class for the fields."""
        rows = len(arrays[0])
        largest = max(len(state.levels) for state in states) + FIRST - 1
        codes = np.empty((rows, len(states)), dtype=np.min_scalar_type(-largest))
        dropped = np.zeros(rows, dtype=bool)
        unreadable = np.zeros((rows, len(states)), dtype=bool)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            found = _find(array, state)
            if state.role == "target":
                unreadable[:, column] = found == UNSEEN
                dropped |= found < FIRST
            if state.missing == "drop":
                dropped |= found == MISSING
            if state.missing == "frequent" and state.levels:
                found = np.where(found == MISSING, FIRST, found)
            codes[:, column] = found
        if states[0].role == "target":
            code = np.maximum(codes.astype(np.int64) - FIRST, 0)
            return Encoded({"code": code}, dropped, unreadable)
        return Encoded({"codes": codes}, dropped, unreadable)

    def decode(
        self,
        outputs: NDArray[np.floating[Any]],
        state: CategoryState,
        threshold: Threshold = None,
    ) -> dict[str, pa.Array]:
        """Give ``prediction`` in the levels' own type and ``probability_<level>`` for each."""
        return class_columns(outputs, state.values, state.levels, threshold)

    def restore(self, encoded: Encoded, column: int, state: CategoryState) -> pa.Array:
        """Give the levels; missing, rare and unseen cells are null."""
        if state.role == "target":
            places = encoded.fields["code"][:, column]
            return state.values.take(pa.array(places, mask=encoded.dropped))
        codes = encoded.fields["codes"][:, column].astype(np.int64)
        return state.values.take(pa.array(codes - FIRST, mask=codes < FIRST))

    def task(self, state: CategoryState) -> Task | None:
        """Name the task: binary or multiclass."""
        return "binary" if len(state.levels) == 2 else "multiclass"

    def encoder(self, states: Sequence[CategoryState], width: int, pairs: int = 0) -> nn.Module:
        """Build one table of embeddings for all columns."""
        from thalweg.blocks.embedding import CodeEmbedding

        return CodeEmbedding([len(s.levels) + FIRST for s in states], width, neutral=FIRST)

    def choices(self, states: Sequence[CategoryState]) -> nn.Module:
        """Take each level for an option; rare and unseen ones share one."""
        from thalweg.blocks.choices import Levels

        return Levels([len(state.levels) + FIRST for state in states])

    def head(self, state: CategoryState, options: LossOptions) -> Head | None:
        """Build the head of the classes."""
        return ClassHead(state.counts, options)

    def raw(self, arrays: Sequence[pa.Array], states: Sequence[CategoryState]) -> Raw:
        """Give levels as the states spell them, and what is no level's for unseen cells."""
        values = np.empty((len(arrays[0]), len(states)), dtype=np.object_)
        for column, (array, state) in enumerate(zip(arrays, states, strict=True)):
            values[:, column] = state.spellings.take(_find(array, state))
        return Raw(values, np.zeros(values.shape, dtype=bool))

    def reader(self, state: CategoryState) -> Callable[[object], RawCell | None]:
        """See `thalweg.kinds.levels.reader_of`."""
        return reader_of(state.spellings.tolist(), state.form, whole=state.addresses is not None)

    def graph(self, graph: Graph, raw: str, states: Sequence[CategoryState]) -> Written:
        """Write what `encode` does."""
        tables = []
        for state in states:
            fills = state.missing == "frequent" and state.levels
            table = {text: place for place, text in reversed([*enumerate(state.levels, FIRST)])}
            tables.append(table | {"": FIRST if fills else MISSING})
        codes = look_up_cells(graph, raw, tables, UNSEEN)
        drops = np.array([state.missing == "drop" for state in states])
        if not drops.any():
            return Written({"codes": codes})
        gone = graph.add("Equal", [codes, np.array([MISSING])])
        lost = graph.add("And", [gone, drops])
        return Written({"codes": codes}, any_of(graph, lost))

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make towns, some common and some rare, with gaps, blanks and question marks."""
        random = np.random.default_rng(seed)
        towns = ["Aalen", "Bonn", " Celle", "Dorsten ", "Emden", "Fulda", "Gera", "?", "", "Hof"]
        shares = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01])
        return pa.array(random.choice(towns, rows, p=shares), mask=random.random(rows) < 0.05)


def least_rows(rare: int, rows: int) -> int:
    """Say how many rows a level needs: ``rare``, but no more than 0.1% of the rows, from 2 up.

    Examples
    --------
    >>> least_rows(5, rows=1_000_000), least_rows(5, rows=300), least_rows(1, rows=300)
    (5, 2, 1)
    """
    return min(rare, max(2, rows // 1000))


def loosely(texts: pa.Array) -> pa.Array:
    """Spell texts in lower case, without trailing full stops: ``" >50K."`` as ``">50k"``."""
    return pc.utf8_lower(pc.utf8_trim(pc.utf8_rtrim(texts, " ."), " "))


def _fit_classes(summary: ColumnSummary, options: CategoryOptions) -> CategoryState:
    """Learn the classes of a target: all of them, in order."""
    classes = common(summary, MOST_CLASSES + 1)
    if len(classes) < 2:
        raise TargetError(
            f"the target has one class only: {classes[0][0]!r}"
            if classes
            else "the target has no value at all",
            "two classes or more",
            "Choose another target, or rows that hold the other classes.",
        )
    if len(classes) > MOST_CLASSES:
        raise TargetError(
            f"the target has about {summary.distinct():,.0f} classes",
            f"at most {MOST_CLASSES:,}",
            "Predict it as a number, or join its classes to fewer.",
        )
    state = _state("target", sorted(classes), options)
    if state.form in {"text", "boolean"}:
        return state
    order = state.ranking[1]
    return _state("target", [sorted(classes)[place] for place in order], options)


def _state(
    role: Role, levels: Sequence[tuple[str, int]], options: CategoryOptions
) -> CategoryState:
    return CategoryState(
        role=role,
        levels=tuple(text for text, _ in levels),
        counts=tuple(count for _, count in levels),
        form=_form(pa.array([text for text, _ in levels], pa.string())),
        missing=options.missing,
    )


def _form(levels: pa.Array) -> Literal["text", "boolean", "whole", "real"]:
    """Say what some levels are. Numbers that are codes (01234, beyond 2**53) stay text."""
    if not len(levels):
        return "text"
    if set(levels.to_pylist()) <= {"true", "false"}:
        return "boolean"
    numbers, _ = read_numbers(levels)
    coded = pc.any(pc.match_substring_regex(levels, r"^[+-]?0[0-9]")).as_py()
    if coded or not np.isfinite(numbers).all() or len(np.unique(numbers)) < len(numbers):
        return "text"
    return "whole" if (numbers == np.rint(numbers)).all() else "real"


def _find(array: pa.Array, state: CategoryState) -> NDArray[np.integer[Any]]:
    """Code every cell [N], by the shortest way that its type allows."""
    if is_text(array.type):
        return _text_codes(array, state)
    types = pa.types
    number = types.is_integer(array.type) or types.is_floating(array.type)
    if number and state.addresses is not None:
        # With gaps, Arrow gives integers as floats: exact as far as the table goes.
        numbers = array.to_numpy(zero_copy_only=False)
        codes = by_value(numbers, *state.addresses)
        if numbers.dtype.kind == "f":
            codes[np.isnan(numbers)] = MISSING
        return codes
    return look_up(array, partial(_codes, state=state), MISSING)


def _codes(values: pa.Array, state: CategoryState) -> NDArray[np.integer[Any]]:
    """Code some values, none null."""
    return _text_codes(values, state) if is_text(values.type) else _careful_codes(values, state)


def _text_codes(array: pa.Array, state: CategoryState) -> NDArray[np.int32]:
    """Code texts [N]; of a few, what was found of a text before is remembered."""
    array = array if pa.types.is_string(array.type) else plain(array)
    if len(array) > FEW:
        return _all_text_codes(array, state)
    cells = array.to_pylist()
    codes = [state.seen.get(cell, -1) for cell in cells]
    if min(codes, default=0) >= 0:
        return np.array(codes, dtype=np.int32)
    found = _all_text_codes(array, state)
    if len(state.seen) < MOST_SEEN:
        pairs = zip(cells, found.tolist(), strict=True)
        state.seen.update((cell, code) for cell, code in pairs if len(cell or "") <= FEW)
    return found


def _all_text_codes(array: pa.Array, state: CategoryState) -> NDArray[np.int32]:
    """Code texts [N]: as they stand, then those that may mean the same as another with care."""
    codes = _places(array, state) + np.int32(FIRST)
    if array.null_count:
        codes[array.is_null().to_numpy(zero_copy_only=False)] = MISSING
    rows = np.flatnonzero(codes == UNSEEN)
    if state.role != "target":
        rows = rows[may_mean_more(array, rows, numbers=state.form in {"whole", "real"})]
    if len(rows):
        rest = array.take(pa.array(rows))
        codes[rows] = look_up(rest, partial(_careful_texts, state=state), MISSING)
    return codes


def _careful_texts(values: pa.Array, state: CategoryState) -> NDArray[np.int64]:
    """Code some texts, none null: without the blanks around them, then the rest with more care."""
    codes = _places(stripped(values), state).astype(np.int64) + FIRST
    rest = np.flatnonzero(codes == UNSEEN)
    if len(rest):
        codes[rest] = _careful_codes(plain(values).take(pa.array(rest)), state)
    return codes


def _careful_codes(values: pa.Array, state: CategoryState) -> NDArray[np.int64]:
    """Code some values, none null: by number, in loose spelling, as words for missing."""
    codes = np.full(len(values), UNSEEN, dtype=np.int64)
    if state.form in {"whole", "real"}:
        numbers, _ = read_numbers(values)
        ordered, places = state.ranking
        near = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
        codes = np.where(ordered[near] == numbers, places[near] + FIRST, UNSEEN)
        if (codes != UNSEEN).all():
            return codes
    texts = canonical_text(values).cast(pa.large_string())
    codes = np.where(codes == UNSEEN, _places(texts, state) + FIRST, codes)
    if state.role == "target":
        spellings, places = state.folded
        found = whole_numbers(pc.index_in(loosely(texts), value_set=spellings), null=-1)
        loose = np.append(places, UNSEEN - FIRST)[found] + FIRST
        codes = np.where(codes == UNSEEN, loose, codes)
    codes[is_missing_text(texts) | texts.is_null().to_numpy(zero_copy_only=False)] = MISSING
    return codes


def _places(texts: pa.Array, state: CategoryState) -> NDArray[np.int32]:
    """Say where each text [N] stands among the levels; -1 where it does not."""
    if len(texts) <= FEW:
        # Arrow learns all levels anew for each lookup, which for one row is most of the work.
        cells = texts.cast(pa.large_binary()).to_pylist()
        return np.array([state.known.get(cell, -1) for cell in cells], dtype=np.int32)
    levels = state.short_texts if pa.types.is_string(texts.type) else state.texts
    places = pc.index_in(texts, value_set=levels)
    found: NDArray[np.int32] = (places.fill_null(-1) if places.null_count else places).to_numpy()
    return found
