"""Hashes of values and rows that never change: not with the version, the machine or the batch.

Libraries' own hashes may change with any release, and with them every split made by them. These
are written out in full: the finaliser of SplitMix64 (Steele, Lea & Flood 2014) over the bits of
numbers, and over the eight-byte words of text, each salted with its place. A value hashes by what
it says: ``1`` in a CSV file, in a Parquet file and in a dictionary are the same.
"""

from __future__ import annotations

from typing import Any, Final

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

Hashes = NDArray[np.uint64]


def mix(values: Hashes | np.uint64) -> Hashes:
    """Scatter 64-bit integers (SplitMix64): a bijection whose every output bit looks random.

    Examples
    --------
    >>> hex(int(mix(np.uint64(0))))
    '0xe220a8397b1dcdaf'
    """
    mixed = np.array(values, dtype=np.uint64, ndmin=1)
    mixed += _STEP
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed.reshape(np.shape(values))


def hash_numbers(values: NDArray[np.float64]) -> Hashes:
    """Hash float64 [N] by their bits: -0.0 is 0.0, and every NaN is `MISSING`."""
    hashes = mix((values + 0.0).view(np.uint64))
    missing = np.isnan(values)
    if missing.any():
        hashes[missing] = MISSING
    return hashes


def hash_text(texts: pa.LargeStringArray | pa.LargeBinaryArray) -> Hashes:
    """Hash the bytes of texts [N], whatever they say; null is as empty."""
    raw = TextBytes.of(texts)
    sizes = (raw.lengths + 7) >> 3
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    place = np.arange(total) - np.repeat(ends - sizes, sizes)
    kept = np.minimum(np.repeat(raw.lengths, sizes) - 8 * place, 8)
    words = raw.words(np.repeat(raw.starts, sizes) + 8 * place, kept)
    salts = mix(np.arange(int(sizes.max(initial=0)), dtype=np.uint64))
    sums = np.zeros(total + 1, dtype=np.uint64)
    np.cumsum(mix(words ^ salts[place]), out=sums[1:])  # wraps around, and so does the difference
    return mix((sums[ends] - sums[ends - sizes]) ^ mix(raw.lengths.view(np.uint64)))


def hash_times(ticks: NDArray[np.int64], rate: int) -> Hashes:
    """Hash instants [N] given in ticks, so many to a second; the unit makes no difference."""
    whole, nanoseconds = seconds_of(ticks, rate)
    return mix(mix(whole.view(np.uint64) ^ _TIME) + nanoseconds.view(np.uint64))


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


def hash_rows(batch: pa.RecordBatch | pa.Table) -> Hashes:
    """Hash each row by its values and their columns' names, in whatever order the columns stand.

    Parameters
    ----------
    batch
        Rows [N].

    Returns
    -------
    numpy.ndarray
        uint64 [N], the same for a row in any batch, order and file format.
    """
    hashes = np.zeros(batch.num_rows, dtype=np.uint64)
    names = hash_text(pa.array(batch.schema.names, type=pa.large_string()))
    for column, name in zip(batch.columns, names, strict=True):
        hashes += mix(_hash_column(column) ^ name)
    return mix(hashes)


def _hash_column(column: pa.Array | pa.ChunkedArray) -> Hashes:
    """Hash a column; of text, each distinct one once."""
    array = plain(column)
    if pt.is_large_string(array.type):
        array = array.dictionary_encode()
    return hash_values(array)


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
