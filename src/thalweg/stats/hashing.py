"""Hashes of values and rows that never change: not with the version, the machine or the batch.

Libraries' own hashes may change with any release, and with them every split made by them. These
are written out in full: the finaliser of SplitMix64 (Steele, Lea & Flood 2014) over the bits of
numbers, and over the eight-byte words of text, each salted with its place. A value hashes by what
it says: ``1`` in a CSV file, in a Parquet file and in a dictionary are the same.
"""

from __future__ import annotations

from concurrent.futures import Executor
from threading import Lock
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from thalweg.stats.arrays import bits_of, plain, present, seconds_of, sort_of, spread, ticks_of
from thalweg.stats.parsing import canonical_text, read_numbers, stripped, text_numbers
from thalweg.stats.texts import TextBytes

_STEP: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_FIRST: Final = np.uint64(0xBF58_476D_1CE4_E5B9)
_SECOND: Final = np.uint64(0x94D0_49BB_1331_11EB)
_TIME: Final = np.uint64(0x7469_6D65_7469_6D65)  # salts, so that a time is not a number of seconds
_BINARY: Final = np.uint64(0x6269_6E61_7279_6279)
_NESTED: Final = np.uint64(0x6E65_7374_6564_6E65)
_EXACT: Final = 2**53  # integers above are not told apart by float64, so they hash as text

MISSING: Final = np.uint64(0xB492_B66F_BE98_F273)
"""The hash of null, NaN and blank text."""

_BLOCK: Final = 1 << 15  # so many values stay in the cache while they are mixed
_SHORT: Final = 8  # texts of so many words are hashed word by word, longer ones all at once

Hashes = NDArray[np.uint64]
Indices = NDArray[Any]


def mix(values: Hashes | np.uint64) -> Hashes:
    """Scatter 64-bit integers (SplitMix64): a bijection whose every output bit looks random.

    Examples
    --------
    >>> hex(int(mix(np.uint64(0))))
    '0xe220a8397b1dcdaf'
    """
    return _mixed(np.array(values, dtype=np.uint64, ndmin=1)).reshape(np.shape(values))


def _mixed(mixed: Hashes) -> Hashes:
    """Scatter integers [N] where they are."""
    scratch = np.empty(min(_BLOCK, len(mixed)), dtype=np.uint64)
    for start in range(0, len(mixed), _BLOCK):
        part = mixed[start : start + _BLOCK]
        shifted = scratch[: len(part)]
        part += _STEP
        part ^= np.right_shift(part, np.uint64(30), out=shifted)
        part *= _FIRST
        part ^= np.right_shift(part, np.uint64(27), out=shifted)
        part *= _SECOND
        part ^= np.right_shift(part, np.uint64(31), out=shifted)
    return mixed


def hash_numbers(values: NDArray[np.float64]) -> Hashes:
    """Hash float64 [N] by their bits: -0.0 is 0.0, and every NaN is `MISSING`."""
    hashes = _mixed((values + 0.0).view(np.uint64))
    if len(values) and np.isnan(values.min()):
        hashes[np.isnan(values)] = MISSING
    return hashes


def hash_text(texts: pa.LargeStringArray | pa.LargeBinaryArray) -> Hashes:
    """Hash the bytes of texts [N], whatever they say; null is as empty."""
    raw = TextBytes.of(texts)
    sizes = (raw.lengths + 7) >> 3
    if sizes.max(initial=0) <= _SHORT:
        return _hash_short(raw, sizes)
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    place = np.arange(total) - np.repeat(ends - sizes, sizes)
    kept = np.minimum(np.repeat(raw.lengths, sizes) - 8 * place, 8)
    words = raw.words(np.repeat(raw.starts, sizes) + 8 * place, kept)
    salts = mix(np.arange(int(sizes.max(initial=0)), dtype=np.uint64))
    sums = np.zeros(total + 1, dtype=np.uint64)
    np.cumsum(mix(words ^ salts[place]), out=sums[1:])  # wraps around, and so does the difference
    return mix((sums[ends] - sums[ends - sizes]) ^ mix(raw.lengths.view(np.uint64)))


def _hash_short(raw: TextBytes, sizes: NDArray[np.int64]) -> Hashes:
    """Hash texts of few words, all first words at once, then all second ones: as `hash_text`."""
    sums = np.zeros(len(sizes), dtype=np.uint64)
    for word in range(int(sizes.max(initial=0))):
        salt = mix(np.uint64(word))
        rows = np.flatnonzero(sizes > word)
        if len(rows) == len(sizes):
            kept = np.minimum(raw.lengths - 8 * word, 8)
            sums += mix(raw.words(raw.starts + 8 * word, kept) ^ salt)
            continue
        kept = np.minimum(raw.lengths[rows] - 8 * word, 8)
        sums[rows] += mix(raw.words(raw.starts[rows] + 8 * word, kept) ^ salt)
    lengths = mix(np.arange(8 * _SHORT + 1, dtype=np.uint64))
    sums ^= lengths[raw.lengths]
    return mix(sums)


def hash_times(ticks: NDArray[np.int64], rate: int) -> Hashes:
    """Hash instants [N] given in ticks, so many to a second; the unit makes no difference."""
    whole, nanoseconds = seconds_of(ticks, rate)
    hashes = _mixed(whole.view(np.uint64) ^ _TIME)
    hashes += nanoseconds.view(np.uint64)
    return _mixed(hashes)


def hash_said(texts: pa.LargeStringArray, numbers: NDArray[np.float64]) -> Hashes:
    """Hash texts without blanks at their ends [N], and those that say a number as that number.

    Parameters
    ----------
    texts
        The texts; null and empty hash as `MISSING`.
    numbers
        float64 [N]: what they say as numbers, NaN for none.
    """
    hashes = hash_text(texts)
    said = np.abs(numbers) <= _EXACT
    if said.any():
        hashes[said] = hash_numbers(numbers[said])
    hashes[TextBytes.of(texts).lengths == 0] = MISSING
    return hashes


def hash_values(array: pa.Array | pa.ChunkedArray) -> Hashes:  # one a sort
    """Hash each value by what it says.

    Text that reads as a number hashes as that number, blanks around text do not count, equal
    instants are equal whatever their unit, and a dictionary is as what it holds.

    Parameters
    ----------
    array
        Values [N] of any Arrow type.

    Returns
    -------
    numpy.ndarray
        uint64 [N]; null, NaN and blank text have one fixed hash.

    Examples
    --------
    >>> number, text = hash_values(pa.array([1])), hash_values(pa.array([" 1.0"]))
    >>> bool(number == text)
    True
    """
    array = plain(array)
    if isinstance(array, pa.DictionaryArray):
        return spread(array, hash_values(array.dictionary), MISSING)
    match sort_of(array.type):
        case "null":
            return np.full(len(array), MISSING)
        case "text":
            texts = stripped(array)
            return hash_said(texts, text_numbers(texts))
        case "number":
            return _hash_numbers(array)
        case "boolean":
            both = hash_text(pa.array(["false", "true"], type=pa.large_string()))
            return _masked(array, both[bits_of(array)])
        case "time":
            found = np.full(len(array), MISSING)
            found[present(array)] = hash_times(*ticks_of(array.drop_null()))
            return found
        case _:
            return _hash_opaque(array)


@final
class RowHasher:
    """Hashes rows, batch after batch; the values of a dictionary once, as long as it stays.

    Examples
    --------
    >>> rows = pa.record_batch({"a": [1, 2], "b": ["x", "y"]})
    >>> RowHasher().hash(rows).tolist() == hash_rows(rows).tolist()
    True
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[pa.Array, Hashes]] = {}

    def hash(self, batch: pa.RecordBatch | pa.Table, pool: Executor | None = None) -> Hashes:
        """Hash each row: `hash_rows`, which says more."""
        rows = RowHashes(batch.num_rows)

        def take(name: str, column: pa.Array | pa.ChunkedArray) -> None:
            parts, indices, _ = self.column(name, plain(column))
            rows.take(parts, indices)

        list((pool.map if pool else map)(take, batch.schema.names, batch.columns))
        return rows.hashes()

    def column(self, name: str, array: pa.Array) -> tuple[Hashes, Indices | None, Hashes | None]:
        """Hash a column's part of each row.

        Parameters
        ----------
        name
            The column's name; parts of one name must not be made by two threads at once.
        array
            Its values [N], as `thalweg.stats.arrays.plain` gives them.

        Returns
        -------
        tuple
            The parts, and where among these each row's is, int64 [N], or None where they are in
            the order of the rows; and the hashes of the values [N] or of the values of the
            dictionary, where these were needed.
        """
        salt = hash_text(pa.array([name], type=pa.large_string()))
        if pt.is_large_string(array.type):
            array = array.dictionary_encode()
        if isinstance(array, pa.DictionaryArray):
            hashes = self._of_dictionary(name, array.dictionary)
            parts = mix(np.append(hashes, MISSING) ^ salt)
            indices = array.indices
            if indices.null_count:
                indices = pc.fill_null(indices.cast(pa.int64()), len(parts) - 1)
            return parts, indices.to_numpy(), hashes
        narrow = _narrow(array)
        if narrow is not None:
            return mix(hash_values(narrow[0]) ^ salt), narrow[1], None
        hashes = hash_values(array)
        return _mixed(hashes ^ salt), None, hashes

    def _of_dictionary(self, name: str, dictionary: pa.Array) -> Hashes:
        """Hash the values of a dictionary, or remember their hashes."""
        known = self._known.get(name)
        if known is None or not known[0].equals(dictionary):
            known = self._known[name] = (dictionary, hash_values(dictionary))
        return known[1]


@final
class RowHashes:
    """The hashes of rows, put together from those of the columns by any threads.

    Parameters
    ----------
    rows
        How many rows.
    known
        Their hashes, where these are known already.
    """

    def __init__(self, rows: int, known: Hashes | None = None) -> None:
        self.known = known is not None
        self._known = known
        self._sums = np.zeros(0 if self.known else rows, dtype=np.uint64)
        self._lock = Lock()

    def take(self, parts: Hashes, indices: Indices | None) -> None:
        """Take in what `RowHasher.column` gave."""
        if indices is not None:
            parts = parts[indices]
        with self._lock:
            self._sums += parts

    def hashes(self) -> Hashes:
        """Give the hashes, once every column is in."""
        return _mixed(self._sums) if self._known is None else self._known


def hash_rows(batch: pa.RecordBatch | pa.Table, pool: Executor | None = None) -> Hashes:
    """Hash each row by its values and their columns' names, in whatever order the columns stand.

    Parameters
    ----------
    batch
        Rows [N].
    pool
        Threads that the columns are shared out to; none by default. The hashes are the same.

    Returns
    -------
    numpy.ndarray
        uint64 [N], the same for a row in any batch, order and file format.
    """
    return RowHasher().hash(batch, pool)


def _narrow(array: pa.Array) -> tuple[pa.Array, Indices] | None:
    """Give integers without nulls as places in a range of far fewer integers, where they are."""
    if not pt.is_integer(array.type) or array.null_count or not len(array):
        return None
    integers = array.to_numpy()
    low, high = int(integers.min()), int(integers.max())
    if not -_EXACT < low <= high < _EXACT or high - low >= len(integers) // 4:
        return None
    places = integers.astype(np.int64)
    places -= low
    return pa.array(np.arange(low, high + 1)), places


def _hash_numbers(array: pa.Array) -> Hashes:
    """Hash numbers; integers that float64 cannot tell apart as text."""
    kind = array.type
    if pt.is_integer(kind) and kind.bit_width == 64:
        integers = array.drop_null().to_numpy()
        hashes = hash_numbers(integers.astype(np.float64))
        large = (integers > _EXACT) | (integers < -_EXACT if kind == pa.int64() else False)
        if large.any():
            hashes[large] = hash_text(pa.array(integers[large]).cast(pa.large_string()))
        return _filled(array, hashes)
    values, valid = read_numbers(array)
    if not valid.all() and pt.is_floating(kind):  # infinities are kept apart here
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
    return hash_numbers(values)


def _hash_opaque(array: pa.Array) -> Hashes:
    """Hash bytes, and lists and structs by what they hold."""
    kind = array.type
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind):
        return _masked(array, mix(hash_text(array.cast(pa.large_binary())) ^ _BINARY))
    if pt.is_struct(kind):
        fields = {field.name: pc.struct_field(array, [at]) for at, field in enumerate(kind)}
        if fields:
            inner = pa.RecordBatch.from_arrays(list(fields.values()), list(fields))
            return _masked(array, mix(hash_rows(inner) ^ _NESTED))
    if pt.is_map(kind) or pt.is_list(kind) or pt.is_large_list(kind):
        return _masked(array, _hash_lists(array))
    if pt.is_fixed_size_list(kind):
        return _hash_opaque(array.cast(pa.list_(kind.value_type)))
    return _masked(array, hash_text(canonical_text(array).cast(pa.large_string())))


def _hash_lists(array: pa.Array) -> Hashes:
    """Hash lists by their items and the places of these."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    sizes = np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    if pt.is_map(array.type):
        pair = [array.keys, array.items]
        items = hash_rows(pa.RecordBatch.from_arrays(pair, ["key", "item"]))[first:last]
    else:
        items = hash_values(array.values.slice(first, last - first))
    begins = offsets[:-1] - first
    place = np.arange(last - first) - np.repeat(begins, sizes)
    sums = np.zeros(last - first + 1, dtype=np.uint64)
    np.cumsum(mix(items ^ mix(place.view(np.uint64))), out=sums[1:])
    joined = sums[begins + sizes] - sums[begins]
    return mix(joined ^ mix(sizes.view(np.uint64)) ^ _NESTED)


def _masked(array: pa.Array, hashes: Hashes) -> Hashes:
    """Put `MISSING` where there is no value."""
    return np.where(present(array), hashes, MISSING) if array.null_count else hashes


def _filled(array: pa.Array, hashes: NDArray[Any]) -> Hashes:
    """Spread the hashes of the values that are there over all rows."""
    if not array.null_count:
        return hashes
    found = np.full(len(array), MISSING)
    found[present(array)] = hashes
    return found
