"""Numba's compiler with the settings that all of this package's compiled code uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from thalweg.core.errors import not_installed

try:
    from numba import njit
except ImportError:
    raise not_installed("learning record by record", "numba", "online") from None

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call, and keep what comes of it on disk.

    Sums are taken in the order in which they are written, and nothing is fused: the same steps
    give the same bits, however they were cut into calls.
    """
    try:
        return cast("_Function", njit(function, cache=True, error_model="numpy"))
    except RuntimeError:  # nowhere to keep it: compiled anew in each process
        return cast("_Function", njit(function, error_model="numpy"))
