"""Arrow arrays as the statistics see them: one layout for each sort of value; keys counted."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

Sort = Literal["number", "boolean", "time", "text", "null", "opaque"]

_SPAN: Final = 1 << 20  # the widest range of integers that is counted by address, not by sorting
_FLOAT: Final = 2**53  # below it float64 adds integers exactly
_TICKS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def sort_of(kind: pa.DataType) -> Sort:  # one for each sort of value
    """Say how values of an Arrow type are counted; a dictionary counts as what it holds.

    Durations and times of day are numbers (of seconds); binary, lists and structs are opaque.

    Examples
    --------
    >>> sort_of(pa.decimal128(9, 2)), sort_of(pa.date32()), sort_of(pa.list_(pa.int8()))
    ('number', 'time', 'opaque')
    """
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return sort_of(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return sort_of(kind.storage_type)
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    if pt.is_boolean(kind):
        return "boolean"
    if pt.is_null(kind):
        return "null"
    if pt.is_date(kind) or pt.is_timestamp(kind):
        return "time"
    counted = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
    return "number" if counted or pt.is_time(kind) or pt.is_duration(kind) else "opaque"


def is_bytes(kind: pa.DataType) -> bool:
    """Say whether values of an Arrow type are bytes, however they are stored."""
    stored = pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind)
    return bool(stored or pt.is_binary_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Say whether values of an Arrow type are lists, of one length or of any."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def type_name(kind: pa.DataType) -> str:
    """Name an Arrow type; how text is stored (large, view, dictionary) makes no difference.

    Examples
    --------
    >>> type_name(pa.dictionary(pa.int8(), pa.large_string())), type_name(pa.int8())
    ('string', 'int8')
    """
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return type_name(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return type_name(kind.storage_type)
    return "string" if sort_of(kind) == "text" else str(kind)


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give one contiguous array: no chunks, run ends, views or extensions; text as large_string.

    Dictionaries are kept, because what is said of a distinct value need be found only once.
    """
    if isinstance(array, pa.ChunkedArray):
        pieces = [plain(chunk) for chunk in array.chunks]
        if pt.is_dictionary(array.type):
            joined = pa.chunked_array(pieces or [pa.array([], array.type)]).combine_chunks()
            return plain(joined)
        return pa.concat_arrays(pieces) if pieces else plain(pa.array([], array.type))
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if pt.is_run_end_encoded(array.type):
        return plain(pc.run_end_decode(array))
    if pt.is_dictionary(array.type) and pt.is_null(array.type.value_type):
        return pa.nulls(len(array))  # some of Arrow's functions end the process here
    if sort_of(array.type) == "text" and not pt.is_dictionary(array.type):
        return array if pt.is_large_string(array.type) else array.cast(pa.large_string())
    return array


def spread(array: pa.DictionaryArray, found: NDArray[Any], null: object) -> NDArray[Any]:
    """Spread what was found for each value of a dictionary over its rows [N]."""
    indices = array.indices
    if not len(found):
        return np.full(len(array), null, dtype=found.dtype)
    filled: NDArray[Any] = found[pc.fill_null(indices, 0).to_numpy(zero_copy_only=False)]
    if indices.null_count:
        filled[pc.is_null(indices).to_numpy(zero_copy_only=False)] = null
    return filled


def present(array: pa.Array) -> NDArray[np.bool_]:
    """Say which values are there: bool [N]."""
    if not array.null_count:
        return np.ones(len(array), dtype=np.bool_)
    mask: NDArray[np.bool_] = pc.is_valid(array).to_numpy(zero_copy_only=False)
    return mask


def bits_of(array: pa.BooleanArray) -> NDArray[np.int64]:
    """Give booleans as 0 and 1, int64 [N]; null is 0."""
    bits: NDArray[np.int64] = pc.fill_null(array, fill_value=False).cast(pa.int64()).to_numpy()
    return bits


def ticks_of(array: pa.Array) -> tuple[NDArray[np.int64], int]:
    """Give temporal values without nulls as int64 [N], and how many of these make a second.

    Dates are given in seconds.
    """
    kind = array.type
    if pt.is_date32(kind):
        return array.cast(pa.int32()).to_numpy().astype(np.int64) * 86_400, 1
    raw = array.cast(pa.int32() if pt.is_time32(kind) else pa.int64())
    unit = "ms" if pt.is_date64(kind) else kind.unit
    return raw.to_numpy().astype(np.int64, copy=False), _TICKS[unit]


def seconds_of(ticks: NDArray[np.int64], rate: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split ticks [N] into whole seconds and nanoseconds, each int64 [N].

    Exact and the same for every unit, so that equal instants are equal however they are stored.
    """
    if rate == 1:
        return ticks, np.zeros(len(ticks), dtype=np.int64)
    whole = ticks // rate  # numpy divides by one number far faster than it gives both at once
    rest = whole * -rate
    rest += ticks
    rest *= 1_000_000_000 // rate
    return whole, rest


def unique_counts(
    keys: NDArray[np.int64], weights: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count equal integers [N], each once or `weights` times, above 0.

    Returns
    -------
    tuple
        The distinct integers in ascending order and their counts, each int64.
    """
    if not len(keys):
        return keys, np.zeros(0, dtype=np.int64)
    low, high = int(keys.min()), int(keys.max())
    if high - low < min(_SPAN, 32 * len(keys)) and (weights is None or weights.sum() < _FLOAT):
        counts = np.bincount(keys - low, weights).astype(np.int64, copy=False)
        there = np.flatnonzero(counts)
        return there + low, counts[there]
    if weights is not None:
        return sum_by_key(keys, weights)
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.diff(starts, append=len(ordered))


def sum_by_key(
    keys: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Add the counts of equal keys [N]; the distinct keys come in ascending order."""
    if len(keys) < 2 or (keys[1:] > keys[:-1]).all():
        return keys, counts
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.add.reduceat(counts[order], starts)
