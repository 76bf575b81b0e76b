"""Sums that a processor takes eight at a time, in one order on every machine.

A compiler that may not change a sum's order takes its terms one after the other. Here the order
itself is eight sums side by side, number ``j`` in sum ``j % 8``, which are added in pairs at last:
one instruction for eight numbers where a processor has it, and the same bits where it has not.
Numba has no vectors of a fixed length, and so these loops are written as LLVM's instructions.

What Numba keeps on disk of `kernels` does not notice a change here: remove it (``__pycache__``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

LANES: Final = 8
"""So many numbers are added at once; vectors are as long as a multiple of it."""

_FLOATS: Final = 4  # bytes: a row may begin at any number, and so is not aligned to eight


@intrinsic  # type: ignore[untyped-decorator]
def product(_: Any, a: Any, b: Any) -> Any:
    """Give the product of two float32 vectors."""
    _require_vectors(a, b)

    def build(context: Any, builder: Any, __: Any, given: Sequence[Any]) -> Any:
        made = [context.make_array(a)(context, builder, given[0])]
        made.append(context.make_array(b)(context, builder, given[1]))
        return _summed(builder, made, builder.fmul)

    return types.float32(a, b), build


@intrinsic  # type: ignore[untyped-decorator]
def total(_: Any, a: Any) -> Any:
    """Give the sum of a float32 vector."""
    _require_vectors(a)

    def build(context: Any, builder: Any, __: Any, given: Sequence[Any]) -> Any:
        made = [context.make_array(a)(context, builder, given[0])]
        return _summed(builder, made, lambda x: x)

    return types.float32(a), build


def _require_vectors(*kinds: Any) -> None:
    """Refuse arrays whose memory is not one float32 behind the other."""
    for kind in kinds:
        if (kind.dtype, kind.ndim, kind.layout) != (types.float32, 1, "C"):
            raise TypingError(f"{kind} where a contiguous vector of float32 is needed")


def _summed(builder: Any, vectors: Sequence[Any], term: Callable[..., Any]) -> Any:
    """Write the loop that adds the terms of some vectors, eight at a time, and their eight sums."""
    eight = ir.VectorType(ir.FloatType(), LANES)
    firsts = [builder.bitcast(vector.data, eight.as_pointer()) for vector in vectors]
    length = builder.extract_value(vectors[0].shape, 0)
    blocks = builder.udiv(length, ir.Constant(length.type, LANES))
    sums = cgutils.alloca_once_value(builder, ir.Constant(eight, [0.0] * LANES))
    with cgutils.for_range(builder, blocks) as loop:
        places = (builder.gep(first, [loop.index]) for first in firsts)
        read = (builder.load(place, align=_FLOATS) for place in places)
        builder.store(builder.fadd(builder.load(sums), term(*read)), sums)
    whole = builder.load(sums)
    parts = [builder.extract_element(whole, ir.Constant(ir.IntType(32), j)) for j in range(LANES)]
    while len(parts) > 1:
        parts = [builder.fadd(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
