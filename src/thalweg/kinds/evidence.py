"""What conformance is judged by: equal bits, well-formed fields, cells that agree, lines run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.kinds.base import Encoded, Kind
from thalweg.kinds.boolean import SPELLINGS
from thalweg.stats.arrays import is_bytes, is_list
from thalweg.stats.parsing import canonical_text, read_numbers, read_times

AnyKind = Kind[Any, Any]


class NonconformityError(AssertionError):
    """A kind does not keep a promise."""


def require(kept: object, kind: AnyKind, broken: str) -> None:
    """Say what is broken, unless it is kept."""
    if not kept:
        message = f"kind {kind.name}: {broken}"
        raise NonconformityError(message)


def rows(encoded: Encoded, rows: NDArray[np.int64] | slice) -> Encoded:
    """Take rows of what was encoded."""
    fields = {name: field[rows] for name, field in encoded.fields.items()}
    return Encoded(fields, encoded.dropped[rows], encoded.unreadable[rows])


def same(left: Encoded, right: Encoded, kind: AnyKind, where: str) -> None:
    """Require equal bits, but for the sign of zeros.

    Graphs lose it or keep it as they are optimised, and nothing that is learned depends on it.
    """
    require(list(left.fields) == list(right.fields), kind, f"{where} has other fields")
    pairs = {name: (field, right.fields[name]) for name, field in left.fields.items()}
    pairs["dropped"] = left.dropped, right.dropped
    pairs["unreadable"] = left.unreadable, right.unreadable
    for name, (a, b) in pairs.items():
        equal = a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)
        require(equal, kind, f"{where} gives other bits in {name!r}")


def _bits(field: NDArray[Any]) -> bytes:
    return (field + field.dtype.type(0)).tobytes() if field.dtype.kind == "f" else field.tobytes()


def well_formed(encoded: Encoded, rows: int, columns: int, kind: AnyKind) -> None:
    """Require fields [N, C, ...] that are finite float32 or whole, and flags of the right shape."""
    require(encoded.fields, kind, "there are no fields")
    for name, field in encoded.fields.items():
        require(field.shape[:2] == (rows, columns), kind, f"{name!r} has shape {field.shape}")
        if np.issubdtype(field.dtype, np.floating):
            require(field.dtype == np.float32, kind, f"field {name!r} is {field.dtype}")
            require(np.isfinite(field).all(), kind, f"field {name!r} is not finite")
    for name, flag, shape in (
        ("dropped", encoded.dropped, (rows,)),
        ("unreadable", encoded.unreadable, (rows, columns)),
    ):
        formed = flag.dtype == bool and flag.shape == shape
        require(formed, kind, f"{name} is {flag.dtype} {flag.shape}, not bool {shape}")


def agree(given: pa.Array, restored: pa.Array) -> NDArray[np.bool_]:
    """Say which cells are the same, read as what was restored.

    Files and lists have many forms: whether they are the same, encoding them again says.
    """
    if is_bytes(restored.type) or is_list(restored.type):
        return np.ones(len(given), dtype=np.bool_)
    if pa.types.is_floating(restored.type) or pa.types.is_integer(restored.type):
        return np.isclose(read_numbers(given)[0], read_numbers(restored)[0], rtol=1e-5)
    if pa.types.is_temporal(restored.type):
        return np.abs(read_times(given)[0] - read_times(restored)[0]) < 60
    if pa.types.is_boolean(restored.type):
        true = (
            pc.is_in(pc.utf8_lower(canonical_text(cells)), value_set=pa.array(SPELLINGS[1]))
            for cells in (given, restored)
        )
        left, right = (np.asarray(cells) for cells in true)
        same_truth: NDArray[np.bool_] = left == right
        return same_truth
    texts = (canonical_text(cells).to_pylist() for cells in (given, restored))
    return np.array([a == b for a, b in zip(*texts, strict=True)])


def lines(work: Callable[[], object]) -> int:
    """Count the lines of Python and the calls into C that some work takes."""
    count = 0

    def trace(*_: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(trace)
    try:
        work()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count
