"""Everything that is known of a column after one pass: `ColumnSummary`.

One object is the profile that a person reads, the fit of the preprocessing, the reference that
data are validated against, the content of a window and, by two of them, drift. It works on the
distinct values of each batch and their counts, so that repeated values cost next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from thalweg.stats.arrays import (
    bits_of,
    is_bytes,
    is_list,
    plain,
    present,
    seconds_of,
    sort_of,
    ticks_of,
    type_name,
    unique_counts,
)
from thalweg.stats.cells import CellSample
from thalweg.stats.codec import State, Summary
from thalweg.stats.counts import ValueCounts
from thalweg.stats.dates import FORMATS, read_dates, reading_order
from thalweg.stats.distinct import DistinctSample
from thalweg.stats.hashing import hash_numbers, hash_said, hash_text, hash_times, hash_values
from thalweg.stats.numbers import NumberSummary, count_decimals, distinct_numbers, finite
from thalweg.stats.parsing import (
    canonical_text,
    means_missing,
    number_text,
    read_numbers,
    stripped,
    text_numbers,
    time_text,
    without_zeros,
)
from thalweg.stats.pending import PendingTexts
from thalweg.stats.texts import TextBytes

TIMESTAMP: Final = "timestamp"
"""How `ColumnSummary.time_formats` names values that came as dates or timestamps, not as text."""

_TALLIES: Final = {
    "rows": "rows",
    "nulls": "nulls",
    "texts": "_texts",
    "blanks": "_blanks",
    "missing_texts": "_missing_texts",
    "infinite": "infinite",
    "booleans": "booleans",
}
"""The names of what is counted, and where it is held."""
_INTEGERS: Final = 2.0**63

Counts = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Writer = Callable[[NDArray[np.float64]], pa.StringArray]


@final
class ColumnSummary(Summary):
    """Mergeable one-pass statistics of one column.

    Any split of a column, taken in and merged in any order, gives the same summary: equal in
    every bit as long as `counts` is exact, and else with counts that are off by at most
    ``counts.error``.

    Attributes
    ----------
    type : str
        The Arrow type; ``mixed`` where there were several, empty where nothing was seen. All ways
        to store text are ``string``; an all-null column takes the type of the others.
    rows : int
        How many values there are, missing ones as well.
    nulls : int
        Nulls and NaN.
    infinite : int
        Infinite numbers: in no other statistic but `counts`.
    booleans : int
        Values that came as booleans.

    Examples
    --------
    >>> some = ColumnSummary()
    >>> some.update(pa.array(["12", "3.5", "?", None]))
    >>> some.rows, some.nulls, some.missing_texts, some.numbers.mean
    (4, 1, 1, 7.75)
    """

    __slots__ = (
        "_blanks",
        "_cells",
        "_counts",
        "_items",
        "_lengths",
        "_missing_texts",
        "_pending",
        "_read",
        "_sizes",
        "_texts",
        "_times",
        "_typed",
        "_values",
        "_words",
        "booleans",
        "infinite",
        "nulls",
        "rows",
        "type",
    )

    def __init__(self) -> None:
        self.type = ""
        self.rows = 0
        self.nulls = 0
        self.infinite = 0
        self.booleans = 0
        self._texts = 0
        self._blanks = 0
        self._missing_texts = 0
        self._counts = ValueCounts()
        self._lengths = NumberSummary()
        self._words = NumberSummary()
        self._pending = PendingTexts()
        self._typed = NumberSummary()  # numbers that came as such
        self._read = NumberSummary()  # numbers that came as text
        self._times: dict[str, NumberSummary] = {}  # by format
        self._values = DistinctSample()
        self._cells = CellSample()  # of texts and bytes
        self._sizes = NumberSummary()  # of lists
        self._items: ColumnSummary | None = None  # of all lists

    def update(self, array: pa.Array | pa.ChunkedArray, hashes: Hashes | None = None) -> None:
        """Take values in.

        Parameters
        ----------
        array
            Values [N] of any Arrow type.
        hashes
            uint64 [N]: `thalweg.stats.hashing.hash_values` of them, where that is known already;
            of a dictionary array, those of the dictionary's values.
        """
        self.type = _joint_type(self.type, type_name(array.type))
        if isinstance(array, pa.ChunkedArray):
            for chunk in array.chunks:
                self.update(chunk)
            return
        values = plain(array)
        self.rows += len(values)
        if sort_of(values.type) == "text":
            if not pt.is_dictionary(values.type):
                values, hashes = values.dictionary_encode(), None
            self.nulls += self._pending.take(values, hashes)
            if self._pending.full():
                self._settle()
        elif isinstance(values, pa.DictionaryArray):
            self._take_dictionary(values)
        else:
            self.nulls += values.null_count
            if hashes is not None and values.null_count:
                hashes = hashes[present(values)]
            self._take(values.drop_null(), None, hashes)

    def merge(self, other: ColumnSummary) -> None:
        """Take in what another has taken in; the other stays as it was."""
        self._settle()
        other._settle()
        self.type = _joint_type(self.type, other.type)
        for name, slot in _TALLIES.items():
            setattr(self, slot, getattr(self, slot) + getattr(other, name))
        self._counts.merge(other._counts)
        self._lengths.merge(other._lengths)
        self._words.merge(other._words)
        self._typed.merge(other._typed)
        self._read.merge(other._read)
        self._values.merge(other._values)
        self._cells.merge(other._cells)
        self._sizes.merge(other._sizes)
        if other._items is not None:
            self._listed().merge(other._items)
        for name, times in other._times.items():
            self._times.setdefault(name, NumberSummary()).merge(times)

    @property
    def texts(self) -> int:
        """Values that came as text."""
        self._settle()
        return self._texts

    @property
    def blanks(self) -> int:
        """Texts that hold nothing but blanks."""
        self._settle()
        return self._blanks

    @property
    def missing_texts(self) -> int:
        """Texts that mean 'missing' (`thalweg.stats.parsing.MISSING_TEXTS`), blanks as well."""
        self._settle()
        return self._missing_texts

    @property
    def counts(self) -> ValueCounts:
        """Canonical texts of all values but numbers not whole, and times; `top` adds these."""
        self._settle()
        return self._counts

    @property
    def lengths(self) -> NumberSummary:
        """The characters of each text."""
        self._settle()
        return self._lengths

    @property
    def words(self) -> NumberSummary:
        """The words of each text, parted by blanks."""
        self._settle()
        return self._words

    @property
    def numbers(self) -> NumberSummary:
        """All numbers, and all texts that read as a number. To be read, not changed."""
        self._settle()
        return _joined([self._typed, self._read])

    @property
    def times(self) -> NumberSummary:
        """All times in seconds since 1970-01-01 UTC, as `read_times` reads them.

        That is ``read_times(values, list(summary.time_formats))``. To be read, not changed.
        """
        return _joined([self._times[name] for name in reading_order(list(self.time_formats))])

    @property
    def time_formats(self) -> dict[str, int]:
        """How many values each format reads, the format that reads most first.

        Where ``MM/DD/YYYY`` and ``DD/MM/YYYY`` read equally many, the column does not tell which
        it is; the month then comes first. Dates and timestamps count as ``timestamp``.
        """
        self._settle()
        order = {name: place for place, name in enumerate((TIMESTAMP, *FORMATS))}
        counts = {name: times.count for name, times in self._times.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], order[item[0]])))

    @property
    def counts_exact(self) -> bool:
        """Whether `top` knows every value and its exact count."""
        known = self.counts.total + sum(int(counts.sum()) for _, counts, _ in self._uncounted())
        return self._counts.exact and known == self._values.total

    def top(self, number: int | None = None) -> list[tuple[str, int]]:
        """Give the most frequent values as canonical text, equal counts in the order of the text.

        Where not `counts_exact`, counts may be too low by ``counts.error``; numbers that are not
        whole and timestamps may be left out, and binary values, lists and structs always are.

        Parameters
        ----------
        number
            How many; all that are known by default.
        """
        rest = self._uncounted()
        # A text may say the same as a number or a time that came as such.
        totals = Counter(dict(self.counts.top(None if self.texts and rest else number)))
        for values, counts, write in rest:
            for text, count in zip(write(values).to_pylist(), counts.tolist(), strict=True):
                totals[text] += count
        return sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:number]

    def distinct(self) -> float:
        """Say how many distinct values there are, nulls apart: exactly, or estimated (about 2%)."""
        if not self.counts_exact:
            return self._values.estimate()
        rest = self._uncounted()
        if self.texts and rest:
            return float(len(self.top()))
        return float(len(self.counts) + sum(len(values) for values, _, _ in rest))

    def sample(self) -> list[str]:
        """Give up to 1,000 distinct values, drawn evenly, as text: the same for the same values."""
        self._settle()
        return self._values.texts()

    def cells(self) -> pa.Array:
        """Give distinct texts or bytes in full, drawn evenly: the same ones for the same values.

        Up to 16,384 of them, and as many as 8 MiB hold; at least one. Texts, without the blanks
        around them, come as large_string; large_binary where any cell came as bytes.
        """
        self._settle()
        cells = self._cells.cells()
        return cells.cast(pa.large_string()) if self.texts else cells

    @property
    def sizes(self) -> NumberSummary:
        """How many items each list has. To be read, not changed."""
        return self._sizes

    @property
    def items(self) -> ColumnSummary:
        """The items of all lists, as a column of their own. To be read, not changed."""
        return self._items if self._items is not None else ColumnSummary()

    def describe(self) -> dict[str, Any]:
        """Put the main figures into a JSON-able dict, for a profile."""
        missing = self.nulls + self.missing_texts
        found: dict[str, Any] = {
            "type": self.type,
            "rows": self.rows,
            "nulls": self.nulls,
            "missing": missing,
            "missing_share": missing / self.rows if self.rows else 0.0,
            "infinite": self.infinite,
            "distinct": self.distinct(),
            "distinct_exact": self.counts_exact or self._values.exact,
            "top": [{"value": text, "count": count} for text, count in self.top(10)],
        }
        parts = {"numbers": self.numbers, "lengths": self.lengths, "words": self.words}
        found |= {name: part.describe() for name, part in parts.items() if part.count}
        if self._times:
            times = self.times
            first, last = time_text(np.array([times.minimum, times.maximum])).to_pylist()
            found["times"] = {
                "count": times.count,
                "first": first,
                "last": last,
                "formats": self.time_formats,
                "mean_seconds": finite(times.mean),
            }
        return found

    def state(self) -> State:
        """Give everything that it is."""
        state = State({name: getattr(self, name) for name in _TALLIES} | {"type": self.type})
        for name, part in (
            ("counts", self.counts),
            ("lengths", self.lengths),
            ("words", self.words),
            ("typed", self._typed),
            ("read", self._read),
            ("sample", self._values),
            ("cells", self._cells),
            ("sizes", self._sizes),
        ):
            state.put(name, part.state())
        if self._items is not None:
            state.put("items", self._items.state())
        state.values["times"] = sorted(self._times)
        for name in state.values["times"]:
            state.put(f"times:{name}", self._times[name].state())
        return state

    @classmethod
    def from_state(cls, state: State) -> ColumnSummary:
        """Make one of its state."""
        made = cls()
        made.type = str(state.values["type"])
        for name, slot in _TALLIES.items():
            setattr(made, slot, int(state.values[name]))
        made._counts = ValueCounts.from_state(state.part("counts"))
        made._lengths = NumberSummary.from_state(state.part("lengths"))
        made._words = NumberSummary.from_state(state.part("words"))
        made._typed = NumberSummary.from_state(state.part("typed"))
        made._read = NumberSummary.from_state(state.part("read"))
        made._values = DistinctSample.from_state(state.part("sample"))
        made._cells = CellSample.from_state(state.part("cells"))
        made._sizes = NumberSummary.from_state(state.part("sizes"))
        if "items" in state.values:
            made._items = ColumnSummary.from_state(state.part("items"))
        for name in state.values["times"]:
            if name not in (TIMESTAMP, *FORMATS):
                raise ValueError(name)
            made._times[name] = NumberSummary.from_state(state.part(f"times:{name}"))
        return made

    def _settle(self) -> None:
        """Work through the texts that were held back."""
        if self._pending:
            self._take_texts(*self._pending.give())

    def _take_dictionary(self, array: pa.DictionaryArray) -> None:
        """Take a dictionary's values in, each with its count."""
        indices = array.indices.drop_null().to_numpy()
        distinct = plain(array.dictionary)
        counts = np.bincount(indices, minlength=len(distinct))
        there = (counts > 0) & present(distinct)
        self.nulls += len(array) - int(counts[there].sum())
        self._take(distinct.filter(pa.array(there)), counts[there])

    def _take(self, values: pa.Array, weights: Counts | None, hashes: Hashes | None = None) -> None:
        """Take values without nulls in, each `weights` times."""
        if not len(values):
            return
        match sort_of(values.type):
            case "number" if pt.is_integer(values.type):
                self._take_integers(values, weights)
            case "number":
                self._take_floats(values, weights, hashes)
            case "time":
                self._take_times(values, weights, hashes)
            case "boolean":
                bits, counts = unique_counts(bits_of(values), weights)
                texts = pa.array(["false", "true"]).take(pa.array(bits)).cast(pa.large_string())
                self.booleans += int(counts.sum())
                self._counts.update(texts, counts)
                self._values.update(hash_text(texts), counts, _taker(texts))
            case _:
                hashes = hash_values(values) if hashes is None else hashes
                self._values.update(
                    hashes, weights, lambda where: canonical_text(_take(values, where))
                )
                if is_bytes(values.type):
                    self._cells.update(hashes, values)
                elif is_list(values.type):
                    self._take_lists(values, weights)

    def _take_lists(self, lists: pa.Array, weights: Counts | None) -> None:
        """Take lists in: how long they are, and their items."""
        if weights is not None:
            lists = _take(lists, np.repeat(np.arange(len(lists)), weights))
        lengths, often = unique_counts(pc.list_value_length(lists).to_numpy().astype(np.int64))
        self._sizes.update(lengths.astype(np.float64), often)
        self._listed().update(pc.list_flatten(lists))

    def _listed(self) -> ColumnSummary:
        """Give the summary of all lists' items, made when the first comes."""
        if self._items is None:
            self._items = ColumnSummary()
        return self._items

    def _take_texts(self, texts: pa.LargeStringArray, counts: Counts) -> None:
        """Take distinct texts in, each so many times."""
        if not len(texts):
            return
        raw, trimmed = TextBytes.of(texts), stripped(texts)
        blank = TextBytes.of(trimmed).lengths == 0
        self._texts += int(counts.sum())
        self._blanks += int(counts[blank].sum())
        self._missing_texts += int(counts[means_missing(trimmed)].sum())
        characters = pc.utf8_length(texts).to_numpy().astype(np.int64)
        for part, sizes in ((self._lengths, characters), (self._words, raw.blank_parted())):
            distinct, often = unique_counts(sizes, counts)
            part.update(distinct.astype(np.float64), often)
        numbers = text_numbers(trimmed)
        valid = ~np.isnan(numbers)
        self._read.update(numbers[valid], counts[valid])
        for name, seconds in read_dates(trimmed):
            valid = ~np.isnan(seconds)
            times = self._times.setdefault(name, NumberSummary())
            times.update(seconds[valid], counts[valid])
        canonical = without_zeros(trimmed, numbers)
        self._counts.update(canonical, counts)
        self._values.update(hash_said(trimmed, numbers), counts, _taker(canonical))
        self._cells.update(hash_text(trimmed), trimmed)

    def _take_integers(self, values: pa.Array, weights: Counts | None) -> None:
        """Take integers in; those beyond int64 as floats."""
        raw = values.to_numpy()
        if values.type == pa.uint64() and len(raw) and int(raw.max()) >= _INTEGERS:
            large = raw >= _INTEGERS
            heavy = None if weights is None else weights[large]
            self._take_numbers(raw[large].astype(np.float64), heavy, None)
            raw, weights = raw[~large], None if weights is None else weights[~large]
        keys, counts = unique_counts(raw.astype(np.int64, copy=False), weights)
        self._counts.update_integers(keys, counts)
        self._typed.update(keys.astype(np.float64), counts)
        self._values.update(
            hash_values(pa.array(keys)), counts, lambda where: canonical_text(pa.array(keys[where]))
        )

    def _take_floats(self, values: pa.Array, weights: Counts | None, hashes: Hashes | None) -> None:
        """Take numbers in; NaN are nulls and infinities are set apart."""
        numbers, valid = read_numbers(values)
        if not valid.all():
            rest = values.filter(pa.array(~valid)).to_numpy(zero_copy_only=False)
            counts = np.ones(len(rest), np.int64) if weights is None else weights[~valid]
            infinite = np.isinf(rest)
            self.nulls += int(counts[~infinite].sum())
            self.infinite += int(counts[infinite].sum())
            endless, counts = rest[infinite].astype(np.float64), counts[infinite]
            texts = number_text(endless).cast(pa.large_string())
            self._counts.update(texts, counts)
            self._values.update(hash_numbers(endless), counts, _taker(texts))
            numbers = numbers[valid]
            weights = None if weights is None else weights[valid]
            hashes = None if hashes is None else hashes[valid]
        if len(numbers):
            self._take_numbers(numbers, weights, hashes)

    def _take_numbers(
        self, numbers: NDArray[np.float64], weights: Counts | None, hashes: Hashes | None
    ) -> None:
        """Take finite float64 in."""
        if weights is None:
            counted = count_decimals(numbers)
            if counted is None and not self._typed.histogram.coarse:
                counted = distinct_numbers(numbers)
            if counted is not None:
                (numbers, weights), hashes = counted, None
        whole = self._typed.whole
        self._typed.update(numbers, weights)
        if self._typed.whole > whole:
            integral = _integral(numbers)
            heavy = None if weights is None else weights[integral]
            self._counts.update_integers(*unique_counts(numbers[integral].astype(np.int64), heavy))
        self._values.update(
            hash_numbers(numbers) if hashes is None else hashes,
            weights,
            lambda where: number_text(numbers[where]),
        )

    def _take_times(self, values: pa.Array, weights: Counts | None, hashes: Hashes | None) -> None:
        """Take dates and timestamps in."""
        times = self._times.setdefault(TIMESTAMP, NumberSummary())
        ticks, rate = ticks_of(values)
        if weights is not None or not times.histogram.coarse:
            (ticks, weights), hashes = unique_counts(ticks, weights), None
        whole, nanoseconds = seconds_of(ticks, rate)
        seconds = whole.astype(np.float64)
        if nanoseconds.any():
            seconds += nanoseconds / 1e9
        times.update(seconds, weights)
        self._values.update(
            hash_times(ticks, rate) if hashes is None else hashes,
            weights,
            lambda where: time_text(seconds[where]),
        )

    def _uncounted(self) -> list[tuple[NDArray[np.float64], Counts, Writer]]:
        """Give what `counts` leaves to exact histograms: values, counts, how to write them."""
        found: list[tuple[NDArray[np.float64], Counts, Writer]] = []
        if self._typed.count and self._typed.histogram.exact:
            numbers, counts = self._typed.histogram.value_counts()
            other = ~_integral(numbers)
            if other.any():
                found.append((numbers[other], counts[other], number_text))
        stamps = self._times.get(TIMESTAMP)
        if stamps is not None and stamps.histogram.exact:
            found.append((*stamps.histogram.value_counts(), time_text))
        return found


def _integral(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which numbers `ColumnSummary.counts` counts: whole ones within int64."""
    integral: NDArray[np.bool_] = (np.rint(numbers) == numbers) & (np.abs(numbers) < _INTEGERS)
    return integral


def _joint_type(one: str, other: str) -> str:
    """Name the type of two parts of a column; a part of nothing or of nulls says nothing."""
    known = {name for name in (one, other) if name not in ("", "null")}
    if len(known) > 1:
        return "mixed"
    return known.pop() if known else max(one, other)


def _joined(parts: list[NumberSummary]) -> NumberSummary:
    """Give the union of some parts; where but one holds anything, that one itself."""
    held = [part for part in parts if part.count]
    if len(held) == 1:
        return held[0]
    union = NumberSummary()
    for part in held:
        union.merge(part)
    return union


def _take(values: pa.Array, where: NDArray[np.int64]) -> pa.Array:
    return values.take(pa.array(where))


def _taker(values: pa.Array) -> Callable[[NDArray[np.int64]], pa.Array]:
    return lambda where: _take(values, where)
