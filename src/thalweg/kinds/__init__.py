"""Kinds of columns, one file each. To add one: write its file and add it to `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from thalweg.kinds.audio import Audio
from thalweg.kinds.base import Kind
from thalweg.kinds.boolean import Boolean
from thalweg.kinds.category import Category
from thalweg.kinds.datetime import Datetime
from thalweg.kinds.image import Image
from thalweg.kinds.number import Number
from thalweg.kinds.set import Set
from thalweg.kinds.text import Text
from thalweg.kinds.vector import Vector

KINDS: Final[Mapping[str, Kind[Any, Any]]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *(Number(), Category(), Boolean(), Datetime()),
            *(Text(), Image(), Audio(), Set(), Vector()),
        )
    }
)
"""The kinds by name. Where two score the same for a column, the earlier is taken."""

__all__ = ["KINDS", "Kind"]
