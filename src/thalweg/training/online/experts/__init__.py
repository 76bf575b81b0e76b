"""Experts, one file each: what predicts a record and learns from it when its label comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from thalweg.training.online.base import Expert
from thalweg.training.online.experts.challenger import Challenger
from thalweg.training.online.experts.champion import Champion
from thalweg.training.online.experts.fast import Fast
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.last import Last
from thalweg.training.online.experts.slow import Slow
from thalweg.training.online.experts.tree import Tree

EXPERTS: Final[Mapping[str, type[Expert]]] = {
    one.name: one for one in (Fast, Challenger, Slow, Champion, Frozen, Tree, Last)
}
"""Every expert by its name."""
