"""What is held of one column of texts or booleans: for each slot its values and their counts."""

from __future__ import annotations

from typing import Final, final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.stats.arrays import plain, present
from thalweg.stats.hashing import hash_text
from thalweg.stats.parsing import canonical_text
from thalweg.stats.windows.places import Ids, Mask, Places
from thalweg.stats.windows.runs import Runs

MOST: Final = 4096
"""The most distinct values of a slot that are counted; beyond, those with the smallest hashes."""
TOP: Final = 5
"""How many of the most frequent values are given."""
CHARACTERS: Final = 200
"""Longer texts are shown by so many characters; they are counted by the whole."""

_BITS: Final = 26
_SLACK: Final = 1 << 17
_COUNTED: Final = pa.struct([("value", pa.string()), ("count", pa.int64())])
_ROOM: Final = 2.0**64

FIELDS: Final = (
    ("count", pa.int64()),
    ("distinct", pa.int64()),
    ("top", pa.list_(_COUNTED)),
)
"""The names and types of what is given of a column that holds no numbers."""


@final
class Values:
    """Statistics of one column of texts or booleans by slot. Nulls are left out."""

    __slots__ = ("_count", "_pairs", "_places", "_texts", "_trimmed")

    fields = FIELDS

    def __init__(self) -> None:
        self._count: Ids = np.zeros(0, dtype=np.int64)
        self._places = Places()
        self._texts: list[pa.Array] = []  # by number
        self._pairs = Runs(_BITS)
        self._trimmed = 0  # how many pairs there were after the last look at who has too many

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        texts = sum(part.nbytes for part in self._texts)
        return int(self._count.nbytes + self._places.nbytes + self._pairs.nbytes + texts)

    def grow(self, slots: int) -> None:
        """Make room for so many slots."""
        more = slots - len(self._count)
        self._count = np.concatenate([self._count, np.zeros(more, dtype=np.int64)])

    def take(self, slots: Ids, column: pa.Array) -> None:
        """Take values [N] into slots [N]."""
        column = plain(column)
        if not isinstance(column, pa.DictionaryArray):
            column = column.dictionary_encode()
        texts = canonical_text(column.dictionary).cast(pa.large_string())
        valid = present(column)
        if column.dictionary.null_count:  # a dictionary may hold a null of its own
            valid &= present(texts)[pc.fill_null(column.indices, 0).to_numpy()]
        if not valid.all():
            slots, column = slots[valid], column.filter(pa.array(valid))
        if not len(column):
            return
        indices = column.indices.to_numpy()
        used = np.zeros(len(texts), dtype=np.bool_)
        used[indices] = True
        if not used.all():
            texts = texts.filter(pa.array(used))
            indices = (np.cumsum(used) - 1)[indices]
        ids, first = self._places.find(hash_text(texts))
        if len(first):
            self._texts.append(_shown(texts.take(pa.array(first))))
        np.add.at(self._count, slots, 1)
        self._pairs.add(slots, ids[indices])
        if len(self._pairs) > 2 * self._trimmed + _SLACK:
            self._trim()

    def prepare(self, wanted: int, slots: int) -> None:
        """Make ready to be asked for so many of so many slots."""
        self._pairs.prepare(wanted, slots)

    def results(self, slots: Ids, begins: Ids) -> dict[str, pa.Array]:
        """Give the statistics of groups of slots [M], each of which begins somewhere."""
        number = len(begins)
        count = np.add.reduceat(self._count[slots], begins)
        owners, marks, counts = self._pairs.of(slots, begins)
        hashes = self._places.hashes[marks]
        kept, last = smallest(owners, hashes, number)
        owners, marks, counts = owners[kept], marks[kept], counts[kept]
        held = np.bincount(owners, minlength=number)
        estimate = MOST / np.maximum((last.astype(np.float64) + 1.0) / _ROOM, 1e-300)
        distinct = np.where(held > MOST, np.rint(estimate), held).astype(np.int64)
        return {
            "count": pa.array(count),
            "distinct": pa.array(distinct),
            "top": self._top(owners, marks, counts, number),
        }

    def keep(self, alive: Mask) -> None:
        """Forget the slots that are not alive; the others move up."""
        self._count = self._count[: len(alive)][alive]
        self._pairs.keep(alive)
        self._trim()

    def tables(self, slots: int) -> dict[str, pa.Table]:
        """Give everything that it is, of the first slots."""
        self._trim()
        owners, marks, counts = self._pairs.all()
        return {
            "slots": pa.table({"count": self._count[:slots]}),
            "texts": pa.table({"hash": self._places.hashes, "text": self._joined()}),
            "pairs": pa.table({"slot": owners, "mark": marks, "count": counts}),
        }

    @classmethod
    def of(cls, tables: dict[str, pa.Table]) -> Values:
        """Make one of what `tables` gave."""
        made = cls()
        made._count = tables["slots"]["count"].to_numpy().copy()
        made._places = Places(tables["texts"]["hash"].to_numpy().copy())
        made._texts = tables["texts"]["text"].chunks
        pairs = tables["pairs"]
        made._pairs.replace(*(pairs[name].to_numpy() for name in ("slot", "mark", "count")))
        made._trimmed = len(made._pairs)
        return made

    def _joined(self) -> pa.Array:
        """Give the texts by number as one array."""
        if len(self._texts) != 1:
            parts = [part.cast(pa.large_string()) for part in self._texts]
            self._texts = [pa.concat_arrays(parts) if parts else pa.array([], pa.large_string())]
        return self._texts[0]

    def _trim(self) -> None:
        """Let go of what is beyond `MOST` in a slot, and of texts that no slot has."""
        owners, marks, counts = self._pairs.all()
        if len(owners):
            kept, _ = smallest(owners, self._places.hashes[marks], int(owners[-1]) + 1)
            owners, marks, counts = owners[kept], marks[kept], counts[kept]
        used = np.zeros(len(self._places), dtype=np.bool_)
        used[marks] = True
        if not used.all():
            marks = (np.cumsum(used) - 1)[marks]  # in the same order as before
            self._texts = [self._joined().filter(pa.array(used))]
            self._places.keep(used)
        self._pairs.replace(owners, marks, counts)
        self._trimmed = len(owners)

    def _top(self, owners: Ids, marks: Ids, counts: Ids, number: int) -> pa.Array:
        """Give the most frequent values of each group, equal counts in the order of the text."""
        if len(owners):
            owners, marks, counts = _foremost(owners, marks, counts, number)
        texts = self._joined().take(pa.array(marks))
        frame = pl.DataFrame({"g": owners, "c": counts, "t": pl.from_arrow(texts)})
        frame = frame.sort(["g", "c", "t"], descending=[False, True, False])
        owners = frame["g"].to_numpy()
        start = np.searchsorted(owners, owners)
        chosen = np.arange(len(owners)) - start < TOP
        sizes = np.bincount(owners[chosen], minlength=number)
        frame = frame.filter(pl.Series(chosen))
        items = pa.StructArray.from_arrays(
            [frame["t"].to_arrow().cast(pa.string()), pa.array(frame["c"].to_numpy())],
            fields=list(_COUNTED),
        )
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), items)


def smallest(
    owners: Ids, hashes: NDArray[np.uint64], number: int
) -> tuple[Mask, NDArray[np.uint64]]:
    """Say which pairs [N] to keep: the `MOST` + 1 with the smallest hashes of each owner.

    Parameters
    ----------
    owners
        int64 [N], ascending.
    hashes
        Of the values, distinct for each owner.
    number
        How many owners there may be.

    Returns
    -------
    tuple
        Which are kept, bool [N]; the largest hash kept, uint64 [number].
    """
    kept = np.ones(len(owners), dtype=np.bool_)
    last = np.zeros(number, dtype=np.uint64)
    sizes = np.bincount(owners, minlength=number)
    many = np.flatnonzero(sizes > MOST)
    if len(many):
        crowded = np.zeros(number, dtype=np.bool_)
        crowded[many] = True
        at = np.flatnonzero(crowded[owners])
        order = at[np.lexsort((hashes[at], owners[at]))]
        place = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
        kept[order[place > MOST]] = False
        ends = order[place == MOST]
        last[owners[ends]] = hashes[ends]
    return kept, last


def _foremost(owners: Ids, marks: Ids, counts: Ids, number: int) -> tuple[Ids, Ids, Ids]:
    """Leave out what counts less than the last that is given of a group."""
    order = np.lexsort((-counts, owners))
    sizes = np.bincount(owners, minlength=number)
    begins = np.cumsum(sizes) - sizes
    last = order[np.minimum(begins + np.minimum(sizes, TOP) - 1, len(order) - 1)]
    least = np.where(sizes > 0, counts[last], 0)
    kept = counts >= least[owners]
    return owners[kept], marks[kept], counts[kept]


def _shown(texts: pa.Array) -> pa.Array:
    """Cut long texts."""
    long = pc.greater(pc.utf8_length(texts), CHARACTERS)
    if not pc.any(long).as_py():
        return texts
    begin = pc.utf8_slice_codeunits(texts, 0, CHARACTERS)
    cut = pc.binary_join_element_wise(begin, pa.scalar("…", pa.large_string()), "")
    return pc.if_else(long, cut, texts)
