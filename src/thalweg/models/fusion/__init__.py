"""Fusions, one file each: how a row's tokens become what each member's hidden layers read.

To add one: write its file and add it to `FUSIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from thalweg.models.fusion.attention import Attention
from thalweg.models.fusion.base import Fusion
from thalweg.models.fusion.concat import Concat
from thalweg.models.fusion.gated import Gated

FUSIONS: Final[Mapping[str, type[Fusion]]] = MappingProxyType(
    {"concat": Concat, "gated": Gated, "attention": Attention}
)
"""The fusions by name."""

__all__ = ["FUSIONS", "Fusion"]
